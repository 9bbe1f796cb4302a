"""Shots while the film is still being read: frames go in, frames come out again once it is certain which shot they belong to.

A boundary is certain when enough frames after it have been seen; until then the frames wait in a buffer, so memory depends on that
delay and not on the film's length. The rules for boundaries look at most some seconds around a frame, so the result is the one that the
whole film at once would give.

Long shots: a shot that reaches `max_length_s` is cut there, again and again; a remainder shorter than `min_length_s` stays with the part
before it. Short shots stay as they are; pools refuse them.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from skyreels_platform.curation.voters import Ballot
from skyreels_platform.curation.voters.fusion import Boundary, fuse

STRIDE = 128
"""Frames between two looks at the votes (our choice: fewer would repeat more work)."""
PACE = 2
"""Events given out for each frame that comes in (our choice): a look makes STRIDE frames certain at once, and whoever works on all of
them at a stretch leaves the decoder idle."""
AHEAD = 200
"""Frames that must be known after a boundary before it counts: the longest mix is 48 frames, fades add some seconds (our choice)."""
BEHIND = 200
"""Frames before the last certain one that a look begins at, so that its edge lies where everything is decided (our choice)."""
_LEAST_S = 1e-6  # two times of one frame, computed twice


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One span of a source."""

    start_frame: int
    end_frame: int
    """First frame after the shot; the next shot may begin later."""
    start_s: float
    end_s: float
    """Presentation times of both, seconds; a single picture has no duration."""
    transition_in: str
    """start | cut | dissolve | fade | wipe | split: how it begins. `split`: it goes on from the one before, which was too long."""
    votes: dict[str, float] = field(default_factory=dict)
    """What each voter said of the transition into the shot (see `Boundary.votes`); empty for start and split."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A shot begins with the next frame."""

    start_frame: int


class Timed(Protocol):
    """What cutting needs of a frame: `pyramid.Levels` and `signals.Sample` have it."""

    @property
    def small(self) -> np.ndarray:
        """(81, 144, 3) uint8 RGB."""
        ...

    @property
    def time_s(self) -> float: ...


Frame = TypeVar("Frame", bound=Timed)
Event = Opened | Frame | Shot
"""In order: a shot opens, its frames, the whole shot once it has ended. Frames of a transition belong to none and are left out."""


class Segmenter(Generic[Frame]):
    """Cuts one film. Push frames, take events."""

    def __init__(self, *, transnet: bool, min_length_s: float, max_length_s: float) -> None:
        self._ballot = Ballot(transnet=transnet)
        self._cutter: Cutter[Frame] = Cutter(min_length_s=min_length_s, max_length_s=max_length_s)
        self._next_look = STRIDE + AHEAD

    def push(self, frame: Frame) -> Iterator[Event[Frame]]:
        """See the next frame; gives what has become certain."""
        self._ballot.push(frame.small, frame.time_s)
        self._cutter.push(frame)
        known = self._ballot.num_known
        if known >= self._next_look:
            self._next_look = known + STRIDE
            yield from self._look(known, is_end=False)

    def finish(self) -> Iterator[Event[Frame]]:
        """The film has ended: gives the rest."""
        self._ballot.finish()
        yield from self._look(self._ballot.num_known, is_end=True)

    def _look(self, known: int, *, is_end: bool) -> Iterator[Event[Frame]]:
        if not known:
            return
        first = max(0, self._cutter.num_given - BEHIND)
        found = fuse(self._ballot.votes(first, known), is_start=first == 0, is_end=is_end)
        certain = known if is_end else known - AHEAD
        yield from self._cutter.cut([_moved(boundary, first) for boundary in found], certain, is_end=is_end)


class Cutter(Generic[Frame]):
    """Frames of one film, waiting for the boundaries between them."""

    def __init__(self, *, min_length_s: float, max_length_s: float) -> None:
        self._min_length_s, self._max_length_s = min_length_s, max_length_s
        self._times: list[float] = []
        self._waiting: deque[Frame] = deque()
        self.num_given = 0
        """Frames, from the first on, that have been given out or left out."""
        self._start: tuple[int, str, dict[str, float]] | None = (0, "start", {})
        """Where the running shot began, and how; None inside a transition."""
        self._is_open = False

    def push(self, frame: Frame) -> None:
        """Let the next frame wait."""
        self._times.append(frame.time_s)
        self._waiting.append(frame)

    def cut(self, boundaries: Iterable[Boundary], certain: int, *, is_end: bool) -> Iterator[Event[Frame]]:
        """Give out frames before `certain`, cut at these boundaries (ascending, from the last look's on). `is_end`: the film ends there."""
        if is_end:
            self._times.append(film_end_s(np.array(self._times)))
        limit = certain
        for boundary in boundaries:
            if boundary.start <= self.num_given and self.num_given > 0:
                continue  # cut at an earlier look
            if boundary.start > certain:
                limit = min(limit, boundary.end)
                break
            end = max(boundary.end, self.num_given)
            yield from self._run_to(end, is_end=True)
            yield from self._close(end)
            while self.num_given < boundary.start:
                self._waiting.popleft()
                self.num_given += 1
            self._start = boundary.start, boundary.kind, boundary.votes
        yield from self._run_to(max(limit, self.num_given), is_end=is_end)
        if is_end:
            yield from self._close(self.num_given)

    def _run_to(self, stop: int, *, is_end: bool) -> Iterator[Event[Frame]]:
        """Give out the running shot's frames before `stop`, which is where it ends or as far as anything is certain."""
        while self.num_given < stop:
            assert self._start, "frames are given out within a shot only"
            start = self._start[0]
            full = max(start + 1, bisect_left(self._times, self._times[start] + self._max_length_s - _LEAST_S))
            yield from self._give_out(min(full, stop))
            if self.num_given < full:
                return
            if self._times[stop] - self._times[full] >= self._min_length_s - _LEAST_S:
                yield from self._close(full)
                self._start = full, "split", {}
            elif is_end:
                yield from self._give_out(stop)
            else:
                return  # whether a shot of its own follows, the next look will tell

    def _give_out(self, stop: int) -> Iterator[Event[Frame]]:
        if self.num_given < stop and not self._is_open and self._start:
            self._is_open = True
            yield Opened(start_frame=self._start[0])
        while self.num_given < stop:
            yield self._waiting.popleft()
            self.num_given += 1

    def _close(self, end: int) -> Iterator[Event[Frame]]:
        if self._is_open and self._start:
            start, kind, votes = self._start
            yield Shot(
                start_frame=start, end_frame=end, start_s=self._times[start], end_s=self._times[end], transition_in=kind, votes=votes
            )
        self._is_open, self._start = False, None


def segment(frames: Iterable[Frame], *, transnet: bool, min_length_s: float, max_length_s: float) -> Iterator[Event[Frame]]:
    """All events of one film, from its frames in display order."""
    segmenter: Segmenter[Frame] = Segmenter(transnet=transnet, min_length_s=min_length_s, max_length_s=max_length_s)
    certain: deque[Event[Frame]] = deque()
    for frame in frames:
        certain.extend(segmenter.push(frame))
        for _ in range(min(PACE, len(certain))):
            yield certain.popleft()
    certain.extend(segmenter.finish())
    while certain:
        yield certain.popleft()


def film_end_s(times_s: np.ndarray) -> float:
    """When the last frame ends: it lasts as long as the median frame."""
    interval = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    return float(times_s[-1]) + interval


def _moved(boundary: Boundary, by: int) -> Boundary:
    return Boundary(end=boundary.end + by, start=boundary.start + by, kind=boundary.kind, votes=boundary.votes)
