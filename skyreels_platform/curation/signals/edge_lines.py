"""Straight edges that stay where they are while the picture moves: the seams of composed pictures."""

from typing import NamedTuple

import cv2
import numpy as np

FAINTEST = 6.0
"""Levels of 255: mean step across a seam, at least."""
STANDS_OUT = 2.0
"""Times as large a mean step as around it."""
AROUND = 25
"""Pixels across which a seam is compared with its surroundings."""
CHANGED = 3.0, 6.0
"""Levels of 255 by which a pixel must change between two pictures to be called active, in dark and in normal pictures; grain does
less at this size."""
CONTRAST = 0.15
"""Share of a picture's deviation that such a change is, between these limits."""
STRIP = 8
"""Pixels beside a seam whose activity and content are looked at."""


COARSE = 10
"""Pixels along a seam that are averaged where both of its sides are compared."""


class Seams(NamedTuple):
    """What a shot's pictures have in common; (h, w) each."""

    upright: np.ndarray
    """uint8, 1 on vertical seams."""
    lying: np.ndarray
    """uint8, 1 on horizontal seams."""
    active: np.ndarray
    """Share of the time at which the pixel changed, 0 to 1."""
    spread: np.ndarray
    """Mean step to the next pixels in levels: 0 in a flat area."""
    pictures: list[np.ndarray]
    """uint8: up to three of the pictures, from the beginning, the middle and the end."""

    def turned(self) -> "Seams":
        """The same with rows and columns swapped."""
        return Seams(self.lying.T, self.upright.T, self.active.T, self.spread.T, [picture.T for picture in self.pictures])

    def kinship(self, first: int, last: int, at: int) -> float:
        """Correlation, -1 to 1, of what lies left and right of column `at` in rows [first, last): one picture goes on across any
        line through it, two pictures do not. Fine detail is left out, for a mosaic or a blur has none of it."""
        sides = [slice(at - 3 - STRIP // 2, at - 3), slice(at + 4, at + 4 + STRIP // 2)]
        answers: list[float] = []
        for picture in self.pictures:
            left, right = (_coarse(picture[first:last, side].mean(axis=1)) for side in sides)
            left, right = left - left.mean(), right - right.mean()
            norm = float(np.sqrt((left * left).sum() * (right * right).sum()))
            answers.append(float((left * right).sum()) / norm if norm > 1e-6 else 0.0)
        return float(np.mean(answers))


class EdgeLines:
    """Running means over one shot's pictures; `add` takes one plane of each."""

    def __init__(self) -> None:
        self.num_pictures = 0
        self._kept: list[np.ndarray] = []
        self._before: np.ndarray | None = None
        self._across: np.ndarray | None = None
        self._down: np.ndarray | None = None
        self._active: np.ndarray | None = None

    def add(self, plane: np.ndarray) -> None:
        """(h, w) uint8, all of one size."""
        if self._across is None or self._down is None or self._active is None:
            self._across, self._down, self._active = (np.zeros(plane.shape, np.float32) for _ in range(3))
        self.num_pictures += 1
        cv2.accumulate(cv2.absdiff(plane[:, 2:], plane[:, :-2]), self._across[:, 1:-1])
        cv2.accumulate(cv2.absdiff(plane[2:], plane[:-2]), self._down[1:-1])
        if self._before is not None:
            limit = float(np.clip(CONTRAST * plane[::4, ::4].std(), *CHANGED))
            _, change = cv2.threshold(cv2.absdiff(plane, self._before), limit, 1, cv2.THRESH_BINARY)
            cv2.accumulate(change, self._active)
        self._before = plane
        if self.num_pictures & (self.num_pictures - 1) == 0:  # powers of two: the last two lie in the first and the second half
            self._kept = [*self._kept[-1:], plane]

    def seams(self) -> Seams | None:
        """None for fewer than two pictures: nothing shows whether an edge stays."""
        if self.num_pictures < 2 or self._across is None or self._down is None or self._active is None:
            return None
        across, down = self._across / self.num_pictures, self._down / self.num_pictures
        return Seams(
            _stands_out(across, (AROUND, 1)), _stands_out(down, (1, AROUND)), self._active / (self.num_pictures - 1),
            (across + down) / 2, [*self._kept, *([] if self._before is None else [self._before])],
        )


def _coarse(profile: np.ndarray) -> np.ndarray:
    """Means of about COARSE pixels each."""
    count = max(4, len(profile) // COARSE)
    return np.array([part.mean() for part in np.array_split(profile, count)])


def _stands_out(step: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    around = cv2.blur(step, window, borderType=cv2.BORDER_REFLECT)
    return ((step >= FAINTEST) & (step >= STANDS_OUT * around)).astype(np.uint8)
