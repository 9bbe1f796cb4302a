"""A video cut into shots: one decode at a small size, votes, boundaries, spans.

Frames of a dissolve, wipe or fade belong to neither neighbour, so there may be a gap between two shots. Black between two fades is a
shot of its own, so that a person who asks where it went finds a row with a reason. No shot is dropped for its length here.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from skyreels_platform.curation.voters import SIZE, Votes, vote
from skyreels_platform.curation.voters.fusion import Boundary, fuse
from skyreels_platform.media.decode import Frame, frames
from skyreels_platform.media.stills import is_still
from skyreels_platform.recipe import ShotSettings


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


def find_shots(
    path: str | Path, settings: ShotSettings, *, num_threads: int | None = None, on_frame: Callable[[int], None] | None = None
) -> list[Shot]:
    """Cut a source into shots, ascending; an image is one shot of one frame.

    num_threads bounds torch and OpenCV (None: as they are); `on_frame` is told the number of frames seen, after each. DecodeError for
    a source that cannot be decoded, MissingExtraError where `settings.transnet` finds no network.
    """
    if is_still(Path(path)):
        next(frames(path, size=SIZE))  # an image that cannot be decoded is refused here, not by a later step
        return [Shot(start_frame=0, end_frame=1, start_s=0.0, end_s=0.0, transition_in="start")]
    with _threads(num_threads, settings.transnet):
        votes = vote(_told(frames(path, size=SIZE), on_frame), transnet=settings.transnet)
    return shots_between(fuse(votes), frame_edges_s(votes), max_length_s=settings.max_length_s)


def shots_between(boundaries: list[Boundary], edges_s: np.ndarray, *, max_length_s: float) -> list[Shot]:
    """The shots between the boundaries of a film of N frames; `edges_s` (N + 1,) are the frames' times and the film's end."""
    num_frames = len(edges_s) - 1
    starts: list[tuple[int, str, dict[str, float]]] = [(0, "start", {})]
    starts += [(boundary.start, boundary.kind, boundary.votes) for boundary in boundaries]
    ends = [*(boundary.end for boundary in boundaries), num_frames]
    shots: list[Shot] = []
    for (start, kind, said), end in zip(starts, ends, strict=True):
        for part, (first, last) in enumerate(_parts(start, end, edges_s, max_length_s)):
            shots.append(Shot(
                start_frame=first, end_frame=last, start_s=float(edges_s[first]), end_s=float(edges_s[last]),
                transition_in="split" if part else kind, votes={} if part else said,
            ))
    return shots


def frame_edges_s(votes: Votes) -> np.ndarray:
    """(N + 1,) seconds: when each frame appears, and when the last one ends (it lasts as long as the median frame)."""
    times = votes.times_s
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return np.append(times, times[-1] + interval)


def _parts(start: int, end: int, edges_s: np.ndarray, max_length_s: float) -> Iterator[tuple[int, int]]:
    """[start, end) in as few parts of equal frame counts as keep each within the length; nothing for an empty span."""
    if start >= end:
        return
    num_parts = max(1, math.ceil((edges_s[end] - edges_s[start]) / max_length_s - 1e-6))
    while True:
        cuts = np.unique(np.linspace(start, end, num_parts + 1).round().astype(int))
        # With a variable frame rate, or a length of few frames, equal counts may still be too long.
        if num_parts >= end - start or np.diff(edges_s[cuts]).max() <= max_length_s + 1e-6:
            yield from zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
            return
        num_parts += 1


def _told(pictures: Iterable[Frame], on_frame: Callable[[int], None] | None) -> Iterator[Frame]:
    for picture in pictures:
        yield picture
        if on_frame:
            on_frame(picture.index + 1)


@contextmanager
def _threads(number: int | None, transnet: bool) -> Iterator[None]:
    """Run with that many threads in OpenCV and, if it votes, torch; both count per process, so they are set back."""
    if number is None:
        yield
        return
    before = cv2.getNumThreads()
    cv2.setNumThreads(number)
    try:
        if not transnet:
            yield
            return
        import torch

        before_torch = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before_torch)
    finally:
        cv2.setNumThreads(before)
