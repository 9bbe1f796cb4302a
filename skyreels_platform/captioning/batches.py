"""Captions of one ingest batch: table `captions`, one row per shot, whatever became of the captioner's answer.

Captioners see the pictures that the one decode kept; no source is opened again.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from skyreels_platform.captioning.answers import Answer
from skyreels_platform.captioning.asking import Usage
from skyreels_platform.captioning.exchange import imported_captions
from skyreels_platform.captioning.experts.expression import face_key
from skyreels_platform.captioning.labels import caption_fields
from skyreels_platform.captioning.questions import TimedPicture, ask_about_faces, ask_about_shots, fuse_rows, pictures_of
from skyreels_platform.curation.steps import (
    Row,
    Rows,
    StepResult,
    count_work,
    parents_of,
    prune,
    ready_sources,
    run_step,
    shots_by_source,
)
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.recipe import TRAINED, CaptionSettings
from skyreels_platform.workers import Workers

CAPTIONS_VERSION = "captions-4"
"""Raise it when the same shot would be captioned otherwise."""


@dataclass(frozen=True, kw_only=True)
class CaptionResult(StepResult):
    """What captioning did for one batch."""

    captioner: Usage = field(default_factory=Usage)
    writer: Usage = field(default_factory=Usage)


def caption_batch(
    home: Home, batch: str, settings: CaptionSettings, *, seed: int, workers: Workers, captioners: Sequence[str] = (),
    writers: Sequence[str] = (),
) -> CaptionResult:  # fmt: skip
    """Caption every shot of a batch. `captioners` and `writers` are base URLs in place of the settings' own."""
    sources = ready_sources(home, batch)
    shots = shots_by_source(home, batch)
    beside = beside_of(home, batch, settings)
    imported = beside.imported
    expected = {source["source_id"]: captions_provenance(source, shots, settings, seed, beside) for source in sources}
    final = {
        row["shot_id"]: row["provenance"]
        for row in home.ledger.rows("captions", {"batch": batch}, ["shot_id", "status", "provenance"]).to_pylist()
        if row["status"] != "error"  # the captioner was out of reach
    }  # fmt: skip
    todo = [
        source for source in sources
        if any(final.get(row["shot_id"]) != expected[source["source_id"]] for row in shots.get(source["source_id"], []))
    ]  # fmt: skip
    folder = str(home.fetch(f"experts/{beside.expert_id}")) if beside.expert_id else settings.shot_expert
    shown = settings.model_copy(update={"shot_expert": folder}).model_dump()
    answers: dict[str, Answer] = {}
    asked, written = Usage(), Usage()
    if settings.backend == "vllm":
        open_shots = [shot for source in todo for shot in shots.get(source["source_id"], []) if shot["shot_id"] not in imported]
        urls = list(captioners) or settings.captioner.urls
        answers, asked = ask_about_shots(home, batch, open_shots, settings, seed=seed, urls=urls, workers=workers)
        if settings.expression:
            faces, took = ask_about_faces(home, batch, open_shots, answers, settings, seed=seed, urls=urls)
            answers |= faces
            took.wall_s += asked.wall_s
            asked.add(took)

    def call_of(source: Row) -> tuple[Any, ...]:
        mine = shots[source["source_id"]]
        keys = [key for row in mine for key in (row["shot_id"], face_key(row["shot_id"]))]
        said = {key: asdict(answers[key]) for key in keys if key in answers}
        brought = {row["shot_id"]: imported[row["shot_id"]] for row in mine if row["shot_id"] in imported}
        told = {row["shot_id"]: beside.labels[row["shot_id"]] for row in mine if row["shot_id"] in beside.labels}
        own = expected[source["source_id"]]
        return source, own, mine, pictures_of(home, mine), shown, seed, said, brought, told

    def write(rows: Rows) -> None:
        captions = rows.get("captions", [])
        if settings.fusion == "llm" and captions:
            urls = list(writers) or settings.writer.urls
            took = fuse_rows(home, batch, captions, settings, seed=seed, urls=urls)
            took.wall_s += written.wall_s  # one after another, not side by side
            written.add(took)
        home.ledger.merge("captions", [{key: row[key] for key in row if key != "fixed"} for row in captions])
        home.ledger.merge("work", count_work(home, rows.get("work", [])))

    failures = run_step(
        home, batch, step="captions", sources=todo, function=caption_source, call_of=call_of, workers=workers,
        write=write,
        provenance_of=lambda source: expected[source["source_id"]],
    )  # fmt: skip
    prune(home, batch, ["captions"])
    return CaptionResult(
        num_sources=len(sources), num_made=len(todo), failures=failures,
        num_rows=home.ledger.rows("captions", {"batch": batch}, ["provenance"]).num_rows,
        data_version=hash_json(sorted((key, expected[key], key in failures) for key in expected)), captioner=asked, writer=written,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a batch's captions are made of beside its footage and the settings."""

    imported: Mapping[str, Row] = field(default_factory=dict)
    """Shot id -> what another program said."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Shot id -> fields that people settled."""
    expert_id: str = ""
    """The shot expert's heads that speak; '' without any."""


def beside_of(home: Home, batch: str, settings: CaptionSettings) -> Beside:
    """What stands beside one batch now."""
    rows = home.ledger.rows("current", {"name": "shot_expert"}).to_pylist() if settings.shot_expert == TRAINED else []
    return Beside(
        imported=imported_captions(home, batch), labels=caption_fields(home, batch), expert_id=rows[0]["ref"] if rows else ""
    )  # fmt: skip


def captions_provenance(source: Row, shots: Mapping[str, list[Row]], settings: CaptionSettings, seed: int, beside: Beside) -> str:
    """What all captions of a source carry; `shots` as by `shots_by_source`."""
    from skyreels_platform.curation.kept_frames import KEPT_FRAMES_VERSION

    mine = [row["shot_id"] for row in shots.get(source["source_id"], [])]
    labels = {shot: beside.labels[shot] for shot in mine if shot in beside.labels}
    # The sidecar is no part of the source's own provenance: a new caption leaves latents alone.
    own = [settings.identity(), seed, source["human_caption"], KEPT_FRAMES_VERSION, labels]
    brought = [beside.imported[shot]["provenance"] for shot in mine if shot in beside.imported]
    experts = [beside.expert_id] if beside.expert_id else []
    return provenance(CAPTIONS_VERSION, own, [*parents_of(source, shots), *brought, *experts])


def caption_source(
    source: Row, own: str, shots: Sequence[Row], pictures: Mapping[str, Sequence[TimedPicture]], settings: Mapping[str, Any],
    seed: int, answers: Mapping[str, Mapping[str, Any]], imported: Mapping[str, Row], labels: Mapping[str, Mapping[str, str]],
) -> Rows:  # fmt: skip
    """Caption rows of every shot of one source, and what they took, without their batch; runs in a worker. `own` is their provenance.

    answers: shot id, or face_key of it -> the captioner's answer, for the backend that has one.
    imported: shot id -> what another program said of it. labels: shot id -> fields that people settled; they win over the sidecar's, which
    speak of the whole file.
    """
    from skyreels_platform.captioning.caption import caption_shot
    from skyreels_platform.captioning.rules import human_text
    from skyreels_platform.curation.batches import work_row
    from skyreels_platform.curation.kept_frames import decode_pictures, evenly_spread

    started, cores = time.perf_counter(), time.process_time()
    chosen = CaptionSettings(**settings)
    human = json.loads(source["human_caption"])
    rows = []
    for shot in shots:
        kept = pictures[shot["shot_id"]]
        if not kept:
            rows.append(_unseen(shot["shot_id"], own))
            continue
        key = shot["shot_id"]
        answer = Answer(**answers[key]) if key in answers else None
        brought = imported.get(key)
        if brought:
            answer = Answer(
                key=key, request_hash="", status="success", reason="", text=brought["structured"], model=brought["model"], num_asked=0
            )  # fmt: skip
        caption = caption_shot(
            decode_pictures([kept[place][1] for place in evenly_spread([time_s for time_s, _ in kept])]), shot_id=key,
            duration_s=shot["end_s"] - shot["start_s"], seed=seed, human={**human, **labels.get(key, {})}, settings=chosen,
            answer=answer, expression=Answer(**answers[face_key(key)]) if face_key(key) in answers else None,
        )  # fmt: skip
        row = {**asdict(caption), "shot_id": key, "provenance": own, "fixed": ["t2v", "t2v_train"] if human_text(human) else []}
        if brought:
            texts = {"t2v": brought["t2v"], "t2v_train": brought["t2v"], "i2v": brought["i2v"]}
            texts = {column: text for column, text in texts.items() if text and column not in row["fixed"]}
            row |= {**texts, "fixed": [*row["fixed"], *texts]}
        rows.append(row)
    num_frames = max(shot["end_frame"] for shot in shots)
    return {"captions": rows, "work": [work_row(source, "captions", num_frames, started, cores, num_decodes=0)]}


def _unseen(shot_id: str, own: str) -> Row:
    from skyreels_platform.captioning.schema import StructuredCaption

    return {
        "shot_id": shot_id, "structured": StructuredCaption().to_json(), "field_provenance": "{}", "t2v": "", "i2v": "", "t2v_train": "",
        "status": "empty", "reason": "the shot lies between two sampled pictures: nothing of it was kept", "captioner": "",
        "provenance": own, "fixed": [],
    }  # fmt: skip
