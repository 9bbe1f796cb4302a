"""The pictures of a shot that are kept: what captions, contact sheets and review look at instead of decoding the source again.

8 to 32 pictures, evenly spread however long the shot is, chosen while it streams: once there are too many, every second one goes. The
shot's last picture comes on top, so that nobody who looks at a shot misses how it ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

KEPT_FRAMES_VERSION = "kept-2"
"""Raise it when the same shot would keep other pictures."""
MOST = 32
"""Evenly spread pictures of one shot at most (our choice: the published captioner sees 16)."""
_QUALITY = 92  # JPEG; our choice: 20 kB for a picture of 455 x 256


@dataclass(frozen=True, kw_only=True)
class KeptFrame:
    """One kept picture, encoded."""

    frame: int
    """Index in the source."""
    time_s: float
    """Seconds after the source's first frame."""
    image: bytes
    """JPEG, at most 256 px on the short side."""


class Pictured(Protocol):
    """What is kept of a frame: `signals.Sample` and `pyramid.Levels` have it."""

    @property
    def index(self) -> int: ...
    @property
    def time_s(self) -> float: ...
    @property
    def picture(self) -> np.ndarray | None: ...


class Keeper:
    """Keeps pictures of one shot."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, float, np.ndarray]] = []
        self._last: tuple[int, float, np.ndarray] | None = None
        self._every, self._seen = 1, 0

    def add(self, frame: Pictured) -> None:
        """See the shot's next frame."""
        if frame.picture is None:
            return
        self._last = frame.index, frame.time_s, frame.picture
        if self._seen % self._every == 0:
            if len(self._kept) == MOST:
                self._kept = self._kept[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._kept.append(self._last)
        self._seen += 1

    def result(self) -> list[KeptFrame]:
        """The kept pictures in display order."""
        end = [self._last] if self._last and self._kept[-1] is not self._last else []
        return [KeptFrame(frame=index, time_s=time_s, image=encode_picture(picture)) for index, time_s, picture in self._kept + end]


def encode_picture(picture: np.ndarray) -> bytes:
    """(h, w, 3) uint8 RGB as JPEG with full colour resolution."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    assert ok, "a picture in memory can always be encoded"
    return data.tobytes()


def evenly_spread(times_s: Sequence[float]) -> list[int]:
    """Places of kept pictures (at `times_s`, ascending) without a last one that lies nearer to its neighbour than the others do."""
    count = len(times_s)
    is_uneven = count > 2 and times_s[-1] - times_s[-2] < 0.75 * (times_s[1] - times_s[0])
    return list(range(count - is_uneven))


def decode_pictures(images: Sequence[bytes]) -> np.ndarray:
    """(n, h, w, 3) uint8 RGB of kept pictures of one shot."""
    pictures = []
    for image in images:
        picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None, "kept pictures are JPEG of our own"
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return np.stack(pictures)
