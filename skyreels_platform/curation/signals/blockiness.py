"""Visible compression blocks."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import MeanSignal, Sample

GRID = 8
"""Pixels between the block edges of JPEG, MPEG-2, MPEG-4 and the transforms of H.264."""
REAL_EDGE = 24
"""Levels of 255 beyond which a step between two pixels counts no more: it is a real edge, whose place proves nothing."""


def blockiness_of(sample: Sample) -> float | None:
    """Blockiness of the still, if there is one."""
    return None if sample.still is None else blockiness(sample.still.native)


class Blockiness(MeanSignal):
    """How much steeper the picture is on the lines of the codec's 8-pixel grid than between them, mean over the stills, levels of
    255: step between neighbouring pixels on a line of the grid, mean along the line and median over the lines, minus that of the other
    positions; the larger of both axes.

    0 where the grid does not show; faint from 0.5, plain from 2. Read on unscaled pixels, so it knows the last encoding only: blocks
    that were enlarged or shrunk since then do not lie on the grid any more. H.264 and its successors smooth their grid away and
    lose detail instead: `iqa` sees that.
    Source: our choice; the paper counts compression among visual quality without a definition.
    Rank correlation: see `curation.quality`.
    """

    name, unit, version = "blockiness", "levels of 255", "1"
    of_sample = (blockiness_of,)

    def of_frame(self, sample: Sample) -> float | None:
        return sample.once(blockiness_of)


def blockiness(luma: np.ndarray) -> float | None:
    """(n, m) uint8 whose first row and column lie on the grid -> levels; None if it is too small for two blocks."""
    if min(luma.shape) < 2 * GRID + 1:
        return None
    return max(0.0, _excess(luma[:, :-1], luma[:, 1:], 0), _excess(luma[:-1], luma[1:], 1))


def _excess(before: np.ndarray, after: np.ndarray, axis: int) -> float:
    steps = cv2.min(cv2.absdiff(before, after), REAL_EDGE)  # pyright: ignore[reportCallIssue, reportArgumentType]
    profile = cv2.reduce(steps, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / steps.shape[axis]
    # The median of the grid's lines, because one straight line is no grid.
    by_place = np.median(profile[: profile.size // GRID * GRID].reshape(-1, GRID), axis=0)
    # A picture that was enlarged to twice its size has a rhythm of two pixels: the grid must stand out among its like, too.
    usual = max(np.median(np.delete(by_place, GRID - 1)), np.median(by_place[1 : GRID - 2 : 2]))
    return float(by_place[GRID - 1] - usual)
