"""Captions of one ingest batch: table `captions`, one row per shot, whatever became of the captioner's answer.

Captioners see the pictures that the one decode kept; no source is opened again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from skyreels_platform.curation.steps import (
    Row,
    Rows,
    StepResult,
    parents_of,
    prune,
    ready_sources,
    run_step,
    shots_by_source,
)
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.recipe import CaptionSettings
from skyreels_platform.workers import Workers

CAPTIONS_VERSION = "captions-2"
"""Raise it when the same shot would be captioned otherwise."""


def caption_batch(home: Home, batch: str, settings: CaptionSettings, *, seed: int, workers: Workers) -> StepResult:
    """Caption every shot of a batch."""
    sources = ready_sources(home, batch)
    shots = shots_by_source(home, batch)
    expected = {source["source_id"]: captions_provenance(source, shots, settings, seed) for source in sources}
    final = {
        row["shot_id"]: row["provenance"]
        for row in home.ledger.rows("captions", {"batch": batch}, ["shot_id", "status", "provenance"]).to_pylist()
        if row["status"] != "error"  # the captioner was out of reach
    }  # fmt: skip
    todo = [
        source for source in sources
        if any(final.get(row["shot_id"]) != expected[source["source_id"]] for row in shots.get(source["source_id"], []))
    ]  # fmt: skip

    def call_of(source: Row) -> tuple[Any, ...]:
        mine = shots[source["source_id"]]
        pictures: dict[str, list[bytes]] = {row["shot_id"]: [] for row in mine}
        for row in home.ledger.rows("frames", {"shot_id": list(pictures)}, ["shot_id", "image"]).to_pylist():
            pictures[row["shot_id"]].append(row["image"])
        return source["human_caption"], expected[source["source_id"]], mine, pictures, settings.model_dump(), seed

    def write(rows: Rows) -> None:
        home.ledger.merge("captions", rows.get("captions", []))

    failures = run_step(
        home, batch, step="captions", sources=todo, function=caption_source, call_of=call_of, workers=workers,
        write=write,
        provenance_of=lambda source: expected[source["source_id"]],
    )  # fmt: skip
    prune(home, batch, ["captions"])
    return StepResult(
        num_sources=len(sources), num_made=len(todo), failures=failures,
        num_rows=home.ledger.rows("captions", {"batch": batch}, ["provenance"]).num_rows,
        data_version=hash_json(sorted((key, expected[key], key in failures) for key in expected)),
    )  # fmt: skip


def captions_provenance(source: Row, shots: Mapping[str, list[Row]], settings: CaptionSettings, seed: int) -> str:
    """What all captions of a source carry; `shots` as by `shots_by_source`."""
    from skyreels_platform.curation.kept_frames import KEPT_FRAMES_VERSION

    # The sidecar is no part of the source's own provenance: a new caption leaves latents alone.
    return provenance(CAPTIONS_VERSION, [settings, seed, source["human_caption"], KEPT_FRAMES_VERSION], parents_of(source, shots))


def caption_source(
    human_caption: str, own: str, shots: Sequence[Row], pictures: Mapping[str, Sequence[bytes]], settings: Mapping[str, Any], seed: int
) -> Rows:
    """Caption rows of every shot of one source, without their batch; runs in a worker. `own` is their provenance."""
    import numpy as np

    from skyreels_platform.captioning.caption import caption_shot
    from skyreels_platform.curation.kept_frames import decode_pictures

    chosen = CaptionSettings(**settings)
    human = json.loads(human_caption)
    rows = []
    for shot in shots:
        images = pictures[shot["shot_id"]]
        if not images:
            rows.append(_unseen(shot["shot_id"], own))
            continue
        places = np.unique(np.linspace(0, len(images) - 1, min(chosen.num_frames, len(images))).round().astype(int))
        caption = caption_shot(
            decode_pictures([images[place] for place in places]), shot_id=shot["shot_id"],
            duration_s=shot["end_s"] - shot["start_s"], seed=seed, human=human, settings=chosen,
        )  # fmt: skip
        rows.append({
            "shot_id": shot["shot_id"], "structured": caption.structured, "field_provenance": caption.field_provenance,
            "t2v": caption.t2v, "i2v": caption.i2v, "status": caption.status, "reason": caption.reason,
            "captioner": caption.captioner, "provenance": own,
        })  # fmt: skip
    return {"captions": rows}


def _unseen(shot_id: str, own: str) -> Row:
    from skyreels_platform.captioning.schema import StructuredCaption

    return {
        "shot_id": shot_id, "structured": StructuredCaption().to_json(), "field_provenance": "{}", "t2v": "", "i2v": "", "status": "empty",
        "reason": "the shot lies between two sampled pictures: nothing of it was kept", "captioner": "", "provenance": own,
    }  # fmt: skip
