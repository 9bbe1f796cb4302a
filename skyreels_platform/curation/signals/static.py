"""Frozen pictures."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

BLOCKS = 24
"""Blocks along the frame's short side; each is compared by its mean colour, so that grain and codec noise average out."""
CHANGE = 3.0
"""Levels of 255 by which one colour of one block must differ; codecs stir a frozen picture by up to 2."""
HOLD_S = 0.2
"""Shorter holds are not freezes: animation on twos and threes, pulldown and frame-rate conversion repeat frames."""


class Static(Signal):
    """Share of the shot's frame pairs that lie in freezes: runs without change that last at least HOLD_S.

    A frame has not changed when no block differs by CHANGE from the last frame that had; slow motion adds up and breaks a run.
    A shot shorter than HOLD_S is a freeze if no pair changes. A still scene with grain is no freeze: bound `motion` for that.
    Source: paper 3.1 names a static screen filter; definition our choice.
    """

    name, unit, version = "static", "share of pairs", "1"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._hold = min(max(1, round(HOLD_S * shot.fps)), max(1, shot.num_frames - 1))
        self._anchor: np.ndarray | None = None
        self._pairs, self._run, self._frozen = 0, 0, 0

    def add(self, sample: Sample) -> None:
        blocks = _blocks(sample.rgb)
        if self._anchor is None:
            self._anchor = blocks
            return
        self._pairs += 1
        if cv2.norm(blocks, self._anchor, cv2.NORM_INF) < CHANGE:
            self._run += 1
        else:
            self._anchor = blocks
            self._close_run()

    def result(self) -> Score:
        self._close_run()
        if not self._pairs:
            return self.unknown("one frame only: nothing to compare it with")
        return self.measured(self._frozen / self._pairs)

    def _close_run(self) -> None:
        if self._run >= self._hold:
            self._frozen += self._run
        self._run = 0


def _blocks(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> mean colours of blocks, float32, about BLOCKS on the short side."""
    height, width = rgb.shape[:2]
    scale = min(1.0, BLOCKS / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb.astype(np.float32), size, interpolation=cv2.INTER_AREA)
