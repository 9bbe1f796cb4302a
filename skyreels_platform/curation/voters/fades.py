"""Fades to and from black: the light ramps down into a black span, or up out of it.

A span of black with a ramp on each side gives two boundaries, so that the black between is a shot of its own, which every pool
refuses; where it is too short to be one, fusion joins the two.
"""

from collections.abc import Iterator

import numpy as np

from skyreels_platform.curation.voters import Votes
from skyreels_platform.curation.voters.cuts import MIN_MIX, runs

ENTER_BLACK, LEAVE_BLACK = 12, 24
"""A picture is black once 95 % of it lie below the first luma, and until more than 5 % lie above the second (video black is 16 of the
coded range, 0 after conversion; compression and a few burnt-in words stay below)."""
_ABRUPT = 0.5
"""Share of the rise that one step makes in a cut; in a fade of four frames each makes a quarter."""
_RISING = 0.05
"""Mean luma gained in two frames, 0..255, that is a beginning rise: black does not change at all."""
_SETTLED = 0.25
"""The ramp has ended where it is slower than this share of its steepest part; what follows is the picture's own change."""
_VISIBLE = 0.7
"""Share of its light from which a picture is taken for the shot, not for the fade: annotators put the end of a fade there, between
0.6 and 0.8. The last third of a ramp stays in the shot, so that a trimmed fade never costs a frame that a person would keep."""
_SLOW_PER_S = 0.6
"""Relative change of light per second (2.5 % per frame at 24 fps, about what the eye can see) below which it no longer looks faded."""

Span = tuple[int, int]
"""[first, last) in frames."""


def find_fades(votes: Votes) -> Iterator[Span]:
    """Frames of each ramp into or out of black, ascending."""
    interval_s = float(np.median(np.diff(votes.times_s))) if len(votes) > 1 else 1.0
    slow = _SLOW_PER_S * interval_s
    for first, last in runs(votes.dark < LEAVE_BLACK):
        if votes.dark[first:last].min() >= ENTER_BLACK:
            continue
        fall = _rise(votes.luma[:last][::-1], last - first, slow)
        if fall:
            yield last - fall[1], last - fall[0]
        rise = _rise(votes.luma[first:], last - first, slow)
        if rise:
            yield first + rise[0], first + rise[1]


def _rise(luma: np.ndarray, leaves: int, slow: float) -> Span | None:
    """The rise out of a black span: from the first frame brighter than black to the first that no longer looks faded.

    `luma` begins with the black span; `leaves` is the first frame that is no longer black; `slow` is the relative change per frame that
    cannot be seen. None where the film ends in black or the light comes at once.
    """
    if leaves >= len(luma):
        return None
    first = leaves
    while first > 1 and luma[first] - luma[first - 2] > _RISING:
        first -= 1
    first += first < leaves  # the loop ended on the last black frame
    steps = np.diff(luma)
    settled, steepest = leaves, float(steps[max(first - 1, 0) : leaves].max(initial=0))
    while settled < len(steps):
        speed = float(steps[settled : settled + 3].mean())
        if speed < max(_SETTLED * steepest, slow * float(luma[settled])):
            break
        steepest = max(steepest, speed)
        settled += 1
    black, level = luma[max(first - 1, 0)], luma[settled]
    if settled - first < MIN_MIX or steps[max(first - 1, 0) : settled].max() > _ABRUPT * (level - black):
        return None
    return first, first + int(np.argmax(luma[first : settled + 1] >= _VISIBLE * level))
