"""Frozen data sets: which clips a training stage sees, fixed by content hash.

A clip is a span of a shot, cropped, resampled to 16 or 24 frames per second and scaled to its bucket, or an image. A snapshot takes
the shots that passed its pool, from batches whose gates all hold: the gate is read from the ledger here, so no way of starting a run goes
around it. Its id is the hash of what it holds; freezing the same clips again gives the same snapshot.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from model.buckets import DualAxisBuckets, NoBucketError
from skyreels_platform.curation.datasets import POOL_OF
from skyreels_platform.curation.standing import failed_gates
from skyreels_platform.errors import GateError, RecipeError
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import set_current
from skyreels_platform.ledger.ids import clip_id, snapshot_id
from skyreels_platform.ledger.provenance import provenance
from skyreels_platform.recipe import DatasetSettings, Recipe

SPATIAL_STRIDE = 8
"""Of both codecs (model.codec, which needs torch)."""

SNAPSHOT_VERSION = "snapshot-3"
"""Raise it when the same shots would give other clips."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One frozen data set."""

    snapshot_id: str
    num_clips: int
    num_images: int
    """Clips of one frame."""
    num_shots: int
    duration_s: float
    """Of the clips that are no images."""
    excluded: dict[str, str]
    """Batch -> the gate that held it back."""
    unusable: dict[str, str]
    """Shot id -> why a shot that passed its pool fits no bucket."""


def freeze(home: Home, name: str, *, recipe: Recipe) -> Snapshot:
    """Freeze data set `name` (one of `datasets.POOL_OF`) from the shots that pass its pool, and make it current as `dataset_<name>`.

    Raises RecipeError if the recipe does not describe it, GateError if no clip is left, saying what held them back.
    """
    dataset, stage = f"dataset_{name}", POOL_OF[name]
    settings = recipe.datasets.get(name)
    if settings is None:
        raise RecipeError(f"recipe {recipe.name!r} has no section datasets.{name}; add it (recipes/laptop.toml shows every key)")
    buckets = buckets_of(settings, SPATIAL_STRIDE * recipe.model.patch_size[1])
    excluded = failed_gates(home)
    clips: list[Row] = []
    unusable: dict[str, str] = {}
    for shot in _passed_shots(home, stage):
        if shot["batch"] in excluded:
            continue
        try:
            clips += _clips(shot, buckets, settings)
        except NoBucketError as error:
            unusable[shot["shot_id"]] = str(error)
    if not clips:
        raise GateError(_why_empty(home, dataset, stage, excluded, unusable))
    key = snapshot_id(dataset, [(clip["clip_id"], clip["caption"]) for clip in clips])
    own = provenance(SNAPSHOT_VERSION, settings, [clip.pop("parent") for clip in clips])
    duration = sum(clip["num_frames"] / clip["train_fps"] for clip in clips if clip["num_frames"] > 1)
    home.ledger.replace("snapshot_clips", key, [{**clip, "snapshot_id": key, "provenance": own} for clip in clips])
    home.ledger.merge("snapshots", [{
        "snapshot_id": key, "dataset": dataset, "num_clips": len(clips), "duration_s": duration,
        "excluded": json.dumps(excluded, sort_keys=True), "provenance": own,
    }])  # fmt: skip
    set_current(home.ledger, dataset, key)
    return Snapshot(
        snapshot_id=key, num_clips=len(clips), num_images=sum(clip["num_frames"] == 1 for clip in clips),
        num_shots=len({clip["shot_id"] for clip in clips}), duration_s=duration, excluded=excluded, unusable=unusable,
    )  # fmt: skip


def buckets_of(settings: DatasetSettings, multiple: int) -> DualAxisBuckets:
    """The buckets of one data set; multiple: pixels per token side."""
    return DualAxisBuckets(
        resolution=settings.resolution, multiple=multiple, train_fps=settings.train_fps,
        frame_counts=[*([1] if settings.image_share else []), *(duration.num_frames for duration in settings.durations)],
        keep={duration.num_frames: duration.keep for duration in settings.durations},
    )  # fmt: skip


def _passed_shots(home: Home, stage: str) -> list[Row]:
    return home.ledger.query(
        """
        SELECT shots.*, sources.uri, sources.media, captions.provenance AS caption_provenance,
               coalesce(captions.t2v_train, captions.t2v) AS caption,
               coalesce(crops.x, 0) AS x, coalesce(crops.y, 0) AS y,
               coalesce(crops.width, sources.width) AS width, coalesce(crops.height, sources.height) AS height
        FROM verdicts JOIN shots USING (shot_id) JOIN sources USING (source_id) JOIN captions USING (shot_id)
        LEFT JOIN crops ON crops.shot_id = shots.shot_id
        WHERE verdicts.stage = $stage AND verdicts.verdict = 'pass' AND captions.status IN ('ok', 'empty')
        ORDER BY shot_id
        """,
        {"stage": stage},
    ).to_pylist()


def _clips(shot: Row, buckets: DualAxisBuckets, settings: DatasetSettings) -> list[Row]:
    """Up to `max_clips_per_shot` clips of the shot's clean rectangle, evenly spread over the shot, overlapping where it is short."""
    length = shot["end_frame"] - shot["start_frame"]
    fps = Fraction(shot["fps_num"], shot["fps_den"]) if shot["media"] == "video" else Fraction(24)
    bucket = buckets.assign(shot["width"], shot["height"], length, fps, key=shot["shot_id"])
    span = min(length, -(-(bucket.num_frames - 1) * fps // bucket.train_fps) + 1)  # source frames that one clip covers
    count = min(settings.max_clips_per_shot, 1 + (length - span) // 2)  # starts at least two frames apart
    starts = [round(k * (length - span) / max(1, count - 1)) for k in range(count)]
    left, top, *size = _centre_crop(shot["width"], shot["height"], bucket.width, bucket.height)
    crop = shot["x"] + left, shot["y"] + top, size[0], size[1]
    return [_clip_row(shot, shot["start_frame"] + start, span, crop, bucket) for start in starts]


def _clip_row(shot: Row, start: int, span: int, crop: tuple[int, int, int, int], bucket: Any) -> Row:
    end = start + int(span)
    key = clip_id(
        shot["shot_id"], start, end, crop=crop, train_fps=bucket.train_fps, num_frames=bucket.num_frames,
        size=(bucket.width, bucket.height),
    )  # fmt: skip
    return {
        "clip_id": key, "shot_id": shot["shot_id"], "source_id": shot["source_id"], "uri": shot["uri"], "start_frame": start,
        "end_frame": end, "crop": list(crop), "fps_num": shot["fps_num"], "fps_den": shot["fps_den"],
        "train_fps": bucket.train_fps, "num_frames": bucket.num_frames, "width": bucket.width, "height": bucket.height,
        "caption": shot["caption"], "parent": shot["caption_provenance"],
    }  # fmt: skip


def _centre_crop(width: int, height: int, bucket_width: int, bucket_height: int) -> tuple[int, int, int, int]:
    """The largest centred (x, y, width, height) with the bucket's aspect ratio."""
    scale = min(width / bucket_width, height / bucket_height)
    crop_width, crop_height = min(width, round(bucket_width * scale)), min(height, round(bucket_height * scale))
    return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height


def _why_empty(home: Home, dataset: str, stage: str, excluded: Mapping[str, str], unusable: Mapping[str, str]) -> str:
    verdicts: Sequence[Row] = home.ledger.rows("verdicts", {"stage": stage}).to_pylist()
    passed = sum(row["verdict"] == "pass" for row in verdicts)
    parts = [f"{dataset}: no clip to train on: {passed} of {len(verdicts)} shots pass pool {stage}"]
    parts += [f"batch {batch} is held back by {gate}" for batch, gate in excluded.items()]
    parts += [f"{shot}: {reason}" for shot, reason in list(unusable.items())[:3]]
    return "; ".join(parts) + f". `skyreels status` shows the gates, recipe section pools.{stage} the thresholds"
