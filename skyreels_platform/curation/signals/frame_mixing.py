"""Speed change by mixed frames."""

from collections import deque

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.cadence import BLOCKS, BUSIEST, MOVES

MIXED, OWN = 0.25, 0.6
"""Distance of a frame from the mean of its neighbours, as a share of half of their difference: at most for a mixed frame, at least for one
of its own. Something that moves on by more than its edges are wide gives 1."""
NEEDED_S = 0.5
"""Seconds of such motion without which nothing can be said."""


class FrameMixing(Signal):
    """Share of the frames, where something moves fast enough, that are the mean of their two neighbours: 0.5 for footage slowed to
    half its speed, or shown at twice its rate, by mixing frames.

    A mixed frame shows whatever moves twice, half as strong. It counts where a frame of its own stands on either side of it, for
    slow motion makes every frame look like the mean of its neighbours: that is unknown. Other mixtures (24 frames per second shown at
    30 by uneven parts of two frames) are not found; repeated frames are `cadence`.
    Source: paper 3.1 names speed change among the defects of post-processing; definition our choice.
    """

    name, unit, version = "frame_mixing", "share of frames", "1"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._frames: deque[np.ndarray] = deque(maxlen=3)
        self._distances: deque[float | None] = deque(maxlen=3)
        self._judged, self._mixed = 0, 0

    def add(self, sample: Sample) -> None:
        self._frames.append(sample.grey)
        if len(self._frames) < 3:
            return
        self._distances.append(_distance(*self._frames))
        if len(self._distances) < 3 or None in self._distances:
            return
        before, here, after = (distance or 0.0 for distance in self._distances)
        stands_alone = min(before, after) >= OWN
        is_mixed = here <= MIXED and stands_alone
        # A frame of its own between two mixed ones, or among others of its own; anything else is motion too slow to judge.
        if is_mixed or (here >= OWN and (stands_alone or max(before, after) <= MIXED)):
            self._judged += 1
            self._mixed += is_mixed

    def result(self) -> Score:
        if self._judged < max(4.0, NEEDED_S * self.shot.fps):
            return self.unknown(f"less than {NEEDED_S:g} s of fast motion: slow things always look like the mean of before and after")
        return self.measured(self._mixed / self._judged)


def _distance(before: np.ndarray, here: np.ndarray, after: np.ndarray) -> float | None:
    """How far the middle frame is from the mean of the other two where most changes; None where too little does."""
    changed = _blocks(cv2.absdiff(before, after))
    off = _blocks(cv2.absdiff(cv2.addWeighted(before, 0.5, after, 0.5, 0), here))
    busiest = np.argpartition(changed, -BUSIEST)[-BUSIEST:]
    half = float(changed[busiest].mean()) / 2
    return None if half < MOVES else float(off[busiest].mean()) / half


def _blocks(plane: np.ndarray) -> np.ndarray:
    return cv2.resize(plane.astype(np.float32), BLOCKS, interpolation=cv2.INTER_AREA).ravel()
