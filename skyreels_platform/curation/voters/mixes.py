"""Dissolves, wipes and dips through one colour: spans with a picture on both sides."""

from collections.abc import Callable, Iterator

import numpy as np

from skyreels_platform.curation.voters import Votes
from skyreels_platform.curation.voters.blend import mixing
from skyreels_platform.curation.voters.cuts import MIN_MIX, SURE, runs
from skyreels_platform.curation.voters.jump import correlation
from skyreels_platform.curation.voters.wipe import switched_share, wiping

_MASS = 1.5
"""Sum of TransNetV2's sharp probabilities over a transition from which there is a boundary in it, wherever its middle is: a slow
dissolve spreads the mark over many frames, none of which reaches the threshold."""
_ON_LINE = 0.9
"""Score of the straight line (see `blend`) from which frames are a dissolve without TransNetV2."""
_EDGE = 0.65
"""Score of the travelling edge (see `wipe`) from which frames are a wipe (drawn wipes 0.7 and more, anything else 0.57 at most)."""
_ENDS = 0.15
"""Share of one picture in the other that is too little to be seen (our choice)."""
_SAME = 0.6
"""Correlation of the thumbnails on both sides above which no other picture has come."""
_FLAT = 0.35
"""A dip: somewhere inside, contrast falls below this share of the lower one of both ends."""

Mix = tuple[int, int, str]
"""First mixed frame, first frame after them, dissolve | fade | wipe."""


def find_mixes(votes: Votes) -> Iterator[Mix]:
    """Transitions between two pictures; a wipe may also be reported as a dissolve."""
    scores, lengths = wiping(votes.thumbs)
    for first, last in _spans(votes.thumbs, scores, lengths, _EDGE, switched_share):
        yield first, last, "wipe"
    if votes.sharp is None or votes.spread is None:
        scores, lengths = mixing(votes.thumbs)
        dissolves = _spans(votes.thumbs, scores, lengths, _ON_LINE, _mixed_share)
    else:
        dissolves = _marked(votes.sharp, votes.spread, votes.thumbs)
    for first, last in dissolves:
        yield first, last, "fade" if _dips(votes.thumbs, first, last) else "dissolve"


def _marked(sharp: np.ndarray, spread: np.ndarray, thumbs: np.ndarray) -> Iterator[tuple[int, int]]:
    """What TransNetV2 marks as a transition."""
    for first, after in runs(spread >= SURE):
        last = after - 1  # the network also marks the last pure frame of the shot before, and its marks are one step late here
        marks = sharp[first:after]
        if after - first < MIN_MIX:
            continue
        if marks.max() >= SURE or (marks.sum() >= _MASS and correlation(*_ends(thumbs, first, last)) < _SAME):
            yield first, last


def _spans(
    thumbs: np.ndarray, scores: np.ndarray, lengths: np.ndarray, threshold: float, share_of: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[int, int]]:
    """Mixed frames of the best window of each run of scores above the threshold."""
    for first, last in runs(scores >= threshold):
        middle = first + int(scores[first:last].argmax())
        start, end = middle - int(lengths[middle]) // 2, middle + int(lengths[middle]) // 2
        shares = share_of(thumbs[start : end + 1].astype(np.float32))
        for before, after in runs((shares > _ENDS) & (shares < 1 - _ENDS)):
            if before <= middle - start < after and after - before >= MIN_MIX:
                yield start + before, start + after


def _mixed_share(window: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) from one end of a dissolve to the other -> (F,) share of the later end in each frame."""
    line = (window[-1] - window[0]).ravel()
    return (window - window[0]).reshape(len(window), -1) @ line / (line @ line)


def _dips(thumbs: np.ndarray, first: int, last: int) -> bool:
    """Whether the picture goes flat inside: through black, white or fog."""
    before, after = _ends(thumbs, first, last)
    return bool(thumbs[first:last].std(axis=(1, 2, 3)).min() < _FLAT * min(before.std(), after.std()))


def _ends(thumbs: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The pure frame before and after the span, float32."""
    return thumbs[max(first - 1, 0)].astype(np.float32), thumbs[min(last, len(thumbs) - 1)].astype(np.float32)
