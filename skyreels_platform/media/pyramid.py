"""One decode, several sizes: what shot detectors, signals, fingerprints and captions look at, streamed in bounded memory.

Every frame comes small; about 8 a second also as a picture, about 2 a second as a still with its fine detail. All sizes are made from
the decoder's own planes by averaging 2 x 2 pixels again and again, which costs less than a millisecond for a 1080p frame; a
conversion of the whole frame to RGB costs ten times as much. Rotation is applied and pixels are made square; colours follow the file's
matrix and range tags.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from skyreels_platform.errors import DecodeError
from skyreels_platform.media.decode import DAMAGE_LIMIT, gapless
from skyreels_platform.media.stills import is_still, read_still
from skyreels_platform.media.timeline import read_timeline

SMALL = (144, 81)
"""Width and height of small frames: three by three pixels for each of TransNetV2's 48 x 27."""
PICTURE_SHORT, PICTURE_LONG = 256, 768
"""Pixels on either side of a picture at most; the long side keeps a banner from costing more than three squares."""
LARGE_SHORT = 720
"""Pixels below which the short side of a still lies."""
NATIVE = 512
"""Pixels of a still's unscaled middle on both sides at most."""
PICTURES_PER_S = 8
"""Pictures per second of footage; every frame where the rate is lower (our choice)."""
PICTURES_PER_STILL = 4
"""Every fourth picture is a still too (our choice)."""
BATCH = 24
"""Frames that one of many lookers sees before the next one does (our choice): its code and sums stay in the processor's cache meanwhile."""

_KR_KB = {Colorspace.ITU709: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # 9: BT.2020; anything else is taken for BT.601, as FFmpeg does
_BT601 = (0.299, 0.114)
_GRID = 16  # pixels of a codec's largest common block


@dataclass(frozen=True, kw_only=True, slots=True)
class Still:
    """One frame in detail."""

    large: np.ndarray
    """(H, W) uint8 full-range luma, square pixels, upright: the source halved until its short side lies below LARGE_SHORT."""
    native: np.ndarray
    """(n, m) uint8 full-range luma, the middle of the picture as it was decoded, unscaled and not rotated, at most NATIVE pixels
    each way. Its first row and column lie on the codec's 16-pixel grid."""
    chroma: np.ndarray
    """(H / 2, W / 2, 2) uint8 full-range Cb and Cr of `large`, 128 for grey."""
    weights: tuple[float, float] = _BT601
    """Parts of red and blue in luma: the colour matrix."""
    reduced: int = 1
    """How many pixels of the source, on either axis, are one of `large`."""

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8: the frame at the size of `large`, in colour. Made at each call."""
        height, width = self.large.shape
        chroma = cv2.resize(self.chroma, (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.transform(cv2.merge([self.large, chroma]), _to_rgb(self.weights, is_full=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """One frame at its place in display order, in all its sizes."""

    index: int
    time_s: float
    """Seconds after the source's first frame."""
    small: np.ndarray
    """(81, 144, 3) uint8 RGB, stretched to 16:9 whatever the source's shape."""
    picture: np.ndarray | None
    """(h, w, 3) uint8 RGB, square pixels; None between pictures."""
    still: Still | None
    """None between stills; a still is always a picture too."""
    damaged: bool = False
    """The decoder refused this frame: the one before stands in for it (the one after, at the start)."""


def pyramid(path: str | Path, *, start: int = 0, stop: int | None = None, small_only: bool = False) -> Iterator[Levels]:
    """Frames start <= index < stop of a video or image, each in its sizes; decodes the file once, with frame threads.

    With `small_only`, there are neither pictures nor stills. Raises DecodeError for a file that cannot be probed or is damaged
    beyond decode.DAMAGE_LIMIT.
    """
    path = Path(path)
    if not path.is_file():
        raise DecodeError(f"{path}: no such file")
    if is_still(path):
        if start <= 0 and (stop is None or stop > 0):
            yield from_rgb(read_still(path).image)
        return
    timeline = read_timeline(path)
    every = max(1, round(timeline.fps / PICTURES_PER_S))
    end = timeline.num_frames if stop is None else min(stop, timeline.num_frames)
    for index, frame, damaged in gapless(path, timeline, max(start, 0), end, DAMAGE_LIMIT):
        shape = _Shape(width=timeline.width, height=timeline.height, turns=timeline.rotation // 90)
        planes = _Planes(frame, shape)
        is_picture = index % every == 0 and not small_only
        yield Levels(
            index=index, time_s=float(timeline.time(index)), small=planes.rgb(SMALL), damaged=damaged,
            picture=planes.rgb(picture_size(shape.width, shape.height)) if is_picture else None,
            still=planes.still() if is_picture and index % (every * PICTURES_PER_STILL) == 0 else None,
        )  # fmt: skip


def from_rgb(image: np.ndarray, *, index: int = 0, time_s: float = 0.0, is_picture: bool = True, is_still: bool = True) -> Levels:
    """The levels of a frame that is already there as (H, W, 3) uint8 RGB."""
    height, width = image.shape[:2]
    size = picture_size(width, height)
    return Levels(
        index=index, time_s=time_s, small=_shrunk(image, SMALL), picture=_shrunk(image, size) if is_picture else None,
        still=_still_from_rgb(image) if is_still else None,
    )


def picture_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of a picture of a source of this displayed size: its own, or reduced to PICTURE_SHORT and PICTURE_LONG."""
    scale = min(1.0, PICTURE_SHORT / min(width, height), PICTURE_LONG / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    """How a stored picture is displayed."""

    width: int
    height: int
    turns: int
    """Quarter turns clockwise."""

    def stored(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[1], size[0]) if self.turns % 2 else size

    def upright(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image, -self.turns)) if self.turns else image


class _Planes:
    """A decoded frame's luma and chroma, halved as often as anybody asks."""

    def __init__(self, frame: VideoFrame, shape: _Shape) -> None:
        self._shape = shape
        self._is_full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        self._weights = _KR_KB.get(frame.colorspace, _BT601)
        self._matrix = _to_rgb(self._weights, self._is_full)
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            frame = frame.reformat(format="yuv420p")
        self._chains = [
            [np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]]
            for plane in frame.planes
        ]  # fmt: skip

    def rgb(self, size: tuple[int, int]) -> np.ndarray:
        """(h, w, 3) uint8 RGB at a displayed size (width, height)."""
        stored = self._shape.stored(size)
        planes = [self._halved_to(number, stored) for number in range(3)]
        if all(3 * plane.shape[0] == 5 * stored[1] and 3 * plane.shape[1] == 5 * stored[0] for plane in planes):
            planes = three_fifths(planes)
        channels = cv2.merge([_fitted(plane, stored) for plane in planes])
        return self._shape.upright(cv2.transform(channels, self._matrix))

    def still(self) -> Still:
        """Everything of the frame that is worth keeping for a while, copied out of the decoder's memory."""
        displayed = self._shape.width, self._shape.height
        halvings = 0
        while min(displayed) >> halvings >= LARGE_SHORT:
            halvings += 1
        size = self._shape.stored((displayed[0] >> halvings, displayed[1] >> halvings))
        large = self._shape.upright(self._full_range(self._resized(0, size), is_luma=True))
        half = max(1, size[0] // 2), max(1, size[1] // 2)
        chroma = [self._shape.upright(self._full_range(self._resized(number, half), is_luma=False)) for number in (1, 2)]
        native = self._full_range(_middle(self._chains[0][0]), is_luma=True)
        return Still(large=large, native=native, chroma=cv2.merge(chroma), weights=self._weights, reduced=1 << halvings)

    def _resized(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """A plane at (width, height): halved while that leaves it large enough, then interpolated."""
        return _fitted(self._halved_to(number, size), size)

    def _halved_to(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """A plane, halved while that leaves it as large as (width, height)."""
        chain = self._chains[number]
        level = 0
        while chain[level].shape[1] >= 2 * size[0] and chain[level].shape[0] >= 2 * size[1]:
            level += 1
            if level == len(chain):
                chain.append(_halved(chain[-1]))
        return chain[level]

    def _full_range(self, plane: np.ndarray, *, is_luma: bool) -> np.ndarray:
        if self._is_full:
            return plane.copy()
        return cv2.LUT(plane, _LUMA if is_luma else _CHROMA)


def _halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    return cv2.resize(plane[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def _fitted(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane of less than twice the size (width, height) at that size."""
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    # Below a factor of two bilinear sampling sees every pixel. Small frames, which decide about cuts, take the exact average.
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if size in (SMALL, SMALL[::-1]) else cv2.INTER_LINEAR)


def three_fifths(planes: list[np.ndarray]) -> list[np.ndarray]:
    """Exact averages at 3/5 of the size on both axes, which 1080 and 2160 lines need for small frames: three output pixels are made of
    five, by (3, 2), (1, 3, 1) and (2, 3) fifths. Equal to OpenCV's INTER_AREA in half of the time."""
    height, width = planes[0].shape
    rows = np.empty((len(planes), height // 5, 5, width), np.uint16)
    for plane, part in zip(planes, rows, strict=True):
        part[...] = plane.reshape(height // 5, 5, width)
    first, second, third, fourth, fifth = (rows[:, :, row] for row in range(5))
    down = np.empty((len(planes), height // 5, 3, width), np.float32)
    down[:, :, 0], down[:, :, 1], down[:, :, 2] = 3 * first + 2 * second, second + 3 * third + fourth, 2 * fourth + 3 * fifth
    means = (down.reshape(-1, 5) @ _THREE_OF_FIVE).reshape(len(planes), height // 5 * 3, width // 5 * 3)
    return list(np.rint(means, out=means).astype(np.uint8))  # a 25th of an integer is never half


def _middle(plane: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - NATIVE) // 2) // _GRID * _GRID for side in plane.shape[:2])
    return plane[top : top + NATIVE, left : left + NATIVE]


@cache
def _to_rgb(weights: tuple[float, float], is_full: bool) -> np.ndarray:
    """(3, 4) matrix from Y, Cb, Cr and 1 to R, G, B, all 0 to 255."""
    red, blue = weights
    green = 1 - red - blue
    matrix = np.array([
        [1, 0, 2 * (1 - red)],
        [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
        [1, 2 * (1 - blue), 0],
    ])  # fmt: skip
    offsets = np.array([0.0 if is_full else 16.0, 128.0, 128.0])
    if not is_full:
        matrix *= np.array([255 / 219, 255 / 224, 255 / 224])
    return np.column_stack([matrix, -matrix @ offsets])


def _table(offset: float, gain: float, centre: float) -> np.ndarray:
    return np.clip(np.rint((np.arange(256) - offset) * gain + centre), 0, 255).astype(np.uint8)


_THREE_OF_FIVE = np.array([[3, 0, 0], [2, 1, 0], [0, 3, 0], [0, 1, 2], [0, 0, 3]], np.float32) / 25  # after sums of 5 rows
_LUMA, _CHROMA = _table(16, 255 / 219, 0), _table(128, 255 / 224, 128)


def _still_from_rgb(image: np.ndarray) -> Still:
    native = cv2.cvtColor(np.ascontiguousarray(_middle(image)), cv2.COLOR_RGB2GRAY)
    reduced = 1
    while min(image.shape[:2]) >= LARGE_SHORT:
        image = _halved_rgb(image)
        reduced *= 2
    height, width = image.shape[:2]
    ycrcb = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    half = max(1, width // 2), max(1, height // 2)
    chroma = [cv2.resize(np.ascontiguousarray(ycrcb[..., channel]), half, interpolation=cv2.INTER_AREA) for channel in (2, 1)]
    return Still(large=np.ascontiguousarray(ycrcb[..., 0]), native=native, chroma=cv2.merge(chroma), reduced=reduced)


def _halved_rgb(image: np.ndarray) -> np.ndarray:
    return np.dstack([_halved(np.ascontiguousarray(image[..., channel])) for channel in range(3)])


def _shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (image.shape[1], image.shape[0]) == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
