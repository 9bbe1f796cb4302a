"""A shot's perceptual fingerprint: what is compared to find copies of it, without any trained weights.

Three things per shot, all made from its light after flat borders (letterbox, pillarbox) are cut away:

- `pictures`, 32 x 32, as often as pictures come (8 a second): what decides whether two shots show the same, see `alignment`;
- `vectors`, one descriptor for every fourth picture: what an index is asked for, see `dedup`;
- the times of both, in seconds from the shot's first frame.

A descriptor is half the layout of light (low frequencies of a cosine transform) and half the directions of edges in 4 x 4 soft
cells, each cell limited, so that a subtitle or a logo moves a few cells only. Brightness and contrast drop out. Source: paper 3.1 asks for
copy-detection embeddings; this one, which needs no download, is our choice. Pretrained ones: see `embedding`.
"""

import zlib
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from skyreels_platform.curation.embedding import EmbeddingBackend
from skyreels_platform.curation.signals.base import ShotInfo

FINGERPRINT_VERSION = "fingerprint-3"
"""Raise it when the same pixels would give another fingerprint."""

DIMENSIONS = 128
SIDE = 32
"""Pixels of a fingerprint's picture, both ways, whatever the shot's shape."""
COLOUR_SIDE = 8
"""Cells of the layout of colours, both ways."""
MAX_PICTURES = 512
"""Longer shots are thinned evenly: 64 s at 8 a second, two hours at one in 14 s."""
PICTURES_PER_VECTOR = 4
"""Two descriptors a second."""
MIN_VECTORS = 3
"""For shots too short for the rate above."""
FLATTEST = 4.0
"""Standard deviation in levels of 255 below which a picture shows nothing that could be recognised: black, white, fog."""

_KEPT_SIDE = 96  # pixels that are kept until the shot's borders are known
_NETWORK_SIDE = 128  # pixels of the coloured pictures that are kept for a network
_TINT_SIDE = 24  # of the colours that are kept meanwhile
_MIX = np.array([[179, 51, 26, -127.5]], np.float32) / 256  # red, green, blue; luma alone does not see a green ball on grey of equal luma
"""With an offset that turns rounding into leaving out the fraction."""
_BORDER_PICTURES = 24  # that decide together what a border is
_BLACKEST = 32  # levels of 255 up to which a flat edge is a border; a lighter one may be a wall, and a copy's wall is graded otherwise
_BORDER_LEVELS = 4  # around its own level in which a border's pixels lie: dark scenes lie within 10, and their copies are graded otherwise
_FLAT_SHARE = 0.08  # of a row or column of a border that may lie elsewhere
_TEXT_SHARE = 0.45  # the same where a subtitle stands in a letterbox bar
_SHOWN = 0.7  # of the pictures that decide; in single ones a bright edge rings far into a bar
_SHARP = 4  # rows within which a border ends: its own last ones may ring
_RINGING, _RINGING_LEVELS = 2, 10  # rows at its edge, and their levels, that a codec stirs
_LEAST_SHARE = 0.4  # of the frame's side; a smaller picture is a title on black, which stays whole
_CELLS, _ANGLES = 4, 6
_LAYOUT = DIMENSIONS - _CELLS * _CELLS * _ANGLES
_AROUND = 8.0  # pixels of SIDE: how far the contrast around a place is looked at
_NOISE = 3.0  # levels that a codec stirs


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """What is known of one shot; equal pixels give equal bytes."""

    media: str
    """video | image."""
    duration_s: float
    """From the first frame's beginning to the last one's end; 0 for an image."""
    times: np.ndarray
    """(n,) float32, seconds from the shot's first frame, ascending; n <= MAX_PICTURES."""
    pictures: np.ndarray
    """(n, SIDE, SIDE) uint8 light, mostly red, without borders, stretched to a square."""
    marks: np.ndarray
    """(m,) int32, positions in `pictures` of those that have a descriptor; empty for a shot that shows nothing."""
    vectors: np.ndarray
    """(m, DIMENSIONS) float32 of unit length, or as many dimensions as a pretrained backend has."""
    colours: np.ndarray
    """(m, COLOUR_SIDE, COLOUR_SIDE, 2) uint8, mean blue and red differences of the pictures with a descriptor; 128 is grey."""

    def to_bytes(self) -> bytes:
        """`times` and `pictures` packed; the differences of neighbours, since most of a shot stands still."""
        steps = np.diff(self.pictures, axis=0, prepend=np.zeros((1, SIDE, SIDE), np.uint8))  # wraps around, as does the sum
        return zlib.compress(self.times.astype("<f4").tobytes() + steps.tobytes(), 1)


def unpack(packed: bytes) -> tuple[np.ndarray, np.ndarray]:
    """`times` and `pictures` out of `Fingerprint.to_bytes`."""
    content = zlib.decompress(packed)
    count = len(content) // (4 + SIDE * SIDE)
    times = np.frombuffer(content, "<f4", count)
    steps = np.frombuffer(content, np.uint8, offset=4 * count).reshape(count, SIDE, SIDE)
    return times, np.cumsum(steps, axis=0, dtype=np.uint8)


class Pictured(Protocol):
    """What a fingerprint needs of a frame: `signals.Sample` and `pyramid.Levels` have it."""

    @property
    def time_s(self) -> float: ...
    @property
    def picture(self) -> np.ndarray | None: ...


class Fingerprinter:
    """Makes the fingerprint of one shot from its samples; holds at most 6 MB, 32 MB with a network."""

    def __init__(self, shot: ShotInfo, network: EmbeddingBackend | None = None) -> None:
        """network: makes the descriptors in place of `describe`."""
        self.shot = shot
        self._network = network
        self._start_s: float | None = None
        self._last_s = 0.0
        self._seen, self._stride = 0, 1
        self._times: list[float] = []
        self._kept: list[np.ndarray] = []
        self._tints: list[np.ndarray] = []
        self._coloured: list[np.ndarray] = []  # for the network only

    def add(self, sample: Pictured) -> None:
        """See the next frame of the shot; those without a picture are passed over."""
        if self._start_s is None:
            self._start_s = sample.time_s
        self._last_s = sample.time_s - self._start_s
        if sample.picture is None:
            return
        if self._seen % self._stride == 0:
            if len(self._kept) == MAX_PICTURES:
                for held in (self._times, self._kept, self._tints, self._coloured):
                    del held[1::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                small = cv2.resize(sample.picture, (_KEPT_SIDE, _KEPT_SIDE), interpolation=cv2.INTER_AREA)
                self._kept.append(cv2.transform(small, _MIX))
                self._tints.append(_tint(cv2.resize(small, (_TINT_SIDE, _TINT_SIDE), interpolation=cv2.INTER_AREA)))
                if self._network:
                    self._coloured.append(cv2.resize(sample.picture, (_NETWORK_SIDE, _NETWORK_SIDE), interpolation=cv2.INTER_AREA))
                self._times.append(sample.time_s - self._start_s)
        self._seen += 1

    def result(self) -> Fingerprint:
        """The fingerprint, once every frame of the shot has been seen."""
        kept = np.stack(self._kept) if self._kept else np.zeros((0, _KEPT_SIDE, _KEPT_SIDE), np.uint8)
        top, bottom, left, right = _inside(kept)
        pictures = np.zeros((len(kept), SIDE, SIDE), np.uint8)
        for picture, whole in zip(pictures, kept, strict=True):
            cv2.resize(whole[top:bottom, left:right], (SIDE, SIDE), dst=picture, interpolation=cv2.INTER_AREA)
        marks = [mark for mark in _marks(len(kept), max(1, PICTURES_PER_VECTOR // self._stride))
                 if float(pictures[mark].std(dtype=np.float64)) >= FLATTEST]  # fmt: skip
        return Fingerprint(
            media=self.shot.media, duration_s=0.0 if self.shot.media == "image" else self._last_s + 1 / (self.shot.fps or 1),
            times=np.array(self._times, np.float32), pictures=pictures, marks=np.array(marks, np.int32),
            vectors=self._vectors(pictures, marks, (top, bottom, left, right)),
            colours=_colours([self._tints[mark] for mark in marks], (top, bottom, left, right)),
        )  # fmt: skip

    def _vectors(self, pictures: np.ndarray, marks: list[int], inside: tuple[int, int, int, int]) -> np.ndarray:
        if self._network is None:
            return describe(pictures[marks])
        top, bottom, left, right = (round(edge * _NETWORK_SIDE / _KEPT_SIDE) for edge in inside)
        coloured = [self._coloured[mark][top:bottom, left:right] for mark in marks]
        return self._network.embed(np.stack(coloured)) if coloured else np.zeros((0, self._network.dimensions), np.float32)


def describe(pictures: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) uint8 -> (n, DIMENSIONS) float32 of unit length."""
    even = even_light(pictures)
    vectors = np.concatenate([_unit(_layout(even)), _unit(_edges(even))], axis=1)
    return _unit(vectors)


def even_light(pictures: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) uint8 -> float32 with each part at its own contrast: a white subtitle in a dark shot must not be all that counts."""
    levels = pictures.astype(np.float32)
    lit = levels - _BLUR @ levels @ _BLUR.T
    local = np.sqrt(_BLUR @ (lit * lit) @ _BLUR.T)
    return lit / (local + 0.3 * np.sqrt((lit * lit).mean(axis=(1, 2), keepdims=True)) + _NOISE)


def _tint(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (h, w, 2) uint8: half of blue minus luma and of red minus luma, around 128."""
    wide = rgb.astype(np.int32)
    luma = (wide @ np.array([77, 150, 29])) >> 8
    return np.clip(128 + ((wide[..., [2, 0]] - luma[..., None]) >> 1), 0, 255).astype(np.uint8)


def _colours(tints: list[np.ndarray], inside: tuple[int, int, int, int]) -> np.ndarray:
    """Tints inside the borders as (m, COLOUR_SIDE, COLOUR_SIDE, 2) uint8."""
    top, bottom, left, right = (round(edge * _TINT_SIDE / _KEPT_SIDE) for edge in inside)
    size = (COLOUR_SIDE, COLOUR_SIDE)
    cells = [cv2.resize(tint[top:bottom, left:right], size, interpolation=cv2.INTER_AREA) for tint in tints]
    return np.stack(cells) if cells else np.zeros((0, *size, 2), np.uint8)


def _marks(count: int, step: int) -> list[int]:
    """Positions of `count` pictures that get a descriptor."""
    if -(-count // step) >= MIN_VECTORS:
        return list(range(0, count, step))
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, MIN_VECTORS))})


def _inside(kept: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is no flat border in any picture of (n, h, w) uint8."""
    height, width = kept.shape[1:]
    some = kept[:: max(1, len(kept) // _BORDER_PICTURES)].astype(np.int16)
    top, bottom = _ends(some)
    if bottom - top < _LEAST_SHARE * height:
        top, bottom = 0, height
    left, right = _ends(some[:, top:bottom].transpose(0, 2, 1))
    if right - left < _LEAST_SHARE * width:
        left, right = 0, width
    return top, bottom, left, right


def _ends(pictures: np.ndarray) -> tuple[int, int]:
    """First row and row after the last that are no border, of (n, rows, columns)."""
    rows = pictures.shape[1]
    first, last = _depth(pictures), _depth(pictures[:, ::-1])
    return (0, rows) if first == rows else (first, rows - last)


def _depth(pictures: np.ndarray) -> int:
    """Rows from the first on that are black, all of one level, in nearly all pictures; a border ends abruptly, a dark scene does not."""
    if not len(pictures):
        return 0
    level = np.median(pictures[:, 0])
    if level > _BLACKEST:
        return 0
    away = np.abs(pictures - level)
    shares = np.quantile((away > _BORDER_LEVELS).mean(axis=2), _SHOWN, axis=0)  # of each row
    flat, depth = _leading(shares <= _FLAT_SHARE), _leading(shares <= _TEXT_SHARE)
    if depth in (0, len(shares)):
        return depth
    if shares[max(0, depth - _SHARP) : depth].min() > _FLAT_SHARE:
        depth = flat
    ringing = _leading((away[:, depth : depth + _RINGING] <= _RINGING_LEVELS).mean(axis=(0, 2)) >= 0.5) if depth else 0
    return depth + ringing + bool(depth)  # the row at a border's edge is part border


def _leading(flags: np.ndarray) -> int:
    """How many are true before the first that is not."""
    return len(flags) if flags.all() else int(flags.argmin())


def _layout(even: np.ndarray) -> np.ndarray:
    """(n, _LAYOUT) lowest frequencies in both directions without the mean, higher ones weaker: they suffer most from a crop."""
    return (_COSINES @ even @ _COSINES.T * _FALLOFF)[:, *_LOWEST]


def _edges(even: np.ndarray) -> np.ndarray:
    """(n, angles * cells) strength of slopes by direction and cell; a cell's share is limited by its root."""
    down, across = np.gradient(even, axis=(1, 2))
    strength = np.sqrt(across * across + down * down)
    turn = np.arctan2(down, across) * np.float32(_ANGLES / (2 * np.pi)) % _ANGLES
    lower = np.floor(turn).astype(np.int32)
    share = turn - lower
    planes = np.stack([
        strength * (np.where(lower % _ANGLES == angle, 1 - share, 0) + np.where((lower + 1) % _ANGLES == angle, share, 0))
        for angle in range(_ANGLES)
    ], axis=1)  # fmt: skip
    cells = planes.reshape(len(even), _ANGLES, SIDE * SIDE) @ _POOLING  # (n, angles, cells)
    lengths = np.sqrt((cells * cells).sum(axis=1, keepdims=True))
    scale = np.sqrt((lengths * lengths).mean(axis=2, keepdims=True)) + 1e-6
    limited = (cells / np.sqrt((lengths + 0.1 * scale) * scale)).reshape(len(even), _ANGLES * _CELLS * _CELLS)
    return limited - limited.mean(axis=1, keepdims=True)  # what all pictures have in common says nothing


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.maximum(np.sqrt((vectors * vectors).sum(axis=1, keepdims=True)), 1e-6)).astype(np.float32)


def _blur() -> np.ndarray:
    """(SIDE, SIDE) Gaussian average along one axis, mirrored at the edges."""
    reach = np.arange(-3 * int(_AROUND), 3 * int(_AROUND) + 1)
    weights = np.exp(-0.5 * (reach / _AROUND) ** 2)
    matrix = np.zeros((SIDE, SIDE))
    for row in range(SIDE):
        places = (row + reach) % (2 * SIDE)
        np.add.at(matrix[row], np.minimum(places, 2 * SIDE - 1 - places), weights / weights.sum())
    return matrix.astype(np.float32)


def _cosines() -> np.ndarray:
    """(SIDE, SIDE) orthonormal cosine transform along one axis."""
    rows, places = np.mgrid[:SIDE, :SIDE]
    matrix = np.sqrt(2 / SIDE) * np.cos(np.pi * rows * (places + 0.5) / SIDE)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _pooling() -> np.ndarray:
    """(SIDE * SIDE, cells) weights: Gaussian cells that overlap."""
    centres = (np.arange(_CELLS) + 0.5) * SIDE / _CELLS
    along = np.exp(-0.5 * ((np.arange(SIDE)[:, None] + 0.5 - centres[None]) / (0.6 * SIDE / _CELLS)) ** 2)
    along /= along.sum(axis=0, keepdims=True)
    return np.einsum("yi,xj->yxij", along, along).reshape(SIDE * SIDE, -1).astype(np.float32)


def _lowest() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the _LAYOUT lowest frequencies of a cosine transform, without the mean."""
    order = sorted((row * row + column * column, row, column) for row in range(12) for column in range(12))[1:_LAYOUT + 1]
    return np.array([row for _, row, _ in order]), np.array([column for *_, column in order])


_BLUR, _COSINES, _POOLING, _LOWEST = _blur(), _cosines(), _pooling(), _lowest()
_FALLOFF = (1 / (1 + (np.hypot(*np.mgrid[:SIDE, :SIDE]) / 3) ** 2)).astype(np.float32)
