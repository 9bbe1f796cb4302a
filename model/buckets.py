"""Which clips train together: one frame rate rule, duration x aspect buckets, and an order that resumes exactly.

A batch is one tensor, so its clips must share frame count, height and width. A clip goes to the longest duration it fills and
to the nearest aspect ratio of about the same area (paper: dual-axis buckets; its bins are not published, ours are below).
"""

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

TRAIN_FPS = (16, 24)
ASPECTS = ((21, 9), (16, 9), (3, 2), (4, 3), (1, 1), (3, 4), (2, 3), (9, 16), (9, 21))
"""Width : height of the aspect classes (our choice)."""
_RATE_TOLERANCE = 3e-4
"""Relative; wide enough for 23.98 and 29.97 as people write them, and below a third of the NTSC gap of 1e-3."""


class NoBucketError(ValueError):
    """A clip that no bucket takes; the message is the reason."""


def normalize_fps(fps: float | Fraction) -> int:
    """Training frame rate, 16 or 24, of footage at `fps` (paper: argmin over {16, 24} of fps mod f).

    NTSC rates (n * 1000 / 1001) and rates next to a whole number are rounded first, and ties go to 24 (both our choice): the
    bare formula sends 23.976, which is film, to 16 and leaves 48, 50 and 60 open. Raises ValueError below 16.
    """
    rate = _nominal_fps(fps)
    if rate < min(TRAIN_FPS):
        raise ValueError(f"footage at {float(fps):g} frames per second cannot be trained on; it takes at least {min(TRAIN_FPS)}")
    return min(TRAIN_FPS, key=lambda target: (rate % target, -target))


def _nominal_fps(fps: float | Fraction) -> float:
    """The whole rate that `fps` stands for, or `fps` itself."""
    rate = float(fps)
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"fps is {fps}; it must be a positive number")
    for candidate in (rate, rate * 1.001):
        if abs(candidate - round(candidate)) <= _RATE_TOLERANCE * candidate:
            return float(round(candidate))
    return rate


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The shape that clips of one batch share."""

    num_frames: int
    """Pixel frames at train_fps, 4k + 1; 1 is an image."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    train_fps: int
    """16 or 24; images have none of their own and carry 24 (our choice)."""


class DualAxisBuckets:
    """Duration bins x aspect classes of one training stage.

    resolution: side in pixels of the square clip; other aspects keep its area, each side rounded to `multiple`, so a small
    resolution may miss area and aspect by some percent. multiple: pixels per token side (codec stride x patch side).
    frame_counts: clip lengths, each 4k + 1; 1 takes images, and images alone. keep: clip length -> share of the clips that
    fill it and stay in it, 1 where it is not named (Open-Sora's keep probability); the others try the next shorter length.
    train_fps: training rates that are taken. aspects: (width, height) ratios.
    """

    def __init__(
        self,
        *,
        resolution: int,
        multiple: int,
        frame_counts: Sequence[int],
        keep: Mapping[int, float] | None = None,
        train_fps: Sequence[int] = TRAIN_FPS,
        aspects: Sequence[tuple[int, int]] = ASPECTS,
    ) -> None:
        if multiple < 1 or resolution < multiple:
            raise ValueError(f"resolution is {resolution} and multiple {multiple}; a side must hold at least one multiple")
        if not frame_counts or not aspects:
            raise ValueError("give at least one frame count and one aspect ratio")
        for count in frame_counts:
            if count < 1 or count % 4 != 1:
                raise ValueError(f"frame count {count}: the codec needs 4k + 1, for example {max(count, 1) // 4 * 4 + 1}")
        if wrong := {count: share for count, share in (keep or {}).items() if count not in frame_counts or not 0 <= share <= 1}:
            raise ValueError(f"keep is {wrong}; give shares of 0 to 1 for frame counts among {sorted(set(frame_counts))}")
        if wrong := set(train_fps) - set(TRAIN_FPS):
            raise ValueError(f"training rates {sorted(wrong)}; the rule knows {TRAIN_FPS}")
        self.frame_counts = tuple(sorted(set(frame_counts)))
        self.keep = dict(keep or {})
        self.train_fps = tuple(train_fps)
        self.sizes = tuple(dict.fromkeys(_size(resolution, multiple, *aspect) for aspect in aspects))
        """(height, width) of each aspect class; classes that round to the same size are one."""

    def assign(self, width: int, height: int, num_source_frames: int, source_fps: float | Fraction, *, key: str = "") -> Bucket:
        """The bucket of a clip of `num_source_frames` at `source_fps`, cropped size width x height in pixels.

        A single frame is an image, whatever its rate, and nothing else becomes one. Frames are counted as the decoder samples
        them, at the timestamps nearest to the training rate, and never beyond the last source frame. key: what identifies the
        clip; its hash decides what `keep` leaves to chance, so the same clip always meets the same fate. Raises NoBucketError
        with the reason.
        """
        if width < 1 or height < 1 or num_source_frames < 1:
            raise NoBucketError(f"a clip of {num_source_frames} frames of {width}x{height} pixels has no picture")
        num_frames, train_fps = self._duration(num_source_frames, source_fps, key)
        aspect = math.log(width / height)
        target_height, target_width = min(self.sizes, key=lambda size: abs(math.log(size[1] / size[0]) - aspect))
        return Bucket(num_frames=num_frames, height=target_height, width=target_width, train_fps=train_fps)

    def _duration(self, num_source_frames: int, source_fps: float | Fraction, key: str) -> tuple[int, int]:
        """Frames and rate of the clip in training."""
        if num_source_frames == 1:
            if 1 not in self.frame_counts:
                raise NoBucketError("an image, and these buckets take video only")
            return 1, max(TRAIN_FPS)
        counts = [count for count in self.frame_counts if count > 1]
        if not counts:
            raise NoBucketError("a video, and these buckets take images only")
        train_fps, available = _resampled(num_source_frames, source_fps)
        if train_fps not in self.train_fps:
            taken = " and ".join(map(str, self.train_fps))
            raise NoBucketError(f"footage at {float(source_fps):g} fps trains at {train_fps}, and these buckets take {taken} alone")
        fitting = [count for count in counts if count <= available]
        if not fitting:
            raise NoBucketError(
                f"too short: {num_source_frames} frames at {float(source_fps):g} fps give {available} at {train_fps} fps, "
                f"the shortest bucket needs {counts[0]}"
            )
        for count in reversed(fitting):
            if _share_of(f"{key}/{count}") < self.keep.get(count, 1.0):
                return count, train_fps
        raise NoBucketError(f"left out by chance: the buckets of {fitting} frames keep {[self.keep.get(count, 1.0) for count in fitting]}")


def _share_of(text: str) -> float:
    """A number in [0, 1) that looks random and depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def _size(resolution: int, multiple: int, wide: int, high: int) -> tuple[int, int]:
    """(height, width) of about resolution**2 pixels."""
    ratio = math.sqrt(wide / high)
    height, width = (max(round(side / multiple), 1) * multiple for side in (resolution / ratio, resolution * ratio))
    return height, width


def _resampled(num_source_frames: int, source_fps: float | Fraction) -> tuple[int, int]:
    """Training rate, and frames at that rate within the source's first to last timestamp."""
    try:
        train_fps = normalize_fps(source_fps)
    except ValueError as error:
        raise NoBucketError(str(error)) from error
    span = (num_source_frames - 1) / _nominal_fps(source_fps)  # seconds; the nominal rate never asks for more than NTSC holds
    return train_fps, math.floor(span * train_fps + 1e-6) + 1


class BucketSampler:
    """Batches of clip positions, each batch from one bucket, as a pure function of (seed, number): nothing to save or restore.

    Each bucket has an endless stream: one shuffle of all its clips after another. Its k-th batch is the stream's k-th
    `batch_size` clips, so every clip comes once per pass, none is dropped at a pass's end and none is starved. A batch
    across two passes may hold a clip twice; one of a bucket smaller than the batch always does.

    An epoch is one pass over all clips' worth of batches. In epoch e a bucket of n clips gets the whole batches that its share
    n / batch_size completes, in shuffled order among the buckets: after any number of epochs its number of batches is its
    exact share rounded to a whole batch, so a bucket smaller than the batch gets its turn every few epochs.
    """

    def __init__(self, bucket_of: Sequence[Hashable], batch_size: int | Mapping[Any, int], seed: int) -> None:
        """bucket_of: the bucket of each clip, by position. batch_size: clips per batch, one number or one per bucket."""
        ordinal_of: dict[Hashable, int] = {}
        ordinals = np.fromiter((ordinal_of.setdefault(key, len(ordinal_of)) for key in bucket_of), np.int64, len(bucket_of))
        sizes = [batch_size[key] if isinstance(batch_size, Mapping) else batch_size for key in ordinal_of]
        if not sizes or min(sizes) < 1:
            raise ValueError(f"{len(bucket_of)} clips in batches of {batch_size}; give at least one clip and batches of 1 or more")
        self.seed = seed
        order = np.argsort(ordinals, kind="stable")
        self._sizes = np.array(sizes, np.int64)
        self._counts = np.bincount(ordinals)
        self._clips = np.split(order, np.cumsum(self._counts)[:-1])
        # a start within the first batch's share, drawn per bucket: small buckets would otherwise all come in the same epoch
        self._phases = (self._random("phases").random_sample(len(sizes)) * self._sizes).astype(np.int64)
        self._passes: dict[int, tuple[int, np.ndarray]] = {}  # bucket -> its latest pass: number, shuffled clips
        self._epoch: tuple[int, np.ndarray, np.ndarray] | None = None  # latest: number, bucket and its batch number by place

    def batch(self, number: int) -> list[int]:
        """Positions in `bucket_of` of the clips of one batch; batches are numbered from 0, and all clips of one share a bucket."""
        if number < 0:
            raise ValueError(f"batch number is {number}; batches count from 0")
        epoch = self._epoch_at(number)
        buckets, numbers = self._order(epoch)
        place = number - self._first_batch(epoch)
        bucket = int(buckets[place])
        size, count = int(self._sizes[bucket]), len(self._clips[bucket])
        start = int(numbers[place]) * size
        return [int(self._pass(bucket, at // count)[at % count]) for at in range(start, start + size)]

    def _batches_before(self, epoch: int) -> np.ndarray:
        """Batches of each bucket in epochs before `epoch`."""
        return (epoch * self._counts + self._phases) // self._sizes

    def _first_batch(self, epoch: int) -> int:
        return int(self._batches_before(epoch).sum())

    def _epoch_at(self, number: int) -> int:
        """The epoch that holds a batch: the last one that begins at or before it (epochs of tiny data may be empty)."""
        if self._epoch is not None:
            latest = self._epoch[0]
            if self._first_batch(latest) <= number < self._first_batch(latest + 1):
                return latest
        low, high = 0, 1
        while self._first_batch(high) <= number:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._first_batch(middle) <= number else (low, middle)
        return low

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Bucket and that bucket's running batch number, for each batch of the epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            before, after = self._batches_before(epoch), self._batches_before(epoch + 1)
            buckets = np.repeat(np.arange(len(before)), after - before)
            buckets = buckets[self._random(f"order/{epoch}").permutation(len(buckets))]
            numbers = np.empty_like(buckets)
            numbers[np.argsort(buckets, kind="stable")] = np.concatenate(
                [np.arange(first, last) for first, last in zip(before, after, strict=True)]
            )
            self._epoch = (epoch, buckets, numbers)
        return self._epoch[1], self._epoch[2]

    def _pass(self, bucket: int, number: int) -> np.ndarray:
        """All clips of the bucket, shuffled for this pass."""
        cached = self._passes.get(bucket)
        if cached is None or cached[0] != number:
            clips = self._clips[bucket]
            cached = (number, clips[self._random(f"pass/{bucket}/{number}").permutation(len(clips))])
            self._passes[bucket] = cached
        return cached[1]

    def _random(self, purpose: str) -> np.random.RandomState:
        """RandomState, because NumPy froze its streams for good: a resume after an upgrade draws the same batches."""
        digest = hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()
        return np.random.RandomState(np.frombuffer(digest, np.dtype("<u4")).astype(np.uint32))


class JointSampler:
    """Image and video batches in a fixed proportion, evenly interleaved; like BucketSampler a pure function of (seed, number).

    Within each kind a BucketSampler decides. Data of one kind alone gives that kind alone, whatever the share.
    """

    def __init__(
        self, bucket_of: Sequence[Hashable], is_image: Sequence[bool], batch_size: int | Mapping[Any, int], seed: int, *,
        image_share: float,
    ) -> None:  # fmt: skip
        """image_share: share of the batches that hold images, 0 to 1 (paper: images and videos together; the share is ours)."""
        if not 0 <= image_share <= 1 or not len(bucket_of):
            raise ValueError(f"{len(bucket_of)} clips with an image_share of {image_share}; give at least one clip and a share of 0 to 1")
        self._share = Fraction(repr(float(image_share)))
        self._kinds: list[tuple[np.ndarray, BucketSampler] | None] = []
        for kind in (False, True):
            where = np.flatnonzero(np.asarray(is_image, bool) == kind)
            held = [bucket_of[position] for position in where.tolist()]
            self._kinds.append((where, BucketSampler(held, batch_size, seed)) if held else None)
        if self._kinds[0] is None:
            self._share = Fraction(1)
        if self._kinds[1] is None:
            self._share = Fraction(0)

    def batch(self, number: int) -> list[int]:
        """Positions of the clips of one batch; batches are numbered from 0."""
        if number < 0:
            raise ValueError(f"batch number is {number}; batches count from 0")
        images = math.floor(number * self._share)  # batches of images before this one
        is_image = math.floor((number + 1) * self._share) > images
        chosen = self._kinds[is_image]
        assert chosen is not None
        where, sampler = chosen
        return [int(where[at]) for at in sampler.batch(images if is_image else number - images)]


def rank_slice(batch: Sequence[int], rank: int, world: int) -> list[int]:
    """The part of a step's batch that one of `world` ranks takes: equal contiguous parts, so ranks share the step's bucket."""
    if not 0 <= rank < world:
        raise ValueError(f"rank is {rank}; it must lie in 0..{world - 1}")
    if len(batch) % world:
        raise ValueError(
            f"a batch of {len(batch)} clips does not divide over {world} ranks; use a batch size of "
            f"{len(batch) // world * world or world} or {(len(batch) // world + 1) * world}"
        )
    share = len(batch) // world
    return list(batch[rank * share : (rank + 1) * share])
