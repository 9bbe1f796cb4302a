"""Frames that are a mixture of a picture before and a picture after: dissolves.

Between two pure pictures, a dissolve runs along a straight line in the space of pictures. Motion does not, unless it is so small that
both ends still look alike, and those pairs are refused. The work is done on thumbnails, where grain and small motion are averaged out.
"""

from collections.abc import Callable

import cv2
import numpy as np

LENGTHS = (8, 12, 16, 24, 32, 48)
"""Window lengths in frames; a window inside a longer dissolve also lies on a straight line."""
ALIKE = 0.5
"""Correlation of a window's ends above which they are one picture that moved or changed its light (our choice)."""
_MIN_CHANGE = 12.0
"""Root mean square difference of a window's ends, 0..255, below which there is nothing to mix (our choice)."""
_CHUNK = 4096


class Thumbs:
    """Keeps a thumbnail of every frame for judgements that need pictures from both sides of a boundary."""

    def __init__(self) -> None:
        self._thumbs: list[np.ndarray] = []

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        del gray
        self._thumbs.append(cv2.resize(rgb, (16, 9), interpolation=cv2.INTER_AREA))

    def finish(self) -> dict[str, np.ndarray]:
        return {"thumbs": np.stack(self._thumbs)}


def mixing(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 9, 16, 3) uint8 -> score (N,) 0..1 and window length (N,) of the best dissolve whose middle is frame t.

    1: the frames between lie on the line between the window's ends at even steps. 0: as far off it as in a cut, or no change at all.
    """
    return best_windows(thumbs.reshape(len(thumbs), -1), _line_scores)


def best_windows(pictures: np.ndarray, judge: Callable[[np.ndarray, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Best score (N,) and its window length (N,) over windows of all LENGTHS around each of N uint8 pictures; 0 where none fits.

    `judge` gets M + length float32 pictures and scores the M windows that begin with the first M and end `length` frames later.
    """
    scores, lengths = np.zeros(len(pictures), np.float32), np.zeros(len(pictures), np.int64)
    for length in LENGTHS:
        for start in range(0, len(pictures) - length, _CHUNK):
            found = judge(pictures[start : start + _CHUNK + length].astype(np.float32), length)
            middle = slice(start + length // 2, start + length // 2 + len(found))
            better = found > scores[middle]
            scores[middle][better], lengths[middle][better] = found[better], length
    return scores, lengths


def _line_scores(pictures: np.ndarray, length: int) -> np.ndarray:
    """(M + length, P) -> (M,): how well three frames at even steps between frames t and t + length fit the line between these two."""
    first, last = pictures[:-length], pictures[length:]
    line = last - first
    change = (line * line).mean(axis=1)
    missed, largest = np.zeros(len(first), np.float32), np.zeros(len(first), np.float32)
    for share in (0.25, 0.5, 0.75):
        step = round(share * length)
        inside = pictures[step : step + len(first)] - first
        missed += ((inside - share * line) ** 2).mean(axis=1)
        largest += min(share, 1 - share) ** 2
    fit = 1 - missed / np.maximum(largest * change, 1e-6)
    possible = (change >= _MIN_CHANGE**2) & (correlations(first, last) <= ALIKE)
    return np.where(possible, np.clip(fit, 0, 1), 0).astype(np.float32)


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(M, P), (M, P) -> (M,): correlation -1..1 of each pair of pictures, near 0 where one is flat."""
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    norms = np.sqrt((one * one).mean(axis=1) * (other * other).mean(axis=1))
    return (one * other).mean(axis=1) / (norms + 4.0)
