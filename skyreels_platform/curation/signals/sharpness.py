"""Focus."""

from collections.abc import Callable

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

WINDOW = 1 / 6
"""Side of the window in which an edge's height is looked up, share of the frame's short side."""
FAINTEST = 16
"""Levels of 255; lower edges are a codec's work as likely as picture."""
NOISES = 8
"""Deviations of the noise that an edge must exceed; pure noise spans about 6.6 of them in a window."""
STEEPEST = 0.99
"""Quantile of steepness near edges. A straight edge is steepest in one of a window's 20 to 40 columns, so in 2 to 5 % of the
pixels near it; softer texture around it dilutes that, and burnt-in text must not pass for a focused picture."""
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def steepness_of(sample: Sample) -> float | None:
    """Steepness of the picture of a frame that is a still."""
    return None if sample.plane is None or sample.still is None else _steepness(sample.plane)


class Sharpness(Signal):
    """How steep the frame's edges are: frame short side / rise of an edge, median over the stills.

    The rise is an edge's height (lightest minus darkest value around it) over its steepest slope, in pixels; for an edge blurred
    by a Gaussian it is the 10-90 % rise distance within 3 %, so the unit is that of lens tests, rises per picture height. It
    depends neither on contrast nor on how much of the frame is textured. It is an optical resolution: enlarging a small picture
    adds nothing to it, and reducing a large one takes nothing away as long as its rise stays above about two pixels. Pictures are
    measured at up to 256 px, where the ceiling is 128 (64 at 128 px): defocus below about 0.4 % of the height is not seen. Grain
    of 3 levels raises the value of a soft picture by a third.
    Source: our choice, in place of the paper's image quality model (3.1), which needs weights.
    """

    name, unit, version = "sharpness", "rises/height", "3"
    of_sample = (steepness_of,)

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._values: list[float] = []  # 2 numbers per second of the shot

    def add(self, sample: Sample) -> None:
        if sample.plane is not None and sample.still is not None:
            value = sample.once(steepness_of)
            if value is not None:
                self._values.append(value)

    def result(self) -> Score:
        if not self._values:
            return self.unknown(f"no edge of {FAINTEST} levels or more in any still")
        return self.measured(float(np.median(self._values)))


def _steepness(plane: np.ndarray) -> float | None:
    """Rises per short side of (h, w) uint8; None without an edge."""
    side = min(plane.shape)
    window = max(3, round(side * WINDOW) | 1)
    height = cv2.subtract(_extreme(plane, window, cv2.max), _extreme(plane, window, cv2.min))
    across, down = (cv2.Sobel(plane, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    slope = np.sqrt(across * across + down * down)  # cv2.magnitude's last digit depends on where the arrays lie in memory
    near_edges = height >= max(FAINTEST, NOISES * _noise(plane))
    count = int(np.count_nonzero(near_edges))
    if count < side:  # less than one short line of pixels: a speck or a codec's artefact
        return None
    ratios = slope[near_edges] / height[near_edges]
    rank = min(count - 1, int(STEEPEST * count))
    return side * float(np.partition(ratios, rank)[rank])


def _extreme(plane: np.ndarray, window: int, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Largest or smallest value in the window (odd, pixels a side) around each pixel, as far as it lies inside; by doubling, which
    takes a sixth of the time of a dilation with such a kernel."""
    reach = window // 2
    for _ in range(2):
        plane = cv2.copyMakeBorder(plane, reach, reach, 0, 0, cv2.BORDER_REPLICATE)
        length = 1
        while length < window:
            step = min(length, window - length)
            plane = choose(plane[:-step], plane[step:])
            length += step
        plane = cv2.transpose(plane)
    return plane


def _noise(plane: np.ndarray) -> float:
    """Deviation of the noise in levels (Immerkaer 1996: a mask that straight edges and ramps do not answer to), by the median so
    that texture in less than half of the frame does not count. Read from a sixteenth of the pixels."""
    answers = cv2.filter2D(plane, cv2.CV_32F, _NOISE_MASK)[::4, ::4]
    return float(np.median(np.abs(answers))) / 0.6745 / 6  # the mask's norm is 6
