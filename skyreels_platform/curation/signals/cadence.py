"""Speed change by repeated frames."""

from collections import deque

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

BLOCKS = (16, 9)
BUSIEST = 7
"""Number of the 144 blocks of a frame that set its change: a subject of a twentieth of the picture is enough."""
MOVES = 1.5
"""Levels of 255 by which the busiest blocks must change before and after a pair whose lack of change means a repeated frame."""
REPEATED = 0.2
"""Share of the change around it that a repeated frame may show; codecs leave some."""
AROUND_S = 0.3
"""Seconds on either side of a pair that tell how much moves there. A longer hold is a freeze, not a cadence."""
LONGEST = 25
"""Frames in the longest period: 24 frames per second shown at 25."""
NEEDED_S = 0.5
"""Seconds of motion without which nothing can be said."""


class RepeatMeter:
    """Tells, for every pair of frames with motion before and after it, whether the second frame repeats the first."""

    def __init__(self, shot: ShotInfo) -> None:
        self._reach = max(2, round(AROUND_S * shot.fps))
        self._needed = max(2.0, NEEDED_S * shot.fps)
        self._before: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=2 * self._reach + 1)
        self._num_pairs, self._num_moving, self._num_repeats = 0, 0, 0

    def add(self, sample: Sample) -> bool | None:
        """Whether the pair that now has AROUND_S behind it is a repeat; None if there is none yet, or too little moves."""
        grey, before = sample.grey, self._before
        self._before = grey
        if before is None:
            return None
        change = cv2.resize(cv2.absdiff(grey, before).astype(np.float32), BLOCKS, interpolation=cv2.INTER_AREA).ravel()
        self._changes.append(float(np.partition(change, -BUSIEST)[-BUSIEST]))
        self._num_pairs += 1
        is_repeat = self._judged(len(self._changes) - 1 - self._reach)
        if is_repeat is not None:
            self._num_moving += 1
            self._num_repeats += is_repeat
        return is_repeat

    def rest(self) -> list[bool | None]:
        """The same for the last pairs of the shot, which have less behind them."""
        num_open = min(self._reach, self._num_pairs)
        return [self._judged(place) for place in range(len(self._changes) - num_open, len(self._changes))]

    def share(self) -> float | None:
        """Share of repeats, in any rhythm or none; None where too little moves to tell."""
        known = [is_repeat for is_repeat in self.rest() if is_repeat is not None]
        num_moving = self._num_moving + len(known)
        return (self._num_repeats + sum(known)) / num_moving if num_moving >= self._needed else None

    def _judged(self, place: int) -> bool | None:
        changes = list(self._changes)
        if not 0 < place < len(changes) - 1:
            return None
        around = min(max(changes[max(0, place - self._reach) : place]), max(changes[place + 1 :]))
        return None if around < MOVES else changes[place] < REPEATED * around


class Cadence(Signal):
    """Share of the frames, where something moves, that repeat the one before them in a regular rhythm: 0.2 for 24 frames per second
    shown at 30, 0.5 for footage slowed to half its speed by showing every frame twice or for animation on twos.

    A frame is a repeat when its busiest blocks change by less than REPEATED of what they change just before and after. It counts
    when the frame one period earlier was a repeat too; the period is the one, up to LONGEST frames, that explains most. Repeats
    without a rhythm (dropped frames, freezes) therefore hardly count; `static` has the freezes. A speed change by mixing
    neighbours is `frame_mixing`; one by leaving frames out leaves no trace.
    Source: paper 3.1 names speed change among the defects of post-processing; definition our choice.
    """

    name, unit, version = "cadence", "share of frames", "1"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._meter = RepeatMeter(shot)
        self._past = np.full(LONGEST, -1)  # newest first: 1 a repeat, 0 none, -1 not known
        self._hits, self._chances = np.zeros(LONGEST), np.zeros(LONGEST)

    def add(self, sample: Sample) -> None:
        self._count(self._meter.add(sample))

    def result(self) -> Score:
        if self._meter.share() is None:
            return self.unknown(f"less than {NEEDED_S:g} s of motion: a repeated frame looks like a scene that rests")
        for is_repeat in self._meter.rest():
            self._count(is_repeat)
        had_time = self._chances >= max(1.0, self._chances.max() / 2)  # a long period needs twice its length to show itself
        return self.measured(float((self._hits[had_time] / self._chances[had_time]).max(initial=0.0)))

    def _count(self, is_repeat: bool | None) -> None:
        if is_repeat is not None:
            self._chances += self._past >= 0
            if is_repeat:
                self._hits += self._past > 0
        self._past[1:] = self._past[:-1]
        self._past[0] = -1 if is_repeat is None else is_repeat
