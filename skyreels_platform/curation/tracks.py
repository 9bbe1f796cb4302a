"""A shot's pictures over time, and how another shot is laid over it: a line in time, a frame in place."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skyreels_platform.curation.fingerprint import FLATTEST, SIDE, even_light

MIDDLE = (SIDE - 1) / 2
LINE = np.arange(SIDE, dtype=np.float32)
_COARSE = 12  # pixels of the pictures that find time


class Track:
    """The pictures of one shot, and what is made of them once for all comparisons."""

    def __init__(self, times: np.ndarray, pictures: np.ndarray, *, marks: np.ndarray, colours: np.ndarray) -> None:
        """As the fields of `Fingerprint`."""
        self.times, self.pictures, self.marks, self.colours = times.astype(np.float64), pictures, marks, colours

    @cached_property
    def is_flat(self) -> np.ndarray:
        """(n,) whether a picture shows nothing."""
        return self.pictures.std(axis=(1, 2), dtype=np.float64) < FLATTEST

    @cached_property
    def even(self) -> np.ndarray:
        """(n, SIDE, SIDE) float32, each part at its own contrast; flat pictures are zero."""
        return even_light(self.pictures) * ~self.is_flat[:, None, None]

    @cached_property
    def coarse(self) -> np.ndarray:
        return coarse_of(self.even)

    @cached_property
    def spread(self) -> float:
        """Share of a picture over which its edges are spread, on average: 0.8 for a full set, 0.3 for one ball on a plain wall."""
        shown = self.pictures[~self.is_flat][:: max(1, len(self.pictures) // 16)].astype(np.float32)
        if not len(shown):
            return 0.0
        down, across = slopes(shown)
        cells = (down * down + across * across).reshape(len(shown), 8, SIDE // 8, 8, SIDE // 8).sum(axis=(2, 4)).reshape(len(shown), 64)
        return float((np.sqrt(cells).sum(axis=1) ** 2 / (cells.sum(axis=1) * 64 + 1e-9)).mean())

    @property
    def step_s(self) -> float:
        return float(self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else 1.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """other seconds = offset + speed * seconds."""

    speed: float
    offset: float

    def span(self, shot: Track, other: Track) -> tuple[float, float]:
        """Seconds of this shot that both have."""
        first, last = ((end - self.offset) / self.speed for end in (other.times[0], other.times[-1]))
        return max(float(shot.times[0]), float(first)), min(float(shot.times[-1]), float(last))


# ---- time ----------------------------------------------------------------------------------------------------------------------


def moments(shot: Track, other: Track, line: Line, count: int) -> np.ndarray:
    """Up to `count` positions of this shot's pictures inside the shared part."""
    begin, end = line.span(shot, other)
    inside = np.nonzero((shot.times >= begin - 1e-4) & (shot.times <= end + 1e-4))[0]
    if not len(inside):
        return np.array([int(np.abs(shot.times - (begin + end) / 2).argmin())])
    return inside[np.unique(np.linspace(0, len(inside) - 1, min(count, len(inside))).round().astype(int))]


def between(times: np.ndarray, pictures: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Pictures between pictures: (n, ...) at n ascending times -> (k, ...) floats at any times."""
    right = np.minimum(np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1)), len(times) - 1)
    left = np.maximum(right - 1, 0)
    gap = np.maximum(times[right] - times[left], 1e-6)
    share = np.clip((wanted - times[left]) / gap, 0, 1).astype(np.float32).reshape(-1, *[1] * (pictures.ndim - 1))
    return pictures[left] * (1 - share) + pictures[right] * share


# ---- place ---------------------------------------------------------------------------------------------------------------------


def axis_weights(scale: float, shift: float, side: int = SIDE) -> np.ndarray:
    """(side, side) float32: linear interpolation along one axis; row i reads at scale * (i - middle) + middle + shift."""
    line = np.arange(side, dtype=np.float32)
    middle = (side - 1) / 2
    places = np.clip(scale * (line - middle) + middle + shift * side / SIDE, 0, side - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - line[None, :])).astype(np.float32)


def warp(pictures: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Pictures seen through a frame: scale x, scale y, shift x, shift y."""
    return axis_weights(frame[1], frame[3]) @ pictures @ axis_weights(frame[0], frame[2]).T


def window_of(frame: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) float32: 1 where the frame lies inside the other picture, 0 elsewhere."""
    x, y = (frame[axis] * (LINE - MIDDLE) + MIDDLE + frame[axis + 2] for axis in (0, 1))
    inside = [(places >= -0.75) & (places <= SIDE - 0.25) for places in (y, x)]
    return (inside[0][:, None] & inside[1][None, :]).astype(np.float32)


def slopes(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences downwards and across; `np.gradient` gives the same in five times the time."""
    down, across = np.empty_like(pictures), np.empty_like(pictures)
    down[:, 1:-1] = (pictures[:, 2:] - pictures[:, :-2]) / 2
    down[:, 0], down[:, -1] = pictures[:, 1] - pictures[:, 0], pictures[:, -1] - pictures[:, -2]
    across[:, :, 1:-1] = (pictures[:, :, 2:] - pictures[:, :, :-2]) / 2
    across[:, :, 0], across[:, :, -1] = pictures[:, :, 1] - pictures[:, :, 0], pictures[:, :, -1] - pictures[:, :, -2]
    return down, across


def coarse_of(even: np.ndarray) -> np.ndarray:
    """(n, _COARSE ** 2) of zero mean and unit length, or zero."""
    small = (_SHRINK @ even @ _SHRINK.T).reshape(len(even), _COARSE * _COARSE)
    small -= small.mean(axis=1, keepdims=True)
    return small / (np.sqrt((small * small).sum(axis=1, keepdims=True)) + 1e-3)


def _shrink() -> np.ndarray:
    """(_COARSE, SIDE) soft averages along one axis."""
    centres = (np.arange(_COARSE) + 0.5) * SIDE / _COARSE - 0.5
    weights = np.exp(-0.5 * ((np.arange(SIDE)[None] - centres[:, None]) / (0.7 * SIDE / _COARSE)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_SHRINK = _shrink()
