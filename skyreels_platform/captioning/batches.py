"""Captions of one ingest batch: table `captions`, one row per shot, whatever became of the captioner's answer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyreels_platform.curation.batches import MEMORY_BYTES, TIMEOUT_S, Row, StepResult, parents_of, run_step, shots_by_source
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import provenance
from skyreels_platform.recipe import CaptionSettings

CAPTIONS_VERSION = "captions-1"
"""Raise it when the same shot would be captioned otherwise."""

_SIDE = 256  # pixels on the short side that captioners see at most


def caption_batch(home: Home, batch: str, settings: CaptionSettings, *, seed: int) -> StepResult:
    """Caption every shot of a batch; frames are decoded in a bounded child process, the captioner runs there too."""
    from skyreels_platform.media.bounded import BoundedWorker

    shots = shots_by_source(home, batch)

    def work(source: Row, path: Path) -> list[Row]:
        rows = shots.get(source["source_id"], [])
        return worker.call(caption_source, str(path), source, rows, settings.model_dump(), seed) if rows else []

    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S) as worker:
        return run_step(
            home, batch, step="captions", table="captions", work=work,
            is_final=lambda row: row["status"] != "error",  # the captioner was out of reach
            provenance_of=lambda source: provenance(
                # the sidecar is no part of the source's own provenance: a new caption leaves latents alone
                CAPTIONS_VERSION, [settings, seed, source["human_caption"]], parents_of(source, shots),
            ),
        )  # fmt: skip


def caption_source(path: str, source: Mapping[str, Any], shots: list[Row], settings: Mapping[str, Any], seed: int) -> list[Row]:
    """Caption rows of every shot of one source as plain values; runs in the child process."""
    from skyreels_platform.captioning.caption import caption_shot
    from skyreels_platform.media.decode import clip

    chosen = CaptionSettings(**settings)
    human = json.loads(source["human_caption"])
    scale = min(1.0, _SIDE / min(source["width"], source["height"]))
    size = max(1, round(source["width"] * scale)), max(1, round(source["height"] * scale))
    rows = []
    for shot in shots:
        length = shot["end_frame"] - shot["start_frame"]
        frames = clip(
            path, start_frame=shot["start_frame"], end_frame=shot["end_frame"], size=size,
            num_frames=min(chosen.num_frames, length),
        )  # fmt: skip
        caption = caption_shot(
            frames, shot_id=shot["shot_id"], duration_s=shot["end_s"] - shot["start_s"], seed=seed, human=human, settings=chosen
        )
        rows.append({
            "shot_id": shot["shot_id"], "structured": caption.structured, "field_provenance": caption.field_provenance,
            "t2v": caption.t2v, "i2v": caption.i2v, "status": caption.status, "reason": caption.reason,
            "captioner": caption.captioner,
        })  # fmt: skip
    return rows
