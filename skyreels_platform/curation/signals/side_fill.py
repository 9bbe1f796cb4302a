"""A picture before a blurred, enlarged copy of itself: where does the picture begin?"""

import cv2
import numpy as np

NARROWEST, WIDEST = 0.04, 0.44
"""Share of the frame that the fill takes on one side."""
FINE = 2.5
"""Times as much fine detail in the picture as in the fill."""
STEP = 5
"""Levels of 255 by which the picture's edge must stand out from the fill."""
EDGE, CALM = 0.45, 0.12
"""Share of rows that have such a step at the edge (at least) and in the fill (at most)."""
CONTENT = 5.0
"""Deviation in levels of the fill along its columns, at least: a flat side is a bar, or the ground of a title."""
SYMMETRY = 0.012
"""Share of the frame by which the two sides may differ."""


class SideFill:
    """Left and right sides; for top and bottom, show it the stills transposed.

    A shallow depth of field blurs the sides too, but not up to a straight line on both sides at the same distance.
    """

    def __init__(self) -> None:
        self._steps: np.ndarray | None = None
        self._fine: np.ndarray | None = None
        self._content: np.ndarray | None = None

    def add(self, luma: np.ndarray) -> None:
        """(h, w) uint8."""
        height = luma.shape[0]
        step = cv2.threshold(cv2.absdiff(luma[:, 2:], luma[:, :-2]), STEP, 1, cv2.THRESH_BINARY)[1]
        steps = cv2.reduce(step, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0] / height
        fine = cv2.reduce(cv2.absdiff(luma[1:], luma[:-1]), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0] / height
        content = luma[::4, ::4].std(axis=0)
        if self._steps is None or self._fine is None or self._content is None:
            self._steps, self._fine, self._content = np.zeros(len(steps)), np.zeros(len(fine)), np.zeros(len(content))
        self._steps += steps
        self._fine += fine
        self._content += content

    def picture(self, num_stills: int) -> tuple[int, int] | None:
        """First column of the picture and the one after its last; None if there is no such fill."""
        if self._steps is None or self._fine is None or self._content is None or not num_stills:
            return None
        steps, fine = self._steps / num_stills, self._fine / num_stills
        width = len(fine)
        left = _edge(steps, fine)
        right = _edge(steps[::-1], fine[::-1])
        if left is None or right is None or abs(left - right) > max(2, SYMMETRY * width):
            return None
        content = self._content / num_stills
        if min(content[:left // 4].mean(), content[-(right // 4):].mean()) < CONTENT:
            return None
        return left, width - right


def _edge(steps: np.ndarray, fine: np.ndarray) -> int | None:
    """Columns of the fill on the left side."""
    width = len(fine)
    first, last, near = max(5, int(NARROWEST * width)), int(WIDEST * width), max(6, int(0.06 * width))
    at = np.arange(first, last)
    summed_steps, summed_fine = np.concatenate([[0.0], steps.cumsum()]), np.concatenate([[0.0], fine.cumsum()])
    # Two columns next to the edge are left out on both sides: codecs smear it.
    fill_steps = summed_steps[at - 4] / (at - 4)
    fill_fine = summed_fine[at - 2] / (at - 2)
    picture_fine = (summed_fine[at + 2 + near] - summed_fine[at + 2]) / near
    edge = np.minimum(steps[at - 1], steps[at - 2])  # over two columns, a sharp edge is seen twice
    fits = (edge >= EDGE) & (fill_steps <= CALM) & (picture_fine >= FINE * (fill_fine + 0.2))
    return int(at[np.where(fits, edge, 0).argmax()]) if fits.any() else None
