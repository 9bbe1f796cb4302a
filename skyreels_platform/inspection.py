"""One file looked at from all sides, nothing stored: what `skyreels inspect` prints.

The same functions as in the batch chain, in the same bounded child process.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from skyreels_platform.captioning.batches import caption_source
from skyreels_platform.curation.batches import MEMORY_BYTES, TIMEOUT_S, cut_source, score_source
from skyreels_platform.curation.pools import judge
from skyreels_platform.curation.signals import Score
from skyreels_platform.curation.standing import with_shortest
from skyreels_platform.errors import SourceError
from skyreels_platform.footage import read_sidecars
from skyreels_platform.ledger.ids import content_id, shot_id
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.media.probe import probe
from skyreels_platform.progress import bar
from skyreels_platform.recipe import Recipe


def inspect_file(path: Path, recipe: Recipe) -> dict[str, Any]:
    """`source` (probe) and `shots`: frames, seconds, transition, scores, crop, caption, and a verdict per stage with reasons.

    Raises DecodeError if the file is refused.
    """
    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S) as worker, bar(path.name, total=4) as progress:
        facts = asdict(worker.call(probe, str(path)))
        human, notes = read_sidecars(str(path.absolute()), open_store=_no_store)
        source = {"source_id": content_id(path), "path": str(path), "human_caption": human, "notes": notes, **facts}
        progress.advance(note="shots")
        cut = worker.call(cut_source, str(path), source, recipe.shots.model_dump())
        shots = [{**shot, "shot_id": shot_id(source["source_id"], shot["start_frame"], shot["end_frame"]),
                  "votes": json.dumps(shot["votes"])} for shot in cut]  # fmt: skip
        progress.advance(note="scores")
        scores = worker.call(score_source, str(path), shots)
        progress.advance(note="captions")
        texts = {**source, "human_caption": json.dumps(human)}
        captions = worker.call(caption_source, str(path), texts, shots, recipe.captions.model_dump(), recipe.seed)
        progress.advance()
    return {
        "source": source,
        "shots": [_shot(*row, source, recipe) for row in zip(shots, scores, captions, strict=True)],
    }


def _shot(shot: dict[str, Any], scores: list[dict[str, Any]], caption: dict[str, Any], source: dict[str, Any],
          recipe: Recipe) -> dict[str, Any]:  # fmt: skip
    measured = {score["signal"]: Score(**score) for score in scores}
    pools = {stage: with_shortest(pool, recipe.shots.min_length_s) for stage, pool in recipe.pools.items()}
    verdicts = {stage: judge(measured, pool.bounds) for stage, pool in pools.items()}
    return {
        "shot_id": shot["shot_id"],
        **{key: shot[key] for key in ("start_frame", "end_frame", "start_s", "end_s", "transition_in")},
        "votes": json.loads(shot["votes"]),
        "scores": {score["signal"]: {key: value for key, value in score.items() if key != "signal"} for score in scores},
        "crop": {"x": 0, "y": 0, "width": source["width"], "height": source["height"]},
        "caption": {
            "t2v": caption["t2v"], "i2v": caption["i2v"], "status": caption["status"], "reason": caption["reason"],
            "structured": json.loads(caption["structured"]), "field_provenance": json.loads(caption["field_provenance"]),
        },
        "verdicts": {stage: {"verdict": verdict.verdict, "reasons": verdict.reasons} for stage, verdict in verdicts.items()},
    }  # fmt: skip


def _no_store(uri: str) -> Any:
    raise SourceError(f"{uri}: inspect looks at local files")
