"""From votes to boundaries: cuts, fades and mixes of one film put in order, joined where they are one event."""

from dataclasses import dataclass

import numpy as np

from skyreels_platform.curation.voters import Votes
from skyreels_platform.curation.voters.cuts import MIN_LIGHT, MIN_SHOT, find_cuts, opinions_of
from skyreels_platform.curation.voters.fades import LEAVE_BLACK, find_fades
from skyreels_platform.curation.voters.jump import correlation
from skyreels_platform.curation.voters.mixes import find_mixes

_MIN_BETWEEN = 6
"""Frames of black, or between two mixes, that are a shot of their own; fewer are part of the transition (our choice)."""
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


def fuse(votes: Votes, *, is_start: bool = True, is_end: bool = True) -> list[Boundary]:
    """All boundaries of a film, ascending and apart. `is_start`, `is_end`: whether the votes begin and end where the film does."""
    opinions = opinions_of(votes)
    cuts = find_cuts(votes, opinions)
    events = [*_gradual(votes, cuts), *((cut, cut, "cut") for cut in cuts)]
    joined: list[Event] = []
    for event in sorted(events):
        while joined and _is_one_event(votes, joined[-1][1], event[0], "cut" in (joined[-1][2], event[2])):
            event = _join(joined.pop(), event)
        joined.append(event)
    return [
        Boundary(end=end, start=start, kind=kind, votes=_said(votes, opinions, end, start))
        for end, start, kind in (_to_the_ends(votes, event, is_start, is_end) for event in joined)
        if not _changes_nothing(votes, end, start, kind)
    ]


def _gradual(votes: Votes, cuts: list[int]) -> list[Event]:
    """Fades and mixes. Where both account for the same frames, the ramp is the more exact one out of real black, the mix where a title
    stands on the black; and a wipe is the more exact word for a mix."""
    fades = [(first, last, "fade") for first, last in find_fades(votes)]
    mixes = [mix for mix in find_mixes(votes) if sum(mix[0] < cut < mix[1] for cut in cuts) < 2]  # else it is fast cutting
    kept = [fade for fade in fades if not (_is_lit(votes, fade) and any(_overlap(fade, mix) for mix in mixes))]
    for mix in sorted(mixes, key=lambda mix: mix[2] != "wipe"):
        if not any(_overlap(mix, other) for other in kept):
            kept.append((*mix[:2], "fade") if _touches_black(votes, mix) else mix)
    return kept


def _overlap(one: Event, other: Event) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is_lit(votes: Votes, event: Event) -> bool:
    """Whether there is light on both sides."""
    return min(_beside(votes.light, event)) >= MIN_LIGHT


def _touches_black(votes: Votes, event: Event) -> bool:
    return min(_beside(votes.dark, event)) < LEAVE_BLACK


def _beside(values: np.ndarray, event: Event) -> tuple[float, float]:
    """The values in the last frame before and the first after."""
    return float(values[max(event[0] - 1, 0)]), float(values[min(event[1], len(values) - 1)])


def _is_one_event(votes: Votes, until: int, since: int, beside_cut: bool) -> bool:
    """Whether the frames [until, since) between two events are no shot: two or fewer, or few and black, or few between two mixes."""
    if since - until < MIN_SHOT:
        return True
    return since - until < _MIN_BETWEEN and (not beside_cut or bool((votes.dark[until:since] < LEAVE_BLACK).all()))


def _join(one: Event, other: Event) -> Event:
    """The later event says how the next shot begins, unless it lies within the earlier one; two mixes of which one is a fade are a dip."""
    kind = other[2] if other[1] >= one[1] - 1 else one[2]
    if "cut" not in (one[2], other[2]) and "fade" in (one[2], other[2]):
        kind = "fade"
    return min(one[0], other[0]), max(one[1], other[1]), kind


def _to_the_ends(votes: Votes, event: Event, is_start: bool, is_end: bool) -> Event:
    """A transition out of the film's first frames, or into its last, leaves no shot there."""
    end, start, kind = event
    if kind == "cut":
        return event
    if is_start and _is_one_event(votes, 0, end, beside_cut=False):
        end, kind = 0, "fade"  # there is nothing that the picture could come out of but black
    if is_end and _is_one_event(votes, start, len(votes), beside_cut=False):
        start = len(votes)
    return end, start, kind


def _changes_nothing(votes: Votes, end: int, start: int, kind: str) -> bool:
    """A fade that is the whole film, or after which the same picture is back."""
    if kind != "fade" or (end == 0) != (start == len(votes)):
        return False
    if end == 0:
        return True
    before, after = votes.thumbs[end - 1].astype(np.float32), votes.thumbs[start].astype(np.float32)
    return correlation(before, after) >= _SAME


def _said(votes: Votes, opinions: dict[str, np.ndarray], end: int, start: int) -> dict[str, float]:
    span = slice(max(end - 1, 0), start + 2)
    said = {"content": votes.content, "adaptive": votes.adaptive, "jump": opinions["jump"], "light": opinions["light"]}
    if votes.sharp is not None:
        said["transnet"] = votes.sharp
    return {voter: round(float(values[span].max()), 4) for voter, values in said.items()}
