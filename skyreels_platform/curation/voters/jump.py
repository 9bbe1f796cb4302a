"""Steps that no motion explains: the palette jumps, and no displacement of the picture before gives the picture after.

A difference detector cannot tell a cut inside fast action from the action. Both measures here are nearly blind to motion: sorted
colour values do not care where a pixel went, and dense optical flow takes out what moved. Flow is the dear one, so it is asked only
about steps whose palette stands out of the steps around, and about those around them.
"""

from array import array
from collections import deque
from functools import cache

import cv2
import numpy as np

AROUND = 3
"""Steps each side that a step is compared with."""
NEARLY = 0.7
"""Share of its threshold that a voter needs when another one agrees."""
PALETTE_RATIO, UNMATCHED_RATIO = 2.0, 1.5
"""A jump stands out of its surroundings by these factors in both measures (weakest cut 2.2 and 1.9, strongest other step 1.7 and 1.2)."""
_NUM_QUANTILES = 120


class Jump:
    """Palette step of each frame; motion-compensated difference of the steps that could be jumps, 0 and alike of all others."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._grid: np.ndarray | None = None
        self._grays: deque[np.ndarray] = deque(maxlen=2 * AROUND + 2)  # the last frame's and those before
        self._quantiles = np.empty(0)
        self._palette, self._unmatched, self._alike = array("f"), array("f"), array("f")
        self._measured: deque[int] = deque(maxlen=2 * AROUND + 1)
        self._is_over = False

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        found = quantiles(rgb)
        self._palette.append(float(np.abs(found - self._quantiles).mean()) if self._grays else 0.0)
        self._unmatched.append(0.0)
        self._alike.append(1.0)
        self._grays.append(gray)
        self._quantiles = found
        self._look_at(len(self._palette) - 1 - AROUND)

    @property
    def num_known(self) -> int:
        return len(self._palette) if self._is_over else max(0, len(self._palette) - 2 * AROUND)

    def finish(self) -> None:
        for step in range(max(0, len(self._palette) - AROUND), len(self._palette)):
            self._look_at(step)
        self._is_over = True

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        columns = {"palette": self._palette, "unmatched": self._unmatched, "alike": self._alike}
        return {name: np.array(column[start:stop], dtype=np.float32) for name, column in columns.items()}

    def _look_at(self, step: int) -> None:
        """Measure a step whose surroundings are known, and these, if its palette stands out."""
        if step < 1:
            return
        first, last = max(1, step - AROUND), min(len(self._palette), step + AROUND + 1)
        others = max((self._palette[other] for other in range(first, last) if other != step), default=0.0)
        if self._palette[step] < NEARLY * PALETTE_RATIO * (others + 1):  # the 1 is compression noise
            return
        for other in range(first, last):
            if other not in self._measured:
                self._measured.append(other)
                before, here = (self._grays[number - len(self._palette)] for number in (other - 1, other))
                moved = self._moved(before, here)
                self._unmatched[other], self._alike[other] = float(cv2.absdiff(moved, here).mean()), correlation(moved, here)

    def _moved(self, before: np.ndarray, here: np.ndarray) -> np.ndarray:
        """`before`, its pixels moved to where they are in `here`."""
        if self._grid is None:
            height, width = here.shape
            self._grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        there = self._grid + self._flow.calc(here, before, np.zeros_like(self._grid))
        return cv2.remap(before, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def quantiles(rgb: np.ndarray) -> np.ndarray:
    """(_NUM_QUANTILES, 3) float32: each channel's values in ascending order, at even steps; by counting, ten times faster than sorting."""
    places = _places(rgb.shape[0] * rgb.shape[1])
    counts = (cv2.calcHist([rgb], [channel], None, [256], [0, 256]).ravel() for channel in range(3))
    return np.stack([np.searchsorted(np.cumsum(count), places, side="right") for count in counts], axis=1).astype(np.float32)


@cache
def _places(num_pixels: int) -> np.ndarray:
    return np.linspace(0, num_pixels - 1, _NUM_QUANTILES).astype(np.int64)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation -1..1 of two pictures of one shape; near 0 where either is flat, since a flat picture resembles nothing."""
    # Without BLAS, whose threads cost more than these few thousand products.
    first, second = (picture.ravel().astype(np.float32) for picture in (one, other))
    first -= first.mean()
    second -= second.mean()
    products = (np.einsum("n,n->", *pair) / first.size for pair in ((first, second), (first, first), (second, second)))
    shared, own, others = products
    return float(shared / (np.sqrt(own * others) + 4.0))
