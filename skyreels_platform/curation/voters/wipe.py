"""Wipes: an edge travels over the picture and leaves another one behind.

Every pixel shows the one end or the other, never a mixture, and changes sides once, in step with the edge. A subject that crosses does
the same to a part of the picture; in a wipe most of the picture changes. TransNetV2 and the difference detectors do not see wipes.
"""

import numpy as np

from skyreels_platform.curation.voters.blend import best_windows

_CHANGE = 24.0
"""Difference of a pixel's channels, 0..255, from which both ends can be told apart in it (our choice)."""
_MIN_SHARE = 0.75
"""Share of the pixels that must change: nearly all of a letterboxed picture, and more than a subject of a third of it that crosses."""
_PURE = 0.25
"""A pixel shows an end when it is off it by less than this share of the difference of both ends."""
_LATE = 0.15
"""Share of the picture by which the edge may be ahead of or behind an even pace."""


def wiping(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 9, 16, 3) uint8 -> score (N,) 0..1 and window length (N,) of the best wipe whose middle is frame t."""
    return best_windows(thumbs, _edge_scores)


def switched_share(window: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) float32 from one end of a wipe to the other -> (F,) share of the changing pixels that show the later end."""
    changes = np.abs(window[-1] - window[0]).max(axis=-1) >= _CHANGE
    return _switched(window, window[:1], window[-1:])[:, changes].mean(axis=1)


def _edge_scores(pictures: np.ndarray, first: np.ndarray, length: int) -> np.ndarray:
    """Lowest, over three frames between, of the share of pure pixels and of those on the right side of a straight edge."""
    scores = np.zeros(len(first), np.float32)
    change = np.abs(pictures[first + length] - pictures[first]).max(axis=-1)  # (M, H, W)
    large = (change >= _CHANGE).mean(axis=(1, 2)) >= _MIN_SHARE
    first, change = first[large], change[large]
    before, after, changes = pictures[first], pictures[first + length], change >= _CHANGE
    num_changes = np.maximum(changes.sum(axis=(1, 2)), 1)
    lowest, switched_before = np.ones(len(first), np.float32), np.zeros(changes.shape, bool)
    for share in (0.25, 0.5, 0.75):
        inside = pictures[first + round(share * length)]
        off = np.minimum(np.abs(inside - before).max(axis=-1), np.abs(inside - after).max(axis=-1))
        pure = (changes & (off < _PURE * change)).sum(axis=(1, 2)) / num_changes
        switched = _switched(inside, before, after) & changes
        late = np.abs(switched.sum(axis=(1, 2)) / num_changes - share)
        back = (switched_before & ~switched).sum(axis=(1, 2)) / num_changes
        score = np.minimum(pure, _straight(switched, changes)) - 2 * np.maximum(late - _LATE, 0) - back
        lowest, switched_before = np.minimum(lowest, score), switched
    scores[large] = np.clip(lowest, 0, 1)
    return scores


def _switched(pictures: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.abs(pictures - last).max(axis=-1) < np.abs(pictures - first).max(axis=-1)


def _straight(switched: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """(M, H, W) bool -> (M,): share of the changing pixels that agree with most of their column, or of their row if that is more."""
    agreement = []
    for axis in (1, 2):
        on, of = switched.sum(axis=axis), changes.sum(axis=axis)
        agreement.append(np.maximum(on, of - on).sum(axis=1) / np.maximum(of.sum(axis=1), 1))
    return np.maximum(*agreement)
