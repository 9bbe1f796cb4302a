"""Steps that no motion explains: the palette jumps, and no displacement of the picture before gives the picture after.

A difference detector cannot tell a cut inside fast action from the action. Both measures here are nearly blind to motion: sorted
colour values do not care where a pixel went, and dense optical flow takes out what moved.
"""

from array import array

import cv2
import numpy as np

_NUM_QUANTILES = 120


class Jump:
    """Palette step and motion-compensated difference of each step."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._grid: np.ndarray | None = None
        self._gray: np.ndarray | None = None
        self._palette = np.empty(0)
        self._rows = array("f")

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        palette = quantiles(rgb)
        row = (0.0, 0.0, 1.0)
        if self._gray is not None:
            moved = self._moved(self._gray, gray)
            row = (float(np.abs(palette - self._palette).mean()), float(cv2.absdiff(moved, gray).mean()), correlation(moved, gray))
        self._gray, self._palette = gray, palette
        self._rows.extend(row)

    @property
    def num_known(self) -> int:
        return len(self._rows) // 3

    def finish(self) -> None:
        pass

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        columns = np.array(self._rows[3 * start : 3 * stop], dtype=np.float32).reshape(-1, 3).T
        return dict(zip(("palette", "unmatched", "alike"), columns, strict=True))

    def _moved(self, before: np.ndarray, here: np.ndarray) -> np.ndarray:
        """`before`, its pixels moved to where they are in `here`."""
        if self._grid is None:
            height, width = here.shape
            self._grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        there = self._grid + self._flow.calc(here, before, np.zeros_like(self._grid))
        return cv2.remap(before, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def quantiles(rgb: np.ndarray) -> np.ndarray:
    """(_NUM_QUANTILES, 3) float32: each channel's values in ascending order, at even steps; by counting, ten times faster than sorting."""
    places = np.linspace(0, rgb.shape[0] * rgb.shape[1] - 1, _NUM_QUANTILES).astype(np.int64)
    counts = (cv2.calcHist([rgb], [channel], None, [256], [0, 256]).ravel() for channel in range(3))
    return np.stack([np.searchsorted(np.cumsum(count), places, side="right") for count in counts], axis=1).astype(np.float32)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation -1..1 of two pictures of one shape; near 0 where either is flat, since a flat picture resembles nothing."""
    # Without BLAS, whose threads cost more than these few thousand products.
    first, second = (picture.ravel().astype(np.float32) for picture in (one, other))
    first -= first.mean()
    second -= second.mean()
    products = (np.einsum("n,n->", *pair) / first.size for pair in ((first, second), (first, first), (second, second)))
    shared, own, others = products
    return float(shared / (np.sqrt(own * others) + 4.0))
