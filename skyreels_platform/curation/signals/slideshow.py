"""Slide shows."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

BLOCKS = (16, 9)
"""Blocks across and down of which the mean luma is compared."""
CHANGE = 3.0
"""Levels of 255 by which a block must differ before a picture counts as changed; codecs stir a held picture by up to 2."""
HOLD_S = 0.3
"""A shorter hold is no slide: low frame rates and animation on threes hold pictures too."""
JOIN_S = 1.5
"""The longest change between two slides: a slow dissolve."""
LIT, LIT_SHARE = 24.0, 0.25
"""Luma that this share of a held picture's blocks must exceed: the black between two scenes, with or without text, is no slide."""
OTHER = 8.0
"""Levels by which a block of the next slide must differ,"""
OTHER_SHARE = 0.4
"""and the share of the picture's blocks that must: a subject that jumps leaves its surroundings as they were."""


class Slideshow(Signal):
    """Share of the shot's frame pairs that belong to a slide show: pictures held for HOLD_S or more, each replaced by a different
    one at once or over at most JOIN_S.

    One held picture, a freeze at the end of a scene, and a still life before a fixed camera are no slide show: `static` has
    those. A pan or zoom over a still picture is not counted here: `still_pan` looks for it.
    Source: paper 3.1 drops static screens and edited material; definition our choice.
    """

    name, unit, version = "slideshow", "share of pairs", "2"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._hold = max(2, round(HOLD_S * shot.fps))
        self._join = max(1, round(JOIN_S * shot.fps))
        self._held: np.ndarray | None = None  # blocks of the frame that began the present run without change
        self._run = 0  # pairs in it
        self._slide: np.ndarray | None = None  # blocks of the last hold that was long enough
        self._slide_pairs = 0  # its pairs, unless they are counted already
        self._between = 0  # pairs since its end, without those of the present run
        self._pairs, self._counted = 0, 0

    def add(self, sample: Sample) -> None:
        blocks = cv2.resize(sample.grey.astype(np.float32), BLOCKS, interpolation=cv2.INTER_AREA)
        if self._held is None:
            self._held = blocks
            return
        self._pairs += 1
        if float(np.abs(blocks - self._held).max()) < CHANGE:
            self._run += 1
            return
        self._close_run()
        self._between += 1
        self._held = blocks

    def result(self) -> Score:
        if not self._pairs:
            return self.unknown("one frame only: nothing to compare it with")
        self._close_run()
        return self.measured(self._counted / self._pairs)

    def _close_run(self) -> None:
        if self._held is None or self._run < self._hold or np.mean(self._held > LIT) < LIT_SHARE:
            self._between += self._run
        else:
            if self._slide is not None and self._between <= self._join and self._is_other(self._held, self._slide):
                self._counted += self._slide_pairs + self._between + self._run
                self._slide_pairs = 0
            else:
                self._slide_pairs = self._run
            self._slide, self._between = self._held, 0
        self._run = 0

    @staticmethod
    def _is_other(blocks: np.ndarray, earlier: np.ndarray) -> bool:
        """Whether most of the picture, dark bars apart, is another one."""
        lightest = np.maximum(blocks, earlier)
        inside = np.ix_(lightest.max(axis=1) > LIT, lightest.max(axis=0) > LIT)  # a held picture has lit blocks
        return float(np.mean(np.abs(blocks - earlier)[inside] >= OTHER)) >= OTHER_SHARE
