"""One file looked at from all sides, nothing stored: what `skyreels inspect` prints.

The same functions as in the batch chain, in the same bounded child process.
"""

import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from skyreels_platform.captioning.batches import caption_source
from skyreels_platform.captioning.questions import TimedPicture, ask_shots
from skyreels_platform.curation.batches import observe_file
from skyreels_platform.curation.pools import judge
from skyreels_platform.curation.signals import Score
from skyreels_platform.curation.signals.synthetic import with_caption
from skyreels_platform.curation.standing import with_shortest
from skyreels_platform.curation.steps import Rows
from skyreels_platform.errors import SourceError
from skyreels_platform.footage import read_sidecars
from skyreels_platform.ledger.ids import content_id
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.media.probe import probe
from skyreels_platform.progress import bar
from skyreels_platform.recipe import Recipe
from skyreels_platform.workers import MEMORY_BYTES, TIMEOUT_S


def inspect_file(path: Path, recipe: Recipe) -> dict[str, Any]:
    """`source` (probe) and `shots`: frames, seconds, transition, scores, crop, caption, and a verdict per stage with reasons.

    Raises DecodeError if the file is refused.
    """
    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S) as worker, bar(path.name, total=3) as progress:
        facts = asdict(worker.call(probe, str(path)))
        human, notes = read_sidecars(str(path.absolute()), open_store=_no_store)
        source = {"source_id": content_id(path), "path": str(path), "human_caption": human, "notes": notes, **facts}
        progress.advance(note="shots and scores")
        parts: list[Rows] = []
        rows = worker.call_in_parts(parts.append, observe_file, path, {**source, "provenance": ""}, recipe.shots, recipe.signals)
        progress.advance(note="captions")
        starts = {shot["shot_id"]: shot["start_s"] for shot in rows["shots"]}
        pictures: dict[str, list[TimedPicture]] = {key: [] for key in starts}
        for frame in chain(*(part["frames"] for part in (*parts, rows))):
            pictures[frame["shot_id"]].append((frame["time_s"] - starts[frame["shot_id"]], frame["image"]))
        seen = [shot for shot in rows["shots"] if pictures[shot["shot_id"]]]
        asked = recipe.captions.backend == "vllm"
        limits = recipe.captions.captioner
        answers = ask_shots(seen, pictures, recipe.captions.model_dump(), recipe.seed, limits.urls, limits.concurrency)[0] if asked else []
        captions = worker.call(
            caption_source, {**source, "provenance": "", "human_caption": json.dumps(human)}, "", rows["shots"], pictures,
            recipe.captions.model_dump(), recipe.seed, {answer["key"]: answer for answer in answers}, {}, {},
        )["captions"]  # fmt: skip
        progress.advance()
    scores: dict[str, dict[str, Score]] = {shot["shot_id"]: {} for shot in rows["shots"]}
    for row in rows["scores"]:
        fields = {key: value for key, value in row.items() if key not in ("shot_id", "provenance")}
        scores[row["shot_id"]][row["signal"]] = Score(**fields)
    crops = {row["shot_id"]: row for row in rows["crops"]}
    return {
        "source": source,
        "shots": [
            _shot(shot, scores[shot["shot_id"]], crops[shot["shot_id"]], caption, recipe)
            for shot, caption in zip(rows["shots"], captions, strict=True)
        ],
    }


def _shot(
    shot: dict[str, Any], scores: dict[str, Score], crop: dict[str, Any], caption: dict[str, Any], recipe: Recipe
) -> dict[str, Any]:
    pools = {stage: with_shortest(pool, recipe.shots.min_length_s) for stage, pool in recipe.pools.items()}
    scores = with_caption(scores, json.loads(caption["structured"]))
    verdicts = {stage: judge(scores, pool.bounds) for stage, pool in pools.items()}
    return {
        "shot_id": shot["shot_id"],
        **{key: shot[key] for key in ("start_frame", "end_frame", "start_s", "end_s", "transition_in")},
        "votes": json.loads(shot["votes"]),
        "scores": {name: {key: value for key, value in asdict(score).items() if key != "signal"} for name, score in scores.items()},
        "crop": {**{key: crop[key] for key in ("x", "y", "width", "height", "status", "reason")}, "regions": json.loads(crop["regions"])},
        "caption": {
            "t2v": caption["t2v"], "i2v": caption["i2v"], "status": caption["status"], "reason": caption["reason"],
            "structured": json.loads(caption["structured"]), "field_provenance": json.loads(caption["field_provenance"]),
        },
        "verdicts": {stage: {"verdict": verdict.verdict, "reasons": verdict.reasons} for stage, verdict in verdicts.items()},
    }  # fmt: skip


def _no_store(uri: str) -> Any:
    raise SourceError(f"{uri}: inspect looks at local files")
