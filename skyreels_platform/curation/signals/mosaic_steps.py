"""Isolated steps of a picture: jumps between two flat runs of pixels, as only drawn things have."""

from typing import NamedTuple

import cv2
import numpy as np

SMALLEST_STEP = 4
"""Levels of 255 between two blocks, at least."""
SHORTEST_RUN = 3
"""Pixels along which a step must go on."""


class Steps(NamedTuple):
    """Where a picture steps, (h, w) and (w, h) uint8 of 0 and 1."""

    across: np.ndarray
    """From left to right."""
    down: np.ndarray
    """From top to bottom, of the picture turned."""


class Packed(NamedTuple):
    """Steps, eight to a byte: what a still leaves behind for as long as its shot lasts."""

    across: np.ndarray
    down: np.ndarray
    shape: tuple[int, int]
    """Height and width of the picture."""

    def unpacked(self) -> Steps:
        height, width = self.shape
        across, down = (np.unpackbits(packed, count=height * width) for packed in (self.across, self.down))
        return Steps(across.reshape(height, width), down.reshape(width, height))

    def joined(self, other: "Packed") -> "Packed":
        """Where either steps, of two pictures of one size."""
        return Packed(self.across | other.across, self.down | other.down, self.shape)


def packed(steps: Steps) -> Packed:
    height, width = steps.across.shape
    return Packed(np.packbits(steps.across), np.packbits(steps.down), (height, width))


def steps_of(luma: np.ndarray) -> Steps:
    """Both of a picture, (h, w) uint8."""
    return Steps(isolated_steps(luma), isolated_steps(cv2.transpose(luma)))


def isolated_steps(luma: np.ndarray) -> np.ndarray:
    """(h, w) uint8, 1 where columns x - 1 and x + 1 differ while their outer neighbours do not, over at least three rows.

    A step that falls between two pixels marks the left one of them, a step within a pixel marks that pixel.
    """
    near = cv2.absdiff(luma[:, 1:], luma[:, :-1])
    wide = cv2.absdiff(luma[:, 3:-1], luma[:, 1:-3])
    outer = cv2.max(near[:, :-3], near[:, 3:])
    rest = cv2.subtract(cv2.subtract(wide, outer), outer)  # never below 0, so that it is at least `outer` where wide >= 3 outer
    steps = cv2.bitwise_and(cv2.compare(rest, outer, cv2.CMP_GE), cv2.threshold(wide, SMALLEST_STEP - 1, 1, cv2.THRESH_BINARY)[1])
    steps[:, 1:] = cv2.subtract(steps[:, 1:], steps[:, :-1])
    return cv2.copyMakeBorder(upright_runs(steps, SHORTEST_RUN), 0, 0, 2, 2, cv2.BORDER_CONSTANT, value=0)


def upright_runs(steps: np.ndarray, shortest: int) -> np.ndarray:
    """Only those steps that go on over at least so many rows."""
    return cv2.morphologyEx(steps, cv2.MORPH_OPEN, np.ones((shortest, 1), np.uint8))
