"""From votes to boundaries: cuts, fades and mixes of one film put in order, joined where they are one event."""

from dataclasses import dataclass

import numpy as np

from skyreels_platform.curation.voters import Votes
from skyreels_platform.curation.voters.cuts import MIN_LIGHT, MIN_SHOT, find_cuts, opinions_of
from skyreels_platform.curation.voters.fades import LEAVE_BLACK, find_fades
from skyreels_platform.curation.voters.jump import correlation
from skyreels_platform.curation.voters.mixes import find_mixes, kind_of

_MIN_BLACK = 6
"""Frames of black that are a shot of their own; fewer are part of the transition (our choice)."""
_SAME = 0.9
"""Correlation of the thumbnails on both sides of a short black above which the shot only blinked."""


Event = tuple[int, int, str]
"""First frame of a transition, first frame after it, kind; both frames are equal for a cut."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Where one shot ends and the next begins; what lies between belongs to neither."""

    end: int
    """First frame after the shot before; 0 where the film begins with the transition."""
    start: int
    """First frame of the next shot; the number of frames where the film ends with the transition."""
    kind: str
    """cut | dissolve | fade | wipe: how the next shot begins."""
    votes: dict[str, float]
    """What each voter said at its strongest from `end` to `start`: probabilities (transnet), scores (content, adaptive), strengths
    of which 1 is sure (jump, light)."""


def fuse(votes: Votes) -> list[Boundary]:
    """All boundaries of a film, ascending and apart."""
    opinions = opinions_of(votes)
    cuts = find_cuts(votes, opinions)
    events = [*_gradual(votes, cuts), *((cut, cut, "cut") for cut in cuts)]
    joined: list[Event] = []
    for event in sorted(events):
        while joined and _is_one_event(votes, joined[-1][1], event[0]):
            event = _join(joined.pop(), event)
        joined.append(event)
    return [
        Boundary(end=end, start=start, kind=kind, votes=_said(votes, opinions, end, start))
        for end, start, kind in (_to_the_ends(votes, event) for event in joined)
        if kind != "fade" or end == 0 or start == len(votes) or not _only_blinked(votes, end, start)
    ]


def _gradual(votes: Votes, cuts: list[int]) -> list[Event]:
    """Fades and mixes. Where both account for the same frames, the ramp is the more exact one out of real black, the mix where a title
    stands on the black."""
    fades = list(find_fades(votes))
    mixes = [span for span in find_mixes(votes) if sum(span[0] < cut < span[1] for cut in cuts) < 2]  # else it is fast cutting
    kept = [fade for fade in fades if not (_is_lit(votes, *fade) and any(_overlap(fade, mix) for mix in mixes))]
    mixes = [mix for mix in mixes if not any(_overlap(mix, fade) for fade in kept)]
    return [*((*fade, "fade") for fade in kept), *((*mix, _kind(votes, *mix)) for mix in mixes)]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is_lit(votes: Votes, first: int, last: int) -> bool:
    """Whether there is light on both sides of the span."""
    return min(votes.light[max(first - 1, 0)], votes.light[min(last, len(votes) - 1)]) >= MIN_LIGHT


def _kind(votes: Votes, first: int, last: int) -> str:
    if min(votes.dark[max(first - 1, 0)], votes.dark[min(last, len(votes) - 1)]) < LEAVE_BLACK:
        return "fade"
    return kind_of(votes.thumbs, first, last)


def _is_one_event(votes: Votes, until: int, since: int) -> bool:
    """Whether what lies between two events is too little to be a shot."""
    return since - until < MIN_SHOT or _is_short_black(votes, until, since)


def _is_short_black(votes: Votes, first: int, last: int) -> bool:
    return last - first < _MIN_BLACK and bool((votes.dark[first:last] < LEAVE_BLACK).all())


def _join(one: Event, other: Event) -> Event:
    """The later event says how the next shot begins, unless it lies within the earlier one."""
    kind = other[2] if other[1] >= one[1] - 1 else one[2]
    return min(one[0], other[0]), max(one[1], other[1]), kind


def _to_the_ends(votes: Votes, event: Event) -> Event:
    """A transition out of the film's first frames, or into its last, leaves no shot there."""
    end, start, kind = event
    if kind == "cut":
        return event
    if _is_one_event(votes, 0, end):
        end = 0
    if _is_one_event(votes, start, len(votes)):
        start = len(votes)
    return end, start, kind


def _only_blinked(votes: Votes, end: int, start: int) -> bool:
    before, after = votes.thumbs[end - 1].astype(np.float32), votes.thumbs[start].astype(np.float32)
    return correlation(before, after) >= _SAME


def _said(votes: Votes, opinions: dict[str, np.ndarray], end: int, start: int) -> dict[str, float]:
    span = slice(max(end - 1, 0), start + 2)
    said = {"content": votes.content, "adaptive": votes.adaptive, "jump": opinions["jump"], "light": opinions["light"]}
    if votes.sharp is not None:
        said["transnet"] = votes.sharp
    return {voter: round(float(values[span].max()), 4) for voter, values in said.items()}
