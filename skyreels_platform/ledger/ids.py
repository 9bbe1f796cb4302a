"""Ids: hashes of content and of parents, so that the same footage, cut or training run has the same id on every machine.

An id is a kind and 16 hex digits (64 bits): among 100 million rows of one kind two collide with a chance of 0.03 %.
"""

import hashlib
from pathlib import Path
from typing import Literal

from skyreels_platform.ledger.provenance import canonical_json

Kind = Literal["src", "shot", "clip", "snap", "lat", "ckpt", "film"]


def content_id(path: str | Path) -> str:
    """'src_' and the start of the file's SHA-256, read in one pass with constant memory. Raises OSError."""
    with Path(path).open("rb") as file:
        return "src_" + hashlib.file_digest(file, "sha256").hexdigest()[:16]


def make_id(kind: Kind, *parts: object) -> str:
    """Id of something that its parts determine; parts are plain values, the parents' ids first."""
    return f"{kind}_{hashlib.sha256(canonical_json([kind, *parts]).encode()).hexdigest()[:16]}"


def shot_id(source_id: str, start_frame: int, end_frame: int) -> str:
    """Id of frames [start_frame, end_frame) of a source."""
    return make_id("shot", source_id, start_frame, end_frame)


def clip_id(
    shot_id: str,
    start_frame: int,
    end_frame: int,
    *,
    crop: tuple[int, int, int, int],
    train_fps: int,
    num_frames: int,
    size: tuple[int, int],
) -> str:
    """Id of what a model sees of a shot: source frames [start_frame, end_frame), cropped to (x, y, width, height), resampled
    to num_frames at train_fps and scaled to size = (width, height). The caption is not part of it."""
    return make_id("clip", shot_id, start_frame, end_frame, crop, train_fps, num_frames, size)


def snapshot_id(dataset: str, clips: list[tuple[str, str]]) -> str:
    """Id of a frozen data set by its (clip id, caption) pairs, in any order."""
    return make_id("snap", dataset, sorted(clips))
