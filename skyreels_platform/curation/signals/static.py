"""Frozen pictures."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

BLOCKS = (43, 24)
"""Blocks across and down; each is compared by its mean colour, so that grain and codec noise average out."""
CHANGE = 3.0
"""Levels of 255 by which one colour of one block must differ; codecs stir a frozen picture by up to 2."""
HOLD_S = 0.2
"""Shorter holds are not freezes: animation on twos and threes, pulldown and frame-rate conversion repeat frames."""
SOFTLY_S, WIDELY = 0.5, 0.1
"""Runs that end without a jump, because small changes have added up, are slow motion unless they last that long (our choice); and levels
by which blocks then differ on average, at least: a codec that stirs a few blocks of a frozen picture comes to 0.05 (measured)."""


class Static(Signal):
    """Share of the shot's frame pairs that lie in freezes: runs without change that last at least HOLD_S.

    A frame has not changed when no block differs by CHANGE from the last frame that had; slow motion adds up and breaks a run, and a run
    that it breaks within SOFTLY_S is none.
    A shot shorter than HOLD_S is a freeze if no pair changes. A still scene with grain is no freeze: bound `motion` for that.
    Source: paper 3.1 names a static screen filter; definition our choice.
    """

    name, unit, version = "static", "share of pairs", "3"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._hold = max(1, round(HOLD_S * shot.fps))
        self._softly = max(self._hold, round(SOFTLY_S * shot.fps))
        self._anchor: np.ndarray | None = None  # the last frame that changed
        self._last: np.ndarray | None = None
        self._pairs, self._run, self._frozen = 0, 0, 0

    def add(self, sample: Sample) -> None:
        blocks = cv2.resize(sample.rgb.astype(np.float32), BLOCKS, interpolation=cv2.INTER_AREA)
        last, self._last = self._last, blocks
        if self._anchor is None or last is None:
            self._anchor = blocks
            return
        self._pairs += 1
        if cv2.norm(blocks, self._anchor, cv2.NORM_INF) < CHANGE:
            self._run += 1
        else:
            is_slow = cv2.norm(blocks, last, cv2.NORM_INF) < CHANGE and cv2.norm(blocks, self._anchor, cv2.NORM_L1) >= WIDELY * blocks.size
            self._anchor = blocks
            self._close_run(self._softly if is_slow else self._hold)

    def result(self) -> Score:
        if not self._pairs:
            return self.unknown("one frame only: nothing to compare it with")
        if self._run == self._pairs:
            return self.measured(1.0)
        self._close_run(self._hold)
        return self.measured(self._frozen / self._pairs)

    def _close_run(self, least: int) -> None:
        if self._run >= least:
            self._frozen += self._run
        self._run = 0
