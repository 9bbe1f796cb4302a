"""Whether one shot repeats another, and which part: their fingerprints' pictures laid over each other in time, then in place.

A copy may be trimmed, played faster or slower, re-framed by a crop, regraded, and covered in part by subtitles or a logo.

1. Time: the offset and speed at which most pictures of both lie close together (all speeds and offsets of a grid are tried).
2. Place: one crop, the same for the whole shot, is undone (Gauss-Newton on scale and shift along both axes).
3. Both again, finer, each with what the other found. How alike the shots then are, see `likeness`.
4. Doubt: of a shot that shows one thing on a plain wall, some crop at some speed from some moment on is like many others. Where there is
   so little to see, a copy must be explained by one change alone: trimmed, or faster or slower, or re-framed.

Source: our choice throughout; the paper (3.1) asks for deduplication and says no more.
"""

from dataclasses import dataclass, replace

import numpy as np

from skyreels_platform.curation.likeness import likeness, shows_little
from skyreels_platform.curation.placement import WHOLE, correlation, find_place, flattened, pairs
from skyreels_platform.curation.tracks import Line, Track, coarse_of, moments, warp, window_of

ALIGNMENT_VERSION = "alignment-5"
"""Raise it when the same fingerprints would align otherwise."""

SLOWEST, FASTEST = 0.5, 2.0
"""Seconds of the other shot per second of this one."""
LEAST_OVERLAP_S = 1.0
"""Shared seconds below which shots are no copies, or LEAST_SHARE of the shorter one where that is less."""
LEAST_SHARE = 0.6

_SPEEDS = np.geomspace(SLOWEST, FASTEST, 17)  # 9 % apart; _FINE_SPEEDS fill the gaps
_UNIT = 8  # position of speed 1
_RIVAL, _EQUAL = 0.8, 0.97  # shares of the best line's sum, before and after the crop is undone
_ODD_SPEED = 0.1  # by which a speed of one half or two must fit better than the same speed
_SPEED_WEIGHTS = 1 - _ODD_SPEED * np.abs(np.log2(_SPEEDS))
_FINE_SPEEDS = np.array([0.955, 0.97, 0.985, 1.0, 1.015, 1.03, 1.045])
_FINE_SHIFTS = np.arange(-8, 9) / 6  # pictures
_SAME_SPEED, _SMALL_SHIFTS = np.ones(1), np.arange(-4, 5) / 8
_FINEST_SPEEDS, _FINEST_SHIFTS = 1 + np.arange(-3, 4) / 250, np.arange(-3, 4) / 24
_LEAST_INSIDE = 0.7  # of the pairs that a finer line must keep
_PROBES = 32  # pictures of this shot that find time
_PAIRS = 16  # pairs of pictures that find the exact time
_FEW_PAIRS, _PLACE_PAIRS = 6, 8  # pairs that find place, at first and at last
_SOME = 0.55  # correlation from which a picture has a counterpart, wherever it may lie in time
_SHARED = 0.45  # of the pictures of one of the shots that must have one
_HOPELESS = 0.68  # mean correlation on the line below which no crop explains the difference
_MISPLACED = 0.62  # the same at full detail, after the crop is undone
_PLACED = 0.85  # the same, from which there is no need to look elsewhere
_SAME_LENGTH = 1.5  # pictures by which shots of one length may differ
_PLAUSIBLE = 0.7  # similarity from which a second look is worth its time
_DOUBT = 0.15  # taken from the similarity of shots that show so little: their copies reach 0.97, balls and boxes on one path 0.91
_TELLING = 0.3  # of the pairs on a line, in which both show something: shots fade from black and to black, under a subtitle or without
_NEAR = 0.5  # correlation of two pictures above which they speak for their time, below against it


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
    found: list[tuple[float, np.ndarray]] = []
    for line in _find_times(shot, other, shot.coarse, other.coarse, _RIVAL):
        if _closeness(shot, other, line) >= _HOPELESS:
            here, there = pairs(shot, other, line, _FEW_PAIRS)
            frame = find_place(here, there)
            found.append((correlation(here, there, frame), frame))
            if found[-1][0] >= _PLACED:
                break
    closest, frame = max(found, key=lambda one: one[0], default=(0.0, WHOLE))
    if closest < _MISPLACED:
        return None
    window = window_of(frame)
    lines = _find_times(shot, other, coarse_of(shot.even * window), coarse_of(warp(other.even, frame) * window), _EQUAL)
    if not lines:
        return None
    line = lines[-1]
    frame = find_place(*pairs(shot, other, line, _PLACE_PAIRS), [frame, WHOLE])
    line = _refine_time(shot, other, line, frame)
    frame = find_place(*pairs(shot, other, line, _PLACE_PAIRS), [frame])
    alignment = _alignment(shot, other, line, frame)
    if alignment is None or alignment.similarity < _PLAUSIBLE or not shows_little(shot, other):
        return alignment
    return max(_by_one_change(shot, other, line, frame), key=lambda one: one.similarity, default=None)


def _alignment(shot: Track, other: Track, line: Line, frame: np.ndarray) -> Alignment | None:
    begin, end = line.span(shot, other)
    if end - begin < _least(shot, other) - 1e-6:
        return None
    return Alignment(
        similarity=likeness(shot, other, line, frame), start_s=begin, other_start_s=float(line.offset + line.speed * begin),
        duration_s=end - begin, speed=float(line.speed),
    )  # fmt: skip


def _by_one_change(shot: Track, other: Track, line: Line, frame: np.ndarray) -> list[Alignment]:
    """The alignments that suppose one change only, each made as good as it gets."""
    middle = float(shot.times[-1] + shot.times[0]) / 2
    trimmed = Line(speed=1.0, offset=line.offset + (line.speed - 1) * middle)
    length, other_length = (float(one.times[-1] - one.times[0]) + one.step_s for one in (shot, other))
    whole, played = Line(speed=1.0, offset=0.0), Line(speed=float(np.clip(other_length / length, SLOWEST, FASTEST)), offset=0.0)
    supposed = [(_refine_time(shot, other, trimmed, WHOLE, speeds=_SAME_SPEED), WHOLE), (_refine_time(shot, other, played, WHOLE), WHOLE)]
    if abs(other_length - length) <= _SAME_LENGTH * max(shot.step_s, other.step_s):
        reframed = find_place(*pairs(shot, other, whole, _PLACE_PAIRS), [frame], is_exact=True)
        shifted = _refine_time(shot, other, whole, reframed, speeds=_SAME_SPEED, shifts=_SMALL_SHIFTS)
        # Both shots' pictures may lie a frame or two apart; by so much a subject that moves had moved the crop.
        supposed.append((shifted, find_place(*pairs(shot, other, shifted, _PLACE_PAIRS), [reframed], is_exact=True)))
    finer = [
        (_refine_time(shot, other, one, place, speeds=_FINEST_SPEEDS if one.speed != 1 else _SAME_SPEED, shifts=_FINEST_SHIFTS), place)
        for one, place in supposed
    ]  # fmt: skip
    alignments = [found for one in finer if (found := _alignment(shot, other, *one)) is not None]
    return [replace(found, similarity=max(0.0, found.similarity - _DOUBT)) for found in alignments]


# ---- time ----------------------------------------------------------------------------------------------------------------------


def _least(shot: Track, other: Track) -> float:
    return min(LEAST_OVERLAP_S, LEAST_SHARE * float(shot.times[-1]), LEAST_SHARE * float(other.times[-1]))


def _find_times(shot: Track, other: Track, here: np.ndarray, there: np.ndarray, rival: float) -> list[Line]:
    """The line on which most pictures lie close together: the sum of (correlation - _NEAR) over it is the largest. Then, if that one has
    another speed, the best line of the same speed for both shots, where its sum is at least `rival` of the largest: a still
    picture fits at any speed, and most copies keep theirs."""
    some = np.unique(np.linspace(0, len(shot.times) - 1, min(_PROBES, len(shot.times))).round().astype(int))
    gain = here[some] @ there.T - _NEAR
    gain[shot.is_flat[some][:, None] | other.is_flat] = 0  # black says nothing, nor does it of what stands on it in the copy
    if gain.max() <= 0:
        return []
    times, step, least = shot.times[some], other.step_s, _least(shot, other)
    firsts = np.ceil(-_SPEEDS * (times[-1] - least) / step).astype(int)  # offsets in pictures of the other shot, by speed
    lasts = np.floor((other.times[-1] - other.times[0] - _SPEEDS * (times[0] + least)) / step).astype(int)
    first, last = int(firsts.min()), int(lasts.max())
    if last < first:
        return []
    # every row of `gain` between zeros, so that a line which leaves the other shot gains nothing there
    strides = np.rint(_SPEEDS[:, None] * times / step).astype(int)
    width = max(0, -first) + max(len(other.times), int(strides.max()) + last + 1)
    wide = np.zeros((len(some), width), np.float32)
    wide[:, max(0, -first):][:, : len(other.times)] = gain
    starts = np.arange(len(some)) * width + strides + max(0, first)
    offsets = np.arange(first, last + 1)
    total = np.lib.stride_tricks.sliding_window_view(wide.ravel(), len(offsets))[starts].sum(axis=1)  # (speeds, offsets)
    total *= _SPEED_WEIGHTS[:, None]
    total[(offsets < firsts[:, None]) | (offsets > lasts[:, None])] = 0
    best = np.unravel_index(int(total.argmax()), total.shape)
    if total[best] <= 0:
        return []
    chosen = [best] if best[0] == _UNIT or total[_UNIT].max() < rival * total[best] else [best, (_UNIT, total[_UNIT].argmax())]
    return [Line(speed=float(_SPEEDS[speed]), offset=float(other.times[0] + offsets[place] * step)) for speed, place in chosen]


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
    tells = ~(shot.is_flat[chosen] | other.is_flat[places])
    correlations = (shot.coarse[chosen] * other.coarse[places]).sum(axis=1)[tells]
    return float(correlations.mean()) if tells.mean() >= _TELLING else 0.0


def _refine_time(
    shot: Track, other: Track, line: Line, frame: np.ndarray, *, speeds: np.ndarray = _FINE_SPEEDS, shifts: np.ndarray = _FINE_SHIFTS
) -> Line:
    """Offset and speed to a few hundredths, with the crop undone. speeds: factors that are tried; shifts: in pictures."""
    if len(shot.times) < 2 or len(other.times) < 2:
        return line
    chosen = moments(shot, other, line, _PAIRS)
    window = window_of(frame)
    table = flattened(shot.even[chosen] * window) @ flattened(warp(other.even, frame) * window).T
    tells = ~(shot.is_flat[chosen][:, None] ^ other.is_flat)  # black under a subtitle says nothing of time
    table[np.ix_(shot.is_flat[chosen], other.is_flat)] = 1
    times, step = shot.times[chosen], other.step_s
    middle = float(times[len(times) // 2])
    speeds = np.clip(line.speed * speeds, SLOWEST, FASTEST)[:, None]
    offsets = line.offset + (line.speed - speeds) * middle + (shifts * step)[None, :]
    places = (offsets[..., None] + speeds[..., None] * times - other.times[0]) / step
    inside = (places >= -0.5) & (places <= len(other.times) - 0.5)
    left = np.clip(np.floor(places).astype(int), 0, len(other.times) - 1)
    right = np.minimum(left + 1, len(other.times) - 1)
    share, rows = np.clip(places - left, 0, 1), np.arange(len(times))
    inside_tells = inside & tells[rows, left] & tells[rows, right]
    values = (table[rows, left] * (1 - share) + table[rows, right] * share) * inside_tells
    values = values.sum(axis=2) / np.maximum(inside_tells.sum(axis=2), 1) - 0.01 * np.abs(np.log2(speeds)) - 1e-3 * np.abs(shifts)
    values[inside.mean(axis=2) < _LEAST_INSIDE] = -np.inf
    best = np.unravel_index(int(values.argmax()), values.shape)
    return Line(speed=float(speeds[best[0], 0]), offset=float(offsets[best])) if np.isfinite(values[best]) else line
