"""A video cut into shots: one decode at a small size, votes, boundaries, spans.

Frames of a dissolve, wipe or fade belong to neither neighbour, so there may be a gap between two shots. Black between two fades is a
shot of its own, so that a person who asks where it went finds a row with a reason. No shot is dropped for its length here.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from skyreels_platform.curation.segments import Shot, segment
from skyreels_platform.media.pyramid import Levels, pyramid
from skyreels_platform.media.stills import is_still
from skyreels_platform.recipe import ShotSettings


def find_shots(
    path: str | Path, settings: ShotSettings, *, num_threads: int | None = None, on_frame: Callable[[int], None] | None = None
) -> list[Shot]:
    """Cut a source into shots, ascending; an image is one shot of one frame.

    num_threads bounds torch and OpenCV (None: as they are); `on_frame` is told the number of frames seen, after each. DecodeError for
    a source that cannot be decoded, MissingExtraError where `settings.transnet` finds no network.
    """
    frames = pyramid(path, small_only=True)
    if is_still(Path(path)):
        next(frames)  # an image that cannot be decoded is refused here, not by a later step
        return [IMAGE_SHOT]
    with threads(num_threads, settings.transnet):
        events = segment(
            _told(frames, on_frame), transnet=settings.transnet, min_length_s=settings.min_length_s, max_length_s=settings.max_length_s
        )
        return [event for event in events if isinstance(event, Shot)]


IMAGE_SHOT = Shot(start_frame=0, end_frame=1, start_s=0.0, end_s=0.0, transition_in="start")
"""An image: one shot of one frame, without duration."""


def _told(pictures: Iterable[Levels], on_frame: Callable[[int], None] | None) -> Iterator[Levels]:
    for picture in pictures:
        yield picture
        if on_frame:
            on_frame(picture.index + 1)


@contextmanager
def threads(number: int | None, transnet: bool) -> Iterator[None]:
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
