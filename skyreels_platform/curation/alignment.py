"""Whether one shot repeats another, and which part: their fingerprints' pictures laid over each other in time, then in place.

A copy may be trimmed, played faster or slower, re-framed by a crop, regraded, and covered in part by subtitles or a logo. Two takes of
one set-up, or two moments of one film, may look more alike than such a copy at any single picture. What tells them apart is:

1. time: the offset and speed at which most pictures of both lie close together (all speeds and offsets of a grid are tried);
2. place: one crop, the same for the whole shot, is undone (Gauss-Newton on scale and shift along both axes);
3. pictures: what differs then, over what there is to see, and in the worst part of the picture. Up to a fifth may be covered,
   outside the middle;
4. change: where things move, what changes in one must change in the other. A static overlay does not change at all, another take's
   subject changes otherwise.

Source: our choice throughout; the paper (3.1) asks for deduplication and says no more.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skyreels_platform.curation.fingerprint import COLOUR_SIDE, FLATTEST, SIDE, even_light

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
_COARSE = 12  # pixels of the pictures that find time
_PROBES = 32  # pictures of this shot that find time
_PAIRS = 16  # pairs of pictures that decide
_PLACE_PAIRS = 8  # pairs that find place
_SOME = 0.55  # correlation from which a picture has a counterpart, wherever it may lie in time
_SHARED = 0.45  # of the pictures of one of the shots that must have one
_HOPELESS = 0.62  # mean correlation on the line below which no crop explains the difference
_MISPLACED = 0.55  # the same at full detail, after the crop is undone
_NEAR = 0.5  # correlation of two pictures above which they speak for their time, below against it
_SCALES = (0.78, 1.28)  # what a crop to 80 % of the area can do on one axis
_SHIFT = 1.0  # pixels that a crop may reach beyond the picture: borders are found to within one
_STEPS = 6  # of Gauss-Newton
_GRID = COLOUR_SIDE  # blocks on both axes that may be covered one by one
_COVERED = 0.2  # of the blocks at most
_WORST_WEIGHT, _CHANGE_WEIGHT, _WORST_CHANGE_WEIGHT = 0.5, 0.65, 0.36  # a copy's worst block agrees by 0.6 where the whole does by 0.8
_UNSEEN = 0.15  # of a block's mean sight: what is added so that a block that shows nothing does not differ
_STILL = 0.2  # change over contrast below which a shot counts as still
_GAINS, _MOST_SHIFT = (0.6, 1.67), 56.0  # contrast and levels of middle grey that a grade may change
_COLOURS = 7.0  # levels of 255 by which a copy's colours may differ
_SPARSE = 0.3  # detail below which there is little to compare, and colours must agree better
_SPARSE_COLOURS = 2.5
_WORST = 0.1  # of the blocks left


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
        return _coarse(self.even)

    @property
    def step_s(self) -> float:
        return float(self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else 1.0


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


@dataclass(frozen=True, kw_only=True)
class _Line:
    """other seconds = offset + speed * seconds."""

    speed: float
    offset: float

    def span(self, shot: Track, other: Track) -> tuple[float, float]:
        """Seconds of this shot that both have."""
        first, last = ((end - self.offset) / self.speed for end in (other.times[0], other.times[-1]))
        return max(float(shot.times[0]), float(first)), min(float(shot.times[-1]), float(last))


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
    line = _find_time(shot, other, _coarse(shot.even * _window(frame)), _coarse(_warp(other.even, frame) * _window(frame)))
    if line is None:
        return None
    frame = _find_place(*_pairs(shot, other, line, _PLACE_PAIRS), frame)
    line = _refine_time(shot, other, line, frame)
    frame = _find_place(*_pairs(shot, other, line, _PLACE_PAIRS), frame)
    begin, end = line.span(shot, other)
    if end - begin < _least(shot, other) - 1e-6:
        return None
    return Alignment(
        similarity=_similarity(shot, other, line, frame), start_s=begin, other_start_s=float(line.offset + line.speed * begin),
        duration_s=end - begin, speed=float(line.speed),
    )  # fmt: skip


# ---- time ----------------------------------------------------------------------------------------------------------------------


def _least(shot: Track, other: Track) -> float:
    return min(LEAST_OVERLAP_S, LEAST_SHARE * float(shot.times[-1]), LEAST_SHARE * float(other.times[-1]))


def _find_time(shot: Track, other: Track, here: np.ndarray, there: np.ndarray) -> _Line | None:
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
            best, found = float(total.max()), _Line(speed=float(speed), offset=float(offsets[total.argmax()]))
    return found


def _shares_pictures(shot: Track, other: Track) -> bool:
    """Whether enough of either shot's pictures that show something look like some picture of the other."""
    shows, other_shows = ~shot.is_flat, ~other.is_flat
    if not shows.any() or not other_shows.any():
        return False
    alike = shot.coarse[shows] @ other.coarse[other_shows].T >= _SOME
    return max(float(alike.any(axis=1).mean()), float(alike.any(axis=0).mean())) >= _SHARED


def _closeness(shot: Track, other: Track, line: _Line) -> float:
    """Mean correlation of the coarse pictures on a line."""
    moments = _moments(shot, other, line, _PAIRS)
    places = np.rint((line.offset + line.speed * shot.times[moments] - other.times[0]) / other.step_s).astype(int)
    places = np.clip(places, 0, len(other.times) - 1)
    shows = ~(shot.is_flat[moments] & other.is_flat[places])
    correlations = (shot.coarse[moments] * other.coarse[places]).sum(axis=1)[shows]
    return float(correlations.mean()) if len(correlations) else 0.0


def _coarse(even: np.ndarray) -> np.ndarray:
    """(n, _COARSE ** 2) of zero mean and unit length, or zero."""
    small = np.einsum("ay,nyx,bx->nab", _SHRINK, even, _SHRINK, optimize=True).reshape(len(even), _COARSE * _COARSE)
    small -= small.mean(axis=1, keepdims=True)
    return small / (np.sqrt((small * small).sum(axis=1, keepdims=True)) + 1e-3)


def _refine_time(shot: Track, other: Track, line: _Line, frame: np.ndarray) -> _Line:
    """Offset and speed to a few hundredths, with the crop undone."""
    if len(shot.times) < 2 or len(other.times) < 2:
        return line
    moments = _moments(shot, other, line, _PAIRS)
    window = _window(frame)
    table = _flattened(shot.even[moments] * window) @ _flattened(_warp(other.even, frame) * window).T
    table[np.ix_(shot.is_flat[moments], other.is_flat)] = 1
    times, step = shot.times[moments], other.step_s
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
    return _Line(speed=float(speeds[best[0], 0]), offset=float(offsets[best])) if np.isfinite(values[best]) else line


def _flattened(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), SIDE * SIDE)
    return flat / (np.sqrt((flat * flat).sum(axis=1, keepdims=True)) + 1e-3)


def _moments(shot: Track, other: Track, line: _Line, count: int) -> np.ndarray:
    """Up to `count` positions of this shot's pictures inside the shared part."""
    begin, end = line.span(shot, other)
    inside = np.nonzero((shot.times >= begin - 1e-4) & (shot.times <= end + 1e-4))[0]
    if not len(inside):
        return np.array([int(np.abs(shot.times - (begin + end) / 2).argmin())])
    return inside[np.unique(np.linspace(0, len(inside) - 1, min(count, len(inside))).round().astype(int))]


def _at(times: np.ndarray, pictures: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Pictures between pictures: (k, SIDE, SIDE) float32 at any times."""
    right = np.minimum(np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1)), len(times) - 1)
    left = np.maximum(right - 1, 0)
    gap = np.maximum(times[right] - times[left], 1e-6)
    share = np.clip((wanted - times[left]) / gap, 0, 1).astype(np.float32)[:, None, None]
    return pictures[left] * (1 - share) + pictures[right] * share


# ---- place ---------------------------------------------------------------------------------------------------------------------


def _pairs(shot: Track, other: Track, line: _Line, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Even pictures of both at the same moments."""
    moments = _moments(shot, other, line, count)
    return shot.even[moments], _at(other.times, other.even, line.offset + line.speed * shot.times[moments])


def _axis(scale: float, shift: float, side: int = SIDE) -> np.ndarray:
    """(side, side) float32: linear interpolation along one axis; row i reads at scale * (i - middle) + middle + shift."""
    line = np.arange(side, dtype=np.float32)
    middle = (side - 1) / 2
    places = np.clip(scale * (line - middle) + middle + shift * side / SIDE, 0, side - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - line[None, :])).astype(np.float32)


def _warp(pictures: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Pictures seen through a frame: scale x, scale y, shift x, shift y."""
    return _axis(frame[1], frame[3]) @ pictures @ _axis(frame[0], frame[2]).T


def _window(frame: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) float32: 1 where the frame lies inside the other picture, 0 elsewhere."""
    x, y = (frame[axis] * (_LINE - _MIDDLE) + _MIDDLE + frame[axis + 2] for axis in (0, 1))
    inside = [(places >= -0.75) & (places <= SIDE - 0.25) for places in (y, x)]
    return (inside[0][:, None] & inside[1][None, :]).astype(np.float32)


def _find_place(here: np.ndarray, there: np.ndarray, frame: np.ndarray | None) -> np.ndarray:
    """The frame through which `there` looks like `here`, from a start or from all of a grid."""
    if frame is None:
        few = slice(None, None, max(1, len(here) // 3))
        best = min(_STARTS, key=lambda start: _difference(here[few], there[few], start))
    else:
        best = frame
    difference = _difference(here, there, best)
    for _ in range(_STEPS):
        moved = _bounded(best + _step(here, there, best))
        new = _difference(here, there, moved)
        if new >= difference - 1e-4:
            break
        best, difference = moved, new
    return best


def _step(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """One step of Gauss-Newton in which large differences, those of overlays, weigh little."""
    seen, window = _warp(there, frame), _window(frame)
    residual = (here - seen) * window
    limit = 1.5 * np.sqrt(float((residual * residual).sum()) / max(float(window.sum()) * len(here), 1.0)) + 1e-3
    weight = np.minimum(1, limit / np.maximum(np.abs(residual), 1e-6)) * window
    slope_y, slope_x = np.gradient(seen, axis=(1, 2))
    columns = np.stack([slope_x * (_LINE - _MIDDLE)[None, :], slope_y * (_LINE - _MIDDLE)[:, None], slope_x, slope_y]).reshape(4, -1)
    weighted = columns * weight.ravel()
    normal, right = (weighted @ columns.T).astype(np.float64), (weighted @ residual.ravel()).astype(np.float64)
    return np.linalg.solve(normal + np.diag(1e-2 * np.diag(normal) + 1e-3), right)


def _bounded(frame: np.ndarray) -> np.ndarray:
    """A crop shows a part of the other picture, or the other picture a part of this one: it cannot lie beside it."""
    scales = np.clip(frame[:2], *_SCALES)
    limits = np.abs(1 - scales) * _MIDDLE + _SHIFT
    return np.concatenate([scales, np.clip(frame[2:], -limits, limits)])


def _correlation(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> float:
    """Mean correlation of the pairs of which at least one shows something."""
    window = _window(frame)
    shows = (here != 0).any(axis=(1, 2)) | (there != 0).any(axis=(1, 2))
    pairs = _flattened(here[shows] * window) * _flattened(_warp(there[shows], frame) * window)
    return float(pairs.sum(axis=1).mean()) if shows.any() else 0.0


def _difference(here: np.ndarray, there: np.ndarray, frame: np.ndarray) -> float:
    window = _window(frame)
    return float((np.minimum(np.abs(here - _warp(there, frame)), 1.0) * window).sum() / (window.sum() * len(here)))


# ---- verdict -------------------------------------------------------------------------------------------------------------------


def _similarity(shot: Track, other: Track, line: _Line, frame: np.ndarray) -> float:
    """How much of what both show is the same: the least of four shares, and nothing where no grade makes the light and colours equal."""
    moments = _moments(shot, other, line, _PAIRS)
    here = shot.pictures[moments].astype(np.float32)
    there = _warp(_at(other.times, other.pictures, line.offset + line.speed * shot.times[moments]), frame)
    shows = (here.std(axis=(1, 2)) >= FLATTEST) | (there.std(axis=(1, 2)) >= FLATTEST)
    if not shows.any():
        return 0.0
    here, there, window = here[shows], there[shows], _window(frame)
    one, two = _normal(here, window), _normal(there, window)
    kept = _uncovered(_blocks((one - two) ** 2).sum(axis=0))
    window = window * np.kron(kept, np.ones((SIDE // _GRID, SIDE // _GRID), np.float32))
    gain, shift = _grade(here, there, window)
    detail = _detail(here, kept)
    limit = _COLOURS if detail >= _SPARSE else _SPARSE_COLOURS
    if not _GAINS[0] <= gain <= _GAINS[1] or abs(shift) > _MOST_SHIFT or _colour_difference(shot, other, line, frame, kept, gain) > limit:
        return 0.0
    one, two = _normal(here, window), _normal(there, window)
    whole, worst, _, _ = _agreement(one, two, kept)
    one, two = (one - one.mean(axis=0)) * window, (two - two.mean(axis=0)) * window
    _, worst_change, correlation, change = _agreement(one, two, kept)
    shares = [whole, 1 - _WORST_WEIGHT * (1 - worst)]
    if change / np.sqrt(max(float(window.sum()), 1.0) * len(one)) >= _STILL:
        shares += [1 - _CHANGE_WEIGHT * (1 - correlation), 1 - _WORST_CHANGE_WEIGHT * (1 - worst_change)]
    return max(0.0, min(shares))


def _agreement(one: np.ndarray, two: np.ndarray, kept: np.ndarray) -> tuple[float, float, float, float]:
    """Of two stacks of pictures: agreement over all (1: equal, 0: unrelated), in the worst of the kept blocks, the correlation, and
    the length of the longer."""
    error, sight = (_blocks(values).sum(axis=0, dtype=np.float64)[kept] for values in ((one - two) ** 2, one * one + two * two))
    local = np.sort(1 - error / (sight + _UNSEEN * sight.mean() + 1e-6))
    lengths = [float(np.sqrt((stack * stack).sum(dtype=np.float64))) for stack in (one, two)]
    correlation = float((one * two).sum(dtype=np.float64)) / (lengths[0] * lengths[1] + 1e-9)
    worst = float(local[: max(1, int(_WORST * len(local)))].mean())
    return 1 - float(error.sum() / (sight.sum() + 1e-6)), worst, correlation, max(lengths)


def _grade(here: np.ndarray, there: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    """Contrast of `there` over that of `here`, and levels by which a middle grey of `here` is moved."""
    inside = float(window.sum())
    means = [(pictures * window).sum(axis=(1, 2)) / inside for pictures in (here, there)]
    spreads = [
        float((((pictures - mean[:, None, None]) * window) ** 2).sum(dtype=np.float64))
        for pictures, mean in zip((here, there), means, strict=True)
    ]  # fmt: skip
    gain = float(np.sqrt(spreads[1] / max(spreads[0], 1e-6)))
    return gain, float((means[1] + gain * (128 - means[0])).mean()) - 128


def _detail(pictures: np.ndarray, kept: np.ndarray) -> float:
    """Share of the picture over which its edges are spread: 1 where all blocks have as many, near 0 for one ball on a plain wall."""
    down, across = np.gradient(pictures, axis=(1, 2))
    strength = _blocks(down * down + across * across).sum(axis=0, dtype=np.float64)[kept]
    return float(strength.sum() ** 2 / ((strength * strength).sum() * strength.size + 1e-9))


def _colour_difference(shot: Track, other: Track, line: _Line, frame: np.ndarray, kept: np.ndarray, gain: float) -> float:
    """Levels of 255 by which the mean colours of the kept blocks differ after a change of contrast."""
    begin, end = line.span(shot, other)
    here = _mean_colours(shot, begin, end)
    there = _mean_colours(other, line.offset + line.speed * begin, line.offset + line.speed * end)
    rows, columns = (_axis(frame[axis], frame[axis + 2], COLOUR_SIDE) for axis in (1, 0))
    there = np.einsum("ay,yxc,bx->abc", rows, there, columns)
    return float(np.sqrt(((there - gain * here)[kept] ** 2).mean())) / max(gain, 1.0)


def _mean_colours(shot: Track, begin: float, end: float) -> np.ndarray:
    """Mean of the colour layouts from one second to another, around 0; of the nearest one where none lies inside."""
    if not len(shot.marks):
        return np.zeros((COLOUR_SIDE, COLOUR_SIDE, 2))
    times = shot.times[shot.marks]
    inside = (times >= begin - 0.26) & (times <= end + 0.26)
    if not inside.any():
        inside[np.abs(times - (begin + end) / 2).argmin()] = True
    return shot.colours[inside].mean(axis=0, dtype=np.float64) - 128


def _normal(pictures: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation inside the window, zero outside."""
    inside = max(float(window.sum()), 1.0)
    centred = (pictures - (pictures * window).sum(axis=(1, 2), keepdims=True) / inside) * window
    return centred / (np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True) / inside) + 1)


def _blocks(values: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) -> sums over (n, _GRID, _GRID) blocks."""
    return values.reshape(len(values), _GRID, SIDE // _GRID, _GRID, SIDE // _GRID).sum(axis=(2, 4))


def _uncovered(error: np.ndarray) -> np.ndarray:
    """(_GRID, _GRID) without the blocks that differ most, of those outside the middle."""
    quarter = _GRID // 4
    outside = error.copy()
    outside[quarter:-quarter, quarter:-quarter] = -1
    kept = np.ones(_GRID * _GRID, bool)
    kept[np.argsort(-outside.ravel(), kind="stable")[: int(_COVERED * _GRID * _GRID)]] = False
    return kept.reshape(_GRID, _GRID)


def _shrink() -> np.ndarray:
    """(_COARSE, SIDE) soft averages along one axis."""
    centres = (np.arange(_COARSE) + 0.5) * SIDE / _COARSE - 0.5
    weights = np.exp(-0.5 * ((np.arange(SIDE)[None] - centres[:, None]) / (0.7 * SIDE / _COARSE)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_LINE = np.arange(SIDE, dtype=np.float32)
_MIDDLE = (SIDE - 1) / 2
_SHRINK = _shrink()
_STARTS = [
    np.array([scale, scale, x * abs(1 - scale) * _MIDDLE, y * abs(1 - scale) * _MIDDLE])
    for scale in (0.89, 0.95, 1.0, 1.05, 1.12) for x in (-1, 0, 1) for y in (-1, 0, 1) if scale != 1 or x == y == 0
]  # fmt: skip
