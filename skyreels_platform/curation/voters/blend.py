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
_FLAT = 2.0
"""Contrast, 0..255, of a picture that has none: compression leaves as much."""
_CHUNK = 2048  # windows judged at once
_THUMB_BYTES = 9 * 16 * 3


class Thumbs:
    """Keeps a thumbnail of every frame for judgements that need pictures from both sides of a boundary."""

    def __init__(self) -> None:
        self._thumbs = bytearray()

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        del gray
        self._thumbs += cv2.resize(rgb, (16, 9), interpolation=cv2.INTER_AREA).tobytes()

    @property
    def num_known(self) -> int:
        return len(self._thumbs) // _THUMB_BYTES

    def finish(self) -> None:
        pass

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        # A copy: a bytearray cannot grow while an array looks into it.
        part = bytes(self._thumbs[start * _THUMB_BYTES : stop * _THUMB_BYTES])
        return {"thumbs": np.frombuffer(part, np.uint8).reshape(-1, 9, 16, 3)}


def mixing(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 9, 16, 3) uint8 -> score (N,) 0..1 and window length (N,) of the best dissolve whose middle is frame t.

    1: the frames between lie on the line between the window's ends at even steps. 0: as far off it as in a cut, or no change at all.
    """
    return best_windows(thumbs, _line_scores)


def best_windows(thumbs: np.ndarray, judge: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Best score (N,) and its window length (N,) over windows of all LENGTHS whose middle is frame t; 0 where none fits.

    `judge` gets (C, 9, 16, 3) float32 thumbnails, the first frames (M,) of windows whose ends are different pictures, and their length,
    and gives a score (M,) for each.
    """
    scores, lengths = np.zeros(len(thumbs), np.float32), np.zeros(len(thumbs), np.int64)
    for start in range(0, len(thumbs), _CHUNK):
        pictures = thumbs[start : start + _CHUNK + LENGTHS[-1]].astype(np.float32)
        shapes = _standardised(pictures)
        for length in LENGTHS:
            num_windows = min(_CHUNK, len(pictures) - length)
            if num_windows <= 0:
                continue
            alike = np.einsum("np,np->n", shapes[:num_windows], shapes[length : length + num_windows])
            first = np.flatnonzero(alike <= ALIKE)
            found = judge(pictures, first, length)
            middle = start + first + length // 2
            better = found > scores[middle]
            scores[middle[better]], lengths[middle[better]] = found[better], length
    return scores, lengths


def _line_scores(pictures: np.ndarray, first: np.ndarray, length: int) -> np.ndarray:
    """How well three frames at even steps between frames t and t + length fit the line between these two."""
    origin = pictures[first]
    line = pictures[first + length] - origin
    change = _mean_square(line)
    missed, largest = np.zeros(len(first), np.float32), 0.0
    for share in (0.25, 0.5, 0.75):
        missed += _mean_square(pictures[first + round(share * length)] - origin - share * line)
        largest += min(share, 1 - share) ** 2
    fit = 1 - missed / np.maximum(largest * change, 1e-6)
    return np.where(change >= _MIN_CHANGE**2, np.clip(fit, 0, 1), 0)


def _mean_square(pictures: np.ndarray) -> np.ndarray:
    return np.einsum("nhwc,nhwc->n", pictures, pictures) / pictures[0].size if len(pictures) else np.zeros(0, np.float32)


def _standardised(pictures: np.ndarray) -> np.ndarray:
    """(C, P) pictures without mean and of length 1, so that the product of two is their correlation; near 0 for a flat picture."""
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("np,np->n", flat, flat) + _FLAT**2 * flat.shape[1])
    return flat / norms[:, None]
