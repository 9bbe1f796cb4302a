"""Flicker."""

import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

WINDOW_S = 1.0
"""Seconds whose median counts: a flash or a cut that was missed leaves it alone."""


class Flicker(Signal):
    """Oscillation of the picture's mean luma from frame to frame, levels of 255: half the distance of a frame from the mean of its
    neighbours, median over a second, mean over the shot.

    A picture that alternates by plus and minus 2 levels measures 2; random flicker of deviation s measures about 0.4 s. Fades, pans
    and slow clouds measure nothing. Bands that travel over the picture (a fast shutter under mains light) hardly change its mean and
    are not seen.
    Source: our choice; the paper counts unstable pictures among the basic defects without a definition.
    """

    name, unit, version = "flicker", "levels of 255", "1"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._window = max(2, round(WINDOW_S * shot.fps))
        self._last: list[float] = []
        self._steps: list[float] = []  # of one window
        self._sum, self._count = 0.0, 0

    def add(self, sample: Sample) -> None:
        self._last.append(255 * sample.luma)
        if len(self._last) == 3:
            before, here, after = self._last
            self._steps.append(abs(here - (before + after) / 2) / 2)
            del self._last[0]
            if len(self._steps) == self._window:
                self._close_window()

    def result(self) -> Score:
        if self._steps:
            self._close_window()
        if not self._count:
            return self.unknown("fewer than three frames to compare")
        return self.measured(self._sum / self._count)

    def _close_window(self) -> None:
        """A last window that is not full counts by its length."""
        self._sum += float(np.median(self._steps)) * len(self._steps)
        self._count += len(self._steps)
        self._steps = []
