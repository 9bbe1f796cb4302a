"""How alike two shots are once they lie over each other: what tells a copy from another take of the same set-up.

- Pictures: what differs, over what there is to see, in the whole and in its worst part. Up to a fifth of the picture may be covered,
  outside the middle.
- Change: where things move, what changes in one must change in the other. A static overlay does not change at all, another take's
  subject changes otherwise.
- Light and colour: one change of contrast and brightness must explain those of the other, and what is covered may not show bright
  colours in one of them only: those are a subject that stands elsewhere, while subtitles and logos are grey.

Source: our choice throughout; the bounds are those that part copies from other takes in `benchmarks/dedup.py`.
"""

import numpy as np

from skyreels_platform.curation.fingerprint import COLOUR_SIDE, FLATTEST, SIDE
from skyreels_platform.curation.tracks import Line, Track, axis_weights, between, moments, warp, window_of

PLAIN = 0.48
"""Spread of edges below which a shot shows too little to be told by its subject alone."""
_PAIRS = 16  # pairs of pictures that decide
_GRID = COLOUR_SIDE  # blocks on both axes that may be covered one by one
_COVERED = 0.2  # of the blocks at most
_DIFFERS = 0.05  # error of a block over what it shows, from which it may be covered
_WORST = 0.1  # of the blocks left
_WORST_WEIGHT, _CHANGE_WEIGHT, _WORST_CHANGE_WEIGHT = 0.5, 0.65, 0.36  # a copy's worst block agrees by 0.6 where the whole does by 0.8
_UNSEEN = 0.15  # of a block's mean sight: what is added so that a block that shows nothing does not differ
_STILL = 0.2  # change over contrast below which a shot counts as still
_GAINS, _MOST_SHIFT = (0.6, 1.67), 56.0  # contrast and levels of middle grey that a grade may change
_COLOURS, _MOMENT_COLOURS = 7.0, 9.0  # levels of 255 by which a copy's colours may differ, on average over time and at single moments
_NEARBY_S = 0.26  # half of what lies between two moments whose colours are known
_COVERED_COLOURS = 10.0  # the same at single moments in the part that may be covered
_GROUND_COLOURS = 1.8  # levels by which the ground's may where a shot shows too little else (copies 1.2 at most, other takes from 0.8 on)
_FEW_BLOCKS, _WORST_COLOURS = 5, 17.0  # and in those that differ most of the others: a subject that stands elsewhere


def likeness(shot: Track, other: Track, line: Line, frame: np.ndarray) -> float:
    """How much of what both show is the same: the least of four shares, and nothing where no grade makes the light and colours equal."""
    chosen = moments(shot, other, line, _PAIRS)
    here = shot.pictures[chosen].astype(np.float32)
    there = warp(between(other.times, other.pictures, line.offset + line.speed * shot.times[chosen]), frame)
    shows = (here.std(axis=(1, 2)) >= FLATTEST) | (there.std(axis=(1, 2)) >= FLATTEST)
    if not shows.any():
        return 0.0
    here, there, window = here[shows], there[shows], window_of(frame)
    one, two = _normal(here, window), _normal(there, window)
    kept = _uncovered(*(_blocks(values).sum(axis=0) for values in ((one - two) ** 2, one * one + two * two)))
    window = window * np.kron(kept, np.ones((SIDE // _GRID, SIDE // _GRID), np.float32))
    gain, shift = _grade(here, there, window)
    if not _GAINS[0] <= gain <= _GAINS[1] or abs(shift) > _MOST_SHIFT:
        return 0.0
    difference = _colour_differences(shot, other, line, frame, gain)
    if shows_little(shot, other) and float(np.hypot(*np.median(difference.mean(axis=0)[kept], axis=0))) > _GROUND_COLOURS:
        return 0.0
    on_average, at_moments, covered = (_root(part) for part in (difference.mean(axis=0)[kept], difference[:, kept], difference[:, ~kept]))
    worst_colours = np.sort((difference * difference).mean(axis=(0, 3))[kept])[-_FEW_BLOCKS:]
    is_elsewhere = covered > _COVERED_COLOURS or float(np.sqrt(worst_colours.mean())) > _WORST_COLOURS
    if on_average > _COLOURS or at_moments > _MOMENT_COLOURS or is_elsewhere:
        return 0.0
    one, two = _normal(here, window), _normal(there, window)
    whole, worst, _, _ = _agreement(one, two, kept)
    one, two = (one - one.mean(axis=0)) * window, (two - two.mean(axis=0)) * window
    _, worst_change, correlation, change = _agreement(one, two, kept)
    shares = [whole, 1 - _WORST_WEIGHT * (1 - worst)]
    if change / np.sqrt(max(float(window.sum()), 1.0) * len(one)) >= _STILL:
        shares += [1 - _CHANGE_WEIGHT * (1 - correlation), 1 - _WORST_CHANGE_WEIGHT * (1 - worst_change)]
    return max(0.0, min(shares))


def shows_little(shot: Track, other: Track) -> bool:
    """Whether all that both can have in common is one thing on a plain ground: many shots are alike then that are no copies."""
    return min(shot.spread, other.spread) < PLAIN


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


def _colour_differences(shot: Track, other: Track, line: Line, frame: np.ndarray, gain: float) -> np.ndarray:
    """(moments, _GRID, _GRID, 2) levels of 255 by which the blocks' colours differ after a change of contrast; 0 if none are known."""
    if not len(shot.marks) or not len(other.marks):
        return np.zeros((1, COLOUR_SIDE, COLOUR_SIDE, 2))
    begin, end = line.span(shot, other)
    times = shot.times[shot.marks]
    inside = (times >= begin - _NEARBY_S) & (times <= end + _NEARBY_S)
    if not inside.any():
        inside[np.abs(times - (begin + end) / 2).argmin()] = True
    here = shot.colours[inside].astype(np.float64) - 128
    wanted = line.offset + line.speed * times[inside]
    rows, columns = (axis_weights(frame[axis], frame[axis + 2], COLOUR_SIDE) for axis in (1, 0))
    there = between(other.times[other.marks], other.colours.astype(np.float64) - 128, wanted)
    there = np.einsum("ay,nyxc,bx->nabc", rows, there, columns)
    return (there - gain * here) / max(gain, 1.0)


def _root(values: np.ndarray) -> float:
    """Root of the mean square; 0 of nothing."""
    return float(np.sqrt((values * values).mean())) if values.size else 0.0


def _normal(pictures: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation inside the window, zero outside."""
    inside = max(float(window.sum()), 1.0)
    centred = (pictures - (pictures * window).sum(axis=(1, 2), keepdims=True) / inside) * window
    return centred / (np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True) / inside) + 1)


def _blocks(values: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) -> sums over (n, _GRID, _GRID) blocks."""
    return values.reshape(len(values), _GRID, SIDE // _GRID, _GRID, SIDE // _GRID).sum(axis=(2, 4))


def _uncovered(error: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """(_GRID, _GRID) without the blocks that differ most, of those outside the middle.

    error, sight: of each block. One that hardly differs stays: on a plain wall the subject itself differs most, by its codec's noise.
    """
    quarter = _GRID // 4
    outside = np.where(error > _DIFFERS * (sight + _UNSEEN * sight.mean()), error, -1)
    outside[quarter:-quarter, quarter:-quarter] = -1
    kept = np.ones(_GRID * _GRID, bool)
    kept[np.argsort(-outside.ravel(), kind="stable")[: int(_COVERED * _GRID * _GRID)]] = False
    return kept.reshape(_GRID, _GRID) | (outside < 0)
