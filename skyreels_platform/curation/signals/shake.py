"""Unsteady cameras."""

import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

PLACES = 3
"""The camera's field is read at PLACES x PLACES points, so that a roll shakes a picture too."""


class Shake(Signal):
    """How fast the camera's path wavers around its own smooth course: mean length of velocity minus the mean of the velocities just
    before and after it, root mean square over the frame.

    Read from the affine motion that most of the frame follows, about 8 times a second. A steady pan, zoom or roll has none at any
    speed, one that gathers speed almost none. To and fro at two a second counts in full, four a second twice, one a second by 0.3,
    one in two seconds by 0.08: slow swaying is camera work. A to and fro of amplitude a and frequency f Hz measures about
    4 a f (1 - cos(2 pi f / 8)) heights/s. A repeated frame in a pan looks like a stumble and is one for a viewer too.
    Pairs without enough texture to see the camera by are left out; a shot of nothing else is unknown.
    Source: paper 3.1 names shaking cameras among the basic defects; definition our choice.
    """

    name, unit, version = "shake", "heights/s", "2"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._last: list[np.ndarray] = []
        self._sum, self._count = 0.0, 0

    def add(self, sample: Sample) -> None:
        if sample.motion is None:
            return
        camera = sample.motion.camera
        if not camera.any() and sample.motion.flow.any():  # nothing to see the camera by, which is not the same as rest
            self._last.clear()
            return
        rows, columns = (((2 * np.arange(PLACES) + 1) * side) // (2 * PLACES) for side in camera.shape[:2])
        self._last.append(camera[np.ix_(rows, columns)].astype(np.float64) * sample.motion.per_second)
        if len(self._last) == 3:
            before, here, after = self._last
            wavering = here - (before + after) / 2
            self._sum += float(np.sqrt((wavering ** 2).sum(axis=-1).mean()))
            self._count += 1
            del self._last[0]

    def result(self) -> Score:
        if not self._count:
            return self.unknown("no three pairs of frames in a row with enough texture to see the camera by")
        return self.measured(self._sum / self._count)
