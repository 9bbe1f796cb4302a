"""Where in place two shots lie over each other: one crop, the same for the whole shot, undone by Gauss-Newton on scale and shift.

A frame is four numbers: scale x, scale y, shift x, shift y of the other shot's picture, in pixels of SIDE (see `tracks.warp`).
"""

from collections.abc import Sequence

import numpy as np

from skyreels_platform.curation.fingerprint import SIDE
from skyreels_platform.curation.tracks import LINE, MIDDLE, Line, Track, axis_weights, between, moments, slopes, warp, window_of

WHOLE = np.array([1.0, 1.0, 0.0, 0.0])
"""The frame of shots that were not re-framed."""

_SCALES = (0.78, 1.28)  # what a crop to 80 % of the area can do on one axis
_SHIFT = 1.0  # pixels that a crop may reach beyond the picture: borders are found to within one
_EXACT_SCALE, _EXACT_SHIFT = 0.01, 0.15  # the same where nothing is granted to borders
_LEAN = 0.025  # by which the scales of both axes may differ then, unless one of them is 1
_STEPS = 6  # of Gauss-Newton


def pairs(shot: Track, other: Track, line: Line, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Even pictures of both at the same moments."""
    chosen = moments(shot, other, line, count)
    return shot.even[chosen], between(other.times, other.even, line.offset + line.speed * shot.times[chosen])


def find_place(here: np.ndarray, there: np.ndarray, starts: Sequence[np.ndarray] = (), *, is_exact: bool = False) -> np.ndarray:
    """The frame through which `there` looks most like `here`, from some starts or else from the best of a grid.

    is_exact: only a crop that people make, to the pixel: of both axes alike, or along one; else borders may have been misjudged.
    """
    found = [_descend(here, there, start, is_exact) for start in starts or [_find_start(here, there)]]
    return min(found, key=lambda one: one[0])[1]


def _descend(here: np.ndarray, there: np.ndarray, frame: np.ndarray, is_exact: bool) -> tuple[float, np.ndarray]:
    """The difference that is left, and the frame."""
    best = _bounded(frame, is_exact)
    seen, window = warp(there, best), window_of(best)
    difference = _difference(here, seen, window)
    for _ in range(_STEPS):
        moved = _bounded(best + _step(here, seen, window), is_exact)
        seen, window = warp(there, moved), window_of(moved)
        new = _difference(here, seen, window)
        if new >= difference - 1e-4:
            break
        best, difference = moved, new
    return difference, best


def _find_start(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The best frame of the grid, by a few pairs at half size."""
    few = slice(None, None, max(1, len(here) // 3))
    one, two = (_halved(pictures[few]) for pictures in (here, there))
    seen = _START_ROWS[:, None] @ two[None] @ _START_COLUMNS[:, None]
    differences = np.minimum(np.abs(one[None] - seen), 1) * _START_WINDOWS[:, None]
    return _STARTS[int((differences.sum(axis=(1, 2, 3)) / _START_WINDOWS.sum(axis=(1, 2))).argmin())]


def _halved(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))


def _step(here: np.ndarray, seen: np.ndarray, window: np.ndarray) -> np.ndarray:
    """One step of Gauss-Newton in which large differences, those of overlays, weigh little."""
    residual = (here - seen) * window
    limit = 1.5 * np.sqrt(float((residual * residual).sum()) / max(float(window.sum()) * len(here), 1.0)) + 1e-3
    weight = np.minimum(1, limit / np.maximum(np.abs(residual), 1e-6)) * window
    slope_y, slope_x = slopes(seen)
    columns = np.stack([slope_x * (LINE - MIDDLE)[None, :], slope_y * (LINE - MIDDLE)[:, None], slope_x, slope_y]).reshape(4, -1)
    weighted = columns * weight.ravel()
    normal, right = (weighted @ columns.T).astype(np.float64), (weighted @ residual.ravel()).astype(np.float64)
    return np.linalg.solve(normal + np.diag(1e-2 * np.diag(normal) + 1e-3), right)


def _bounded(frame: np.ndarray, is_exact: bool) -> np.ndarray:
    """A crop shows a part of the other picture, or the other picture a part of this one: it cannot lie beside it."""
    scales = np.clip(frame[:2], *_SCALES)
    if is_exact:
        scales = np.minimum(scales, 1 + _EXACT_SCALE) if scales.prod() < 1 else np.maximum(scales, 1 - _EXACT_SCALE)
        if abs(np.log(scales[0] / scales[1])) > _LEAN and np.abs(scales - 1).min() > _EXACT_SCALE:
            scales = np.full(2, np.sqrt(scales.prod()))
    limits = np.abs(1 - scales) * MIDDLE + (_EXACT_SHIFT if is_exact else _SHIFT)
    return np.concatenate([scales, np.clip(frame[2:], -limits, limits)])


def correlation(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> float:
    """Mean correlation of the pairs that both show something; 0 where none does."""
    window = window_of(frame)
    shows = (here != 0).any(axis=(1, 2)) & (there != 0).any(axis=(1, 2))
    alike = flattened(here[shows] * window) * flattened(warp(there[shows], frame) * window)
    return float(alike.sum(axis=1).mean()) if shows.any() else 0.0


def _difference(here: np.ndarray, seen: np.ndarray, window: np.ndarray) -> float:
    return float((np.minimum(np.abs(here - seen), 1.0) * window).sum() / (window.sum() * len(here)))


def flattened(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), SIDE * SIDE)
    return flat / (np.sqrt((flat * flat).sum(axis=1, keepdims=True)) + 1e-3)


_STARTS = [
    np.array([scale, scale, x * abs(1 - scale) * MIDDLE, y * abs(1 - scale) * MIDDLE])
    for scale in (0.89, 0.95, 1.0, 1.05, 1.12) for x in (-1, 0, 1) for y in (-1, 0, 1) if scale != 1 or x == y == 0
]  # fmt: skip
_START_ROWS = np.stack([axis_weights(start[1], start[3], SIDE // 2) for start in _STARTS])
_START_COLUMNS = np.stack([axis_weights(start[0], start[2], SIDE // 2).T for start in _STARTS])
_START_WINDOWS = np.stack([window_of(start)[::2, ::2] for start in _STARTS])
