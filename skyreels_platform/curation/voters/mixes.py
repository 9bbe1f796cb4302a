"""Dissolves, wipes and dips through one colour: spans with a picture on both sides."""

from collections.abc import Iterator

import numpy as np

from skyreels_platform.curation.voters import Votes
from skyreels_platform.curation.voters.blend import mixing
from skyreels_platform.curation.voters.cuts import MIN_MIX, SURE, runs
from skyreels_platform.curation.voters.jump import correlation

_MASS = 1.5
"""Sum of TransNetV2's sharp probabilities over a transition from which there is a boundary in it, wherever its middle is: a slow
dissolve spreads the mark over many frames, none of which reaches the threshold."""
_ON_LINE = 0.9
"""Score of the straight line (see `blend`) from which frames are a dissolve without TransNetV2."""
_ENDS = 0.15
"""Share of a mixture that cannot be seen (our choice)."""
_SAME = 0.6
"""Correlation of the thumbnails on both sides above which no other picture has come."""
_FLAT = 0.35
"""A dip: somewhere inside, contrast falls below this share of the lower one of both ends."""
_SWITCHED = 0.7
"""A wipe: this share of the pixels that change are like the one end or the other, while a dissolve leaves them between."""

Span = tuple[int, int]
"""[first, last) in frames."""


def find_mixes(votes: Votes) -> Iterator[Span]:
    """Mixed frames of each transition between two pictures, ascending."""
    if votes.sharp is None or votes.spread is None:
        yield from _lines(votes.thumbs)
        return
    for first, after in runs(votes.spread >= SURE):
        last = after - 1  # the network also marks the last pure frame of the shot before, and its marks are one step late here
        sharp = votes.sharp[first:after]
        if after - first >= MIN_MIX and (sharp.max() >= SURE or (sharp.sum() >= _MASS and not _is_same(votes.thumbs, first, last))):
            yield first, last


def kind_of(thumbs: np.ndarray, first: int, last: int) -> str:
    """`fade` (through black, white or fog), `wipe` or `dissolve`, by the thumbnails of frames [first, last) and of both neighbours."""
    before, after = _ends(thumbs, first, last)
    inside = thumbs[first:last].astype(np.float32)
    if inside.std(axis=(1, 2, 3)).min() < _FLAT * min(before.std(), after.std()):
        return "fade"
    change = np.abs(after - before).max(axis=-1)
    changed = change > 24
    if not changed.any():
        return "dissolve"
    third = max(1, len(inside) // 3)
    middle = inside[third : len(inside) - third] if len(inside) > 2 * third else inside
    nearest = np.minimum(np.abs(middle - before).max(axis=-1), np.abs(middle - after).max(axis=-1))
    switched = (nearest < 0.2 * change)[:, changed].mean()
    return "wipe" if switched >= _SWITCHED else "dissolve"


def _lines(thumbs: np.ndarray) -> Iterator[Span]:
    """Dissolves by the straight line alone."""
    scores, lengths = mixing(thumbs)
    for first, last in runs(scores >= _ON_LINE):
        middle = first + int(scores[first:last].argmax())
        start, end = middle - int(lengths[middle]) // 2, middle + int(lengths[middle]) // 2
        ends = thumbs[[start, end]].astype(np.float32)
        line = (ends[1] - ends[0]).ravel()
        shares = (thumbs[start : end + 1] - ends[0]).reshape(end + 1 - start, -1) @ line / (line @ line)
        mixed = np.flatnonzero((shares > _ENDS) & (shares < 1 - _ENDS))
        if len(mixed) >= MIN_MIX:
            yield start + int(mixed[0]), start + int(mixed[-1]) + 1


def _is_same(thumbs: np.ndarray, first: int, last: int) -> bool:
    return correlation(*_ends(thumbs, first, last)) >= _SAME


def _ends(thumbs: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The pure frame before and after the span, float32."""
    return thumbs[max(first - 1, 0)].astype(np.float32), thumbs[min(last, len(thumbs) - 1)].astype(np.float32)
