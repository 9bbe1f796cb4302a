"""Where a film is black, and where all light of a picture is replaced at once (a title on black, a slate).

The published detectors average over the picture, so white words that appear on black, half a per cent of the pixels, are noise to
them. Here a change is measured against the light that there is.
"""

from array import array

import cv2
import numpy as np

BLACK = 16
"""Luma up to which a pixel counts as black: the foot of the video range plus what compression leaves there."""
_DARK = 0.95  # share of the pixels that the number `dark` is not exceeded by


class Light:
    """Luma of each frame, and the share of light that each step replaces."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._amount = 0  # sum of it
        self._rows = array("f")

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        del rgb
        light = cv2.subtract(gray, BLACK)  # pyright: ignore[reportCallIssue, reportArgumentType]
        amount = int(cv2.sumElems(light)[0])
        turnover = 0.0
        if self._before is not None:
            total = int(cv2.sumElems(cv2.max(light, self._before))[0])
            turnover = (2 * total - amount - self._amount) / total if total else 0.0
        self._before, self._amount = light, amount
        counts = np.cumsum(cv2.calcHist([gray], [0], None, [256], [0, 256]), dtype=np.int64)
        dark = np.searchsorted(counts, _DARK * gray.size)  # by counting, ten times faster than by sorting
        self._rows.extend((cv2.sumElems(gray)[0] / gray.size, float(dark), amount / gray.size, turnover))

    @property
    def num_known(self) -> int:
        return len(self._rows) // 4

    def finish(self) -> None:
        pass

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        columns = np.array(self._rows[4 * start : 4 * stop], dtype=np.float32).reshape(-1, 4).T
        return dict(zip(("luma", "dark", "light", "turnover"), columns, strict=True))
