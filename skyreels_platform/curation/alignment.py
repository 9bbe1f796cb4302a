"""Whether one shot repeats another, and which part: their fingerprints' pictures laid over each other in time, then in place.

A copy may be trimmed, played faster or slower, re-framed by a crop, regraded, and covered in part by subtitles or a logo.

1. Time: the offset and speed at which most pictures of both lie close together (all speeds and offsets of a grid are tried).
2. Place: one crop, the same for the whole shot, is undone (Gauss-Newton on scale and shift along both axes).
3. Both again, finer, each with what the other found. How alike the shots then are, see `likeness`.

Source: our choice throughout; the paper (3.1) asks for deduplication and says no more.
"""

from dataclasses import dataclass

import numpy as np

from skyreels_platform.curation.fingerprint import SIDE
from skyreels_platform.curation.likeness import likeness
from skyreels_platform.curation.tracks import (
    LINE,
    MIDDLE,
    Line,
    Track,
    axis_weights,
    between,
    coarse_of,
    moments,
    warp,
    window_of,
)

ALIGNMENT_VERSION = "alignment-1"
"""Raise it when the same fingerprints would align otherwise."""

SLOWEST, FASTEST = 0.5, 2.0
"""Seconds of the other shot per second of this one."""
LEAST_OVERLAP_S = 1.0
"""Shared seconds below which shots are no copies, or LEAST_SHARE of the shorter one where that is less."""
LEAST_SHARE = 0.6

_SPEEDS = np.geomspace(SLOWEST, FASTEST, 17)  # 9 % apart; _FINE_SPEEDS fill the gaps
_ODD_SPEED = 0.1  # by which a speed of one half or two must fit better than the same speed
_FINE_SPEEDS = np.array([0.955, 0.97, 0.985, 1.0, 1.015, 1.03, 1.045])
_FINE_SHIFTS = np.arange(-8, 9) / 6  # pictures
_LEAST_INSIDE = 0.7  # of the pairs that a finer line must keep
_PROBES = 32  # pictures of this shot that find time
_PAIRS = 16  # pairs of pictures that find the exact time
_PLACE_PAIRS = 8  # pairs that find place
_SOME = 0.55  # correlation from which a picture has a counterpart, wherever it may lie in time
_SHARED = 0.45  # of the pictures of one of the shots that must have one
_HOPELESS = 0.58  # mean correlation on the line below which no crop explains the difference
_MISPLACED = 0.5  # the same at full detail, after the crop is undone
_NEAR = 0.5  # correlation of two pictures above which they speak for their time, below against it
_SCALES = (0.78, 1.28)  # what a crop to 80 % of the area can do on one axis
_SHIFT = 1.0  # pixels that a crop may reach beyond the picture: borders are found to within one
_STEPS = 6  # of Gauss-Newton


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The part that two shots share."""

    similarity: float
    """Of what both show: 1 for equal pixels, about 0 for unrelated ones."""
    start_s: float
    """Where the shared part begins, from this shot's first frame."""
    other_start_s: float
    duration_s: float
    """Of the shared part, in this shot's seconds; 0 for two images."""
    speed: float
    """Seconds of the other shot per second of this one."""


def align(shot: Track, other: Track) -> Alignment | None:
    """The best alignment of two shots, or None where none brings enough of them close. Its similarity says whether it is a copy.

    Most candidates are unlike; each step lets fewer of them through to the next, which costs more.
    """
    if not _shares_pictures(shot, other):
        return None
    if shot.times[-1] <= other.times[-1]:
        return _align(shot, other)
    found = _align(other, shot)  # the search adds over the first shot's pictures: over a part of them, slower would be better
    return found and Alignment(
        similarity=found.similarity, start_s=found.other_start_s, other_start_s=found.start_s,
        duration_s=found.duration_s * found.speed, speed=1 / found.speed,
    )  # fmt: skip


def _align(shot: Track, other: Track) -> Alignment | None:
    line = _find_time(shot, other, shot.coarse, other.coarse)
    if line is None:
        return None
    if _closeness(shot, other, line) < _HOPELESS:
        return None
    here, there = _pairs(shot, other, line, _PLACE_PAIRS)
    frame = _find_place(here, there, None)
    if _correlation(here, there, frame) < _MISPLACED:
        return None
    line = _find_time(shot, other, coarse_of(shot.even * window_of(frame)), coarse_of(warp(other.even, frame) * window_of(frame)))
    if line is None:
        return None
    frame = _find_place(*_pairs(shot, other, line, _PLACE_PAIRS), frame)
    line = _refine_time(shot, other, line, frame)
    frame = _find_place(*_pairs(shot, other, line, _PLACE_PAIRS), frame)
    begin, end = line.span(shot, other)
    if end - begin < _least(shot, other) - 1e-6:
        return None
    return Alignment(
        similarity=likeness(shot, other, line, frame), start_s=begin, other_start_s=float(line.offset + line.speed * begin),
        duration_s=end - begin, speed=float(line.speed),
    )  # fmt: skip


# ---- time ----------------------------------------------------------------------------------------------------------------------


def _least(shot: Track, other: Track) -> float:
    return min(LEAST_OVERLAP_S, LEAST_SHARE * float(shot.times[-1]), LEAST_SHARE * float(other.times[-1]))


def _find_time(shot: Track, other: Track, here: np.ndarray, there: np.ndarray) -> Line | None:
    """The line on which most pictures lie close together: the sum of (correlation - _NEAR) over it is the largest."""
    some = np.unique(np.linspace(0, len(shot.times) - 1, min(_PROBES, len(shot.times))).round().astype(int))
    gain = here[some] @ there.T - _NEAR
    gain[np.ix_(shot.is_flat[some], other.is_flat)] = 0  # black against black says nothing
    if gain.max() <= 0:
        return None
    times, step, least = shot.times[some], other.step_s, _least(shot, other)
    rows = np.arange(len(some))[None]
    best, found = 0.0, None
    for speed in _SPEEDS:
        offsets = np.arange(other.times[0] - speed * (times[-1] - least), other.times[-1] - speed * (times[0] + least) + step / 2, step)
        places = np.rint((offsets[:, None] + speed * times[None, :] - other.times[0]) / step).astype(int)
        inside = (places >= 0) & (places < len(other.times))
        total = (gain[rows, np.clip(places, 0, len(other.times) - 1)] * inside).sum(axis=1) * (1 - _ODD_SPEED * abs(np.log2(speed)))
        if len(total) and total.max() > best:
            best, found = float(total.max()), Line(speed=float(speed), offset=float(offsets[total.argmax()]))
    return found


def _shares_pictures(shot: Track, other: Track) -> bool:
    """Whether enough of either shot's pictures that show something look like some picture of the other."""
    shows, other_shows = ~shot.is_flat, ~other.is_flat
    if not shows.any() or not other_shows.any():
        return False
    alike = shot.coarse[shows] @ other.coarse[other_shows].T >= _SOME
    return max(float(alike.any(axis=1).mean()), float(alike.any(axis=0).mean())) >= _SHARED


def _closeness(shot: Track, other: Track, line: Line) -> float:
    """Mean correlation of the coarse pictures on a line."""
    chosen = moments(shot, other, line, _PAIRS)
    places = np.rint((line.offset + line.speed * shot.times[chosen] - other.times[0]) / other.step_s).astype(int)
    places = np.clip(places, 0, len(other.times) - 1)
    shows = ~(shot.is_flat[chosen] & other.is_flat[places])
    correlations = (shot.coarse[chosen] * other.coarse[places]).sum(axis=1)[shows]
    return float(correlations.mean()) if len(correlations) else 0.0


def _refine_time(shot: Track, other: Track, line: Line, frame: np.ndarray) -> Line:
    """Offset and speed to a few hundredths, with the crop undone."""
    if len(shot.times) < 2 or len(other.times) < 2:
        return line
    chosen = moments(shot, other, line, _PAIRS)
    window = window_of(frame)
    table = _flattened(shot.even[chosen] * window) @ _flattened(warp(other.even, frame) * window).T
    table[np.ix_(shot.is_flat[chosen], other.is_flat)] = 1
    times, step = shot.times[chosen], other.step_s
    middle = float(times[len(times) // 2])
    speeds = np.clip(line.speed * _FINE_SPEEDS, SLOWEST, FASTEST)[:, None]
    shifts = (_FINE_SHIFTS * step)[None, :]
    offsets = line.offset + (line.speed - speeds) * middle + shifts
    places = (offsets[..., None] + speeds[..., None] * times - other.times[0]) / step
    inside = (places >= -0.5) & (places <= len(other.times) - 0.5)
    left = np.clip(np.floor(places).astype(int), 0, len(other.times) - 1)
    right = np.minimum(left + 1, len(other.times) - 1)
    share, rows = np.clip(places - left, 0, 1), np.arange(len(times))
    values = (table[rows, left] * (1 - share) + table[rows, right] * share) * inside
    values = values.sum(axis=2) / np.maximum(inside.sum(axis=2), 1) - 0.01 * np.abs(np.log2(speeds)) - 1e-3 * np.abs(_FINE_SHIFTS)
    values[inside.mean(axis=2) < _LEAST_INSIDE] = -np.inf
    best = np.unravel_index(int(values.argmax()), values.shape)
    return Line(speed=float(speeds[best[0], 0]), offset=float(offsets[best])) if np.isfinite(values[best]) else line


def _flattened(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), SIDE * SIDE)
    return flat / (np.sqrt((flat * flat).sum(axis=1, keepdims=True)) + 1e-3)


# ---- place ---------------------------------------------------------------------------------------------------------------------


def _pairs(shot: Track, other: Track, line: Line, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Even pictures of both at the same moments."""
    chosen = moments(shot, other, line, count)
    return shot.even[chosen], between(other.times, other.even, line.offset + line.speed * shot.times[chosen])


def _find_place(here: np.ndarray, there: np.ndarray, frame: np.ndarray | None) -> np.ndarray:
    """The frame through which `there` looks like `here`, from a start or from all of a grid."""
    best = _find_start(here, there) if frame is None else frame
    difference = _difference(here, there, best)
    for _ in range(_STEPS):
        moved = _bounded(best + _step(here, there, best))
        new = _difference(here, there, moved)
        if new >= difference - 1e-4:
            break
        best, difference = moved, new
    return best


def _find_start(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The best frame of the grid, by a few pairs at half size."""
    few = slice(None, None, max(1, len(here) // 3))
    one, two = (_halved(pictures[few]) for pictures in (here, there))
    seen = _START_ROWS[:, None] @ two[None] @ _START_COLUMNS[:, None]
    differences = np.minimum(np.abs(one[None] - seen), 1) * _START_WINDOWS[:, None]
    return _STARTS[int((differences.sum(axis=(1, 2, 3)) / _START_WINDOWS.sum(axis=(1, 2))).argmin())]


def _halved(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))


def _step(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """One step of Gauss-Newton in which large differences, those of overlays, weigh little."""
    seen, window = warp(there, frame), window_of(frame)
    residual = (here - seen) * window
    limit = 1.5 * np.sqrt(float((residual * residual).sum()) / max(float(window.sum()) * len(here), 1.0)) + 1e-3
    weight = np.minimum(1, limit / np.maximum(np.abs(residual), 1e-6)) * window
    slope_y, slope_x = np.gradient(seen, axis=(1, 2))
    columns = np.stack([slope_x * (LINE - MIDDLE)[None, :], slope_y * (LINE - MIDDLE)[:, None], slope_x, slope_y]).reshape(4, -1)
    weighted = columns * weight.ravel()
    normal, right = (weighted @ columns.T).astype(np.float64), (weighted @ residual.ravel()).astype(np.float64)
    return np.linalg.solve(normal + np.diag(1e-2 * np.diag(normal) + 1e-3), right)


def _bounded(frame: np.ndarray) -> np.ndarray:
    """A crop shows a part of the other picture, or the other picture a part of this one: it cannot lie beside it."""
    scales = np.clip(frame[:2], *_SCALES)
    limits = np.abs(1 - scales) * MIDDLE + _SHIFT
    return np.concatenate([scales, np.clip(frame[2:], -limits, limits)])


def _correlation(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> float:
    """Mean correlation of the pairs of which at least one shows something."""
    window = window_of(frame)
    shows = (here != 0).any(axis=(1, 2)) | (there != 0).any(axis=(1, 2))
    pairs = _flattened(here[shows] * window) * _flattened(warp(there[shows], frame) * window)
    return float(pairs.sum(axis=1).mean()) if shows.any() else 0.0


def _difference(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> float:
    window = window_of(frame)
    return float((np.minimum(np.abs(here - warp(there, frame)), 1.0) * window).sum() / (window.sum() * len(here)))


_STARTS = [
    np.array([scale, scale, x * abs(1 - scale) * MIDDLE, y * abs(1 - scale) * MIDDLE])
    for scale in (0.89, 0.95, 1.0, 1.05, 1.12) for x in (-1, 0, 1) for y in (-1, 0, 1) if scale != 1 or x == y == 0
]  # fmt: skip
_START_ROWS = np.stack([axis_weights(start[1], start[3], SIDE // 2) for start in _STARTS])
_START_COLUMNS = np.stack([axis_weights(start[0], start[2], SIDE // 2).T for start in _STARTS])
_START_WINDOWS = np.stack([window_of(start)[::2, ::2] for start in _STARTS])
