"""Pictures of a video or image as RGB arrays: streamed (`frames`) or one clip at once (`clip`).

Frame numbers are positions in display order on the file's timeline (see `timeline`) and stay exact after a seek. Rotation is
applied, pixels are made square, colours follow the file's matrix and range tags (HDR is not tone-mapped). PyAV decodes with frame
and slice threads; memory holds one picture plus the decoder's own few, whatever the length.

Damage: a picture that the decoder refuses or marks corrupt keeps its place. `frames` repeats its neighbour there and marks it
`damaged`; when more than 5 % of the asked pictures (and more than one) are damaged it raises DecodeError. `clip` accepts none.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from skyreels_platform.errors import DecodeError
from skyreels_platform.media.stills import is_still, read_still
from skyreels_platform.media.timeline import Timeline, open_video, read_timeline

DAMAGE_LIMIT = 0.05
_MAX_THREADS = 8  # each frame thread holds a picture more; beyond 8 the gain is small (our choice)

Size = tuple[int, int]
Crop = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture at its place in display order."""

    index: int
    """Position in the source, from 0."""
    time_s: float
    """Seconds after the source's first picture, from the presentation timestamp."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB, upright, C-contiguous, owned by the caller."""
    damaged: bool = False
    """The decoder refused this picture: `image` repeats the one before (the one after, at the start)."""


def frames(path: str | Path, *, size: Size | None = None, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
    """Pictures start <= index < stop, gapless and in display order; an image is one frame.

    size: (width, height) to scale to (bicubic; low-pass when shrinking), None for the displayed size. stop None or beyond the
    end: to the end. A file without usable timestamps is decoded from its first picture, counted, and may end up to 5 % before
    `num_frames`. DecodeError for a file that cannot be probed or is damaged beyond the limit.
    """
    path = Path(path)
    if not path.is_file():
        raise DecodeError(f"{path}: no such file")
    if is_still(path):
        if start <= 0 and (stop is None or stop > 0):
            yield Frame(index=0, time_s=0.0, image=_fit(read_still(path).image, None, size))
        return
    timeline = read_timeline(path)
    end = timeline.num_frames if stop is None else min(stop, timeline.num_frames)
    for index, picture, damaged in gapless(path, timeline, max(start, 0), end, DAMAGE_LIMIT):
        image = _convert(picture, timeline, None, size)
        yield Frame(index=index, time_s=float(timeline.time(index)), image=image, damaged=damaged)


def clip(
    path: str | Path, *, start_frame: int, end_frame: int, size: Size, crop: Crop | None = None,
    fps: Fraction | float | None = None, num_frames: int | None = None,
) -> np.ndarray:
    """Pictures start_frame <= index < end_frame as one (F, height, width, 3) uint8 RGB array, cropped, then scaled to `size`.

    crop: (x, y, width, height) in displayed pixels. With `fps`, F = round(duration * fps), at least 1, and output frame k is the
    source picture nearest in time to start + k / fps (ties go to the earlier one), never one outside the span; `num_frames`
    keeps the first ones. Without `fps`, all pictures, or `num_frames` of them spread evenly, first and last included. Decoding
    begins at the keyframe before the span and ends with the last wanted picture. An image is one picture. DecodeError for a
    span outside the source, for fewer than `num_frames` pictures, and for a damaged picture.
    """
    path = Path(path)
    timeline = None if is_still(path) else read_timeline(path)
    total = timeline.num_frames if timeline else 1
    if not 0 <= start_frame < end_frame <= total:
        raise DecodeError(f"{path}: frames {start_frame} to {end_frame} do not lie in 0 to {total}; choose a span inside")
    wanted = sample(timeline, start_frame, end_frame, fps, num_frames)
    if num_frames is not None and len(wanted) < num_frames:
        raise DecodeError(
            f"{path}: frames {start_frame} to {end_frame} give {len(wanted)} pictures, not {num_frames}; choose a longer span"
        )
    if timeline is None:
        return _fit(read_still(path).image, crop, size)[None].repeat(len(wanted), axis=0)
    out = np.empty((len(wanted), size[1], size[0], 3), np.uint8)
    filled = 0
    for index, picture, damaged in gapless(path, timeline, start_frame, wanted[-1] + 1, 1.0):
        if index != wanted[filled]:
            continue
        if damaged:
            raise DecodeError(f"{path}: frame {index} ({float(timeline.time(index)):.2f} s) is damaged; leave this span out")
        out[filled] = _convert(picture, timeline, crop, size)
        filled += 1
        while filled < len(wanted) and wanted[filled] == index:  # a rate above the source's shows a picture twice
            out[filled] = out[filled - 1]
            filled += 1
    if filled < len(wanted):
        raise DecodeError(f"{path}: the pictures end before frame {wanted[filled]}; leave this span out")
    return out


def sample(timeline: Timeline | None, start: int, end: int, fps: Fraction | float | None, count: int | None) -> list[int]:
    """Source index of every output frame of `clip`, non-decreasing; `timeline` is None for an image."""
    if fps is None:
        if count is None or count >= end - start:
            return list(range(start, end))
        return [round(i) for i in np.linspace(start, end - 1, count)]
    if timeline is None:
        return [start]
    step = 1 / Fraction(fps)
    begin = timeline.time(start)
    num = max(1, round((timeline.time(end) - begin) / step))
    num = min(num, count) if count is not None else num
    times = np.array([float(timeline.time(i) - begin) for i in range(start, end)])
    targets = np.array([float(k * step) for k in range(num)])
    right = np.clip(np.searchsorted(times, targets), 1, max(1, len(times) - 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    nearer_right = times[right] - targets < targets - times[left] - 1e-9  # a tie in exact arithmetic must stay one in floats
    return [start + int(i) for i in np.where(nearer_right, right, left)]


def gapless(path: Path, timeline: Timeline, start: int, stop: int, limit: float) -> Iterator[tuple[int, VideoFrame, bool]]:
    """Index, decoded picture and whether it stands in for a damaged one, for every index from start to stop.

    limit: the share of damaged pictures above which DecodeError is raised.
    """
    if start >= stop:
        return
    previous: VideoFrame | None = None
    expected, num_damaged = start, 0
    allowed = max(1, int(limit * (stop - start)))
    for index, picture in _decoded(path, timeline, start):
        if index >= stop:
            break
        if index < expected or picture.is_corrupt:
            continue
        num_damaged += index - expected
        if num_damaged > allowed:
            raise _too_damaged(path, start, stop, num_damaged)
        for missing in range(expected, index):
            yield missing, previous or picture, True
        yield index, picture, False
        previous, expected = picture, index + 1
    num_damaged += stop - expected
    if previous is None or num_damaged > allowed:
        raise _too_damaged(path, start, stop, num_damaged)
    if timeline.pts is not None:  # without timestamps the packet count is no proof of pictures
        for missing in range(expected, stop):
            yield missing, previous, True


def _too_damaged(path: Path, start: int, stop: int, count: int) -> DecodeError:
    return DecodeError(f"{path}: {count} or more of the frames {start} to {stop} are damaged; replace the file or leave them out")


def _decoded(path: Path, timeline: Timeline, start: int) -> Iterator[tuple[int, VideoFrame]]:
    """Index and picture from `start` on (earlier ones are left out), seeking to the keyframe before it."""
    anchor = timeline.keyframe_before(start) if start and start < timeline.num_frames else None
    first = True
    for index, picture in _decode_from(path, timeline, anchor):
        if first and anchor is not None and index > start:
            break  # the demuxer landed too late, or the keyframe was none: decode from the beginning instead
        first = False
        if index >= start:
            yield index, picture
    else:
        if not (first and anchor is not None):
            return
    yield from ((i, p) for i, p in _decode_from(path, timeline, None) if i >= start)


def _decode_from(path: Path, timeline: Timeline, anchor: int | None) -> Iterator[tuple[int, VideoFrame]]:
    counted = 0
    with open_video(path) as (container, stream):
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        if anchor is not None:
            container.seek(anchor, stream=stream, backward=True)
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except (FFmpegError, EOFError):
                continue  # leaves a hole in the indices, which the caller fills and counts
            for picture in decoded:
                index = counted if timeline.pts is None else timeline.index(picture.pts)
                counted += 1
                if index is not None:
                    yield index, picture


def _convert(picture: VideoFrame, timeline: Timeline, crop: Crop | None, size: Size | None) -> np.ndarray:
    """One decoded picture as upright RGB: scaled in the conversion itself when there is no crop."""
    width, height = size if size and crop is None else (timeline.width, timeline.height)
    if timeline.rotation % 180:
        width, height = height, width
    rgb = picture.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
    upright = np.ascontiguousarray(np.rot90(rgb, -timeline.rotation // 90))
    return upright if crop is None else _fit(upright, crop, size)


def _fit(image: np.ndarray, crop: Crop | None, size: Size | None) -> np.ndarray:
    """RGB array cropped to (x, y, width, height), then scaled to (width, height)."""
    if crop is not None:
        x, y, width, height = crop
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > image.shape[1] or y + height > image.shape[0]:
            raise DecodeError(f"crop {crop} does not lie in a picture of {image.shape[1]} x {image.shape[0]}; choose it inside")
        image = np.ascontiguousarray(image[y : y + height, x : x + width])
    if size is None or size == (image.shape[1], image.shape[0]):
        return image
    scaled = VideoFrame.from_ndarray(image).reformat(width=size[0], height=size[1], interpolation="BICUBIC")
    return cast(np.ndarray, scaled.to_ndarray())
