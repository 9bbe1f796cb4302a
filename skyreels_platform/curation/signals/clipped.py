"""Lost shadows and lights."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import MeanSignal, Sample

DARKEST, LIGHTEST = 2, 253
"""Luma, 0 to 255, up to which a pixel is crushed and from which it is burnt."""
BAR = 24
"""Luma that no pixel of a black border exceeds."""


def within_borders(luma: np.ndarray) -> np.ndarray:
    """(h, w) uint8 -> what is left without black rows and columns along the edges; empty if nothing is."""
    left, top, width, height = cv2.boundingRect(cv2.threshold(luma, BAR, 255, cv2.THRESH_BINARY)[1])
    return luma[top : top + height, left : left + width]


def histogram(plane: np.ndarray) -> np.ndarray:
    """(256,) float64: share of the pixels at each level of a (h, w) uint8 plane."""
    return cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.float64) / plane.size


def levels_seen(sample: Sample) -> np.ndarray | None:
    """(256,) share of a still's pixels within its borders at each level; a still that is black all over is at level 0. None for no
    still."""
    if sample.still is None:
        return None
    inside = within_borders(sample.still.large)
    return histogram(inside) if inside.size else np.eye(1, 256)[0]


class Clipped(MeanSignal):
    """Share of the picture's pixels that are crushed to black or burnt to white, mean over the stills. Black borders do not count.

    Night scenes and title cards have honest blacks: the value tells what is there to be seen, not whose fault it is.
    Source: our choice, beside `luma` and `contrast`; the paper counts exposure among visual quality without a definition.
    """

    name, unit, version = "clipped", "share of pixels", "1"
    of_sample = (levels_seen,)

    def of_frame(self, sample: Sample) -> float | None:
        shares = sample.once(levels_seen)
        return None if shares is None else float(shares[: DARKEST + 1].sum() + shares[LIGHTEST:].sum())
