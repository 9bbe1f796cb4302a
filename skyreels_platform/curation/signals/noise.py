"""Grain."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import MeanSignal, Sample

TILE = 16
"""Pixels on either side of the parts of which the calmest are taken for grain alone."""
CALM = 0.1
"""Share of those."""
DARKEST, LIGHTEST = 8, 247
"""Mean luma between which a part can show its grain on both sides."""
LIT = 1 / 3
"""Share of the parts that must do so: on a title card only the letters would be left."""
_MASK = np.array([1.0, -2.0, 1.0])  # along both axes
_NORM = 6.0  # of the mask: what it makes of noise of deviation 1


def noise_of(sample: Sample) -> float | None:
    """Grain of the still, if there is one."""
    return None if sample.still is None else noise(sample.still.native)


class Noise(MeanSignal):
    """Deviation of the grain in levels of 255, mean over the stills: what a mask that neither edges nor ramps answer to (Immerkaer
    1996) leaves in the calmest tenth of the picture's parts, on unscaled pixels.

    Right within a fifth from 2 levels on where a tenth of the picture is smooth; fine texture all over passes for grain. Encoders
    remove faint grain, and then it is gone.
    Source: our choice; the paper counts noise among visual quality without a definition.
    """

    name, unit, version = "noise", "levels of 255", "1"
    of_sample = (noise_of,)
    nothing = f"less than a third of the picture is neither black nor white (in parts of {TILE} px)"

    def of_frame(self, sample: Sample) -> float | None:
        return sample.once(noise_of)


def noise(luma: np.ndarray) -> float | None:
    """(n, m) uint8 -> levels; None if no part can tell."""
    rows, columns = (side // TILE for side in luma.shape)
    if not rows or not columns:
        return None
    whole = luma[: rows * TILE, : columns * TILE]
    answers = cv2.sepFilter2D(whole, cv2.CV_16S, _MASK, _MASK)
    power = cv2.resize(cv2.multiply(answers, answers, dtype=cv2.CV_32F), (columns, rows), interpolation=cv2.INTER_AREA)
    level = cv2.resize(whole.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    lit = np.sort(power[(level > DARKEST) & (level < LIGHTEST)])
    if lit.size < LIT * level.size:
        return None
    calm = lit[: max(1, round(CALM * lit.size))]
    return float(np.sqrt(calm.mean(dtype=np.float64))) / _NORM
