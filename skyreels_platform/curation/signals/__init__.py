"""Signals: raw numbers about a shot, measured without learned weights in one pass over its frames.

A new signal is a file with one `Signal` class and one line in SIGNALS. Every signal that looks at pixels shares one decode of the
file at up to 256 px on the short side, one grey picture per frame, and one optical flow per sampled pair (about 8 a second, end
to end, so that repeated frames do not hide motion and no moment is skipped). Raw numbers are stored; verdicts come later, from
a recipe.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from skyreels_platform.curation.signals.aspect import Aspect
from skyreels_platform.curation.signals.base import Score, ShotInfo, Signal
from skyreels_platform.curation.signals.black import Black
from skyreels_platform.curation.signals.camera_motion import CameraMotion
from skyreels_platform.curation.signals.contrast import Contrast
from skyreels_platform.curation.signals.duration_s import Duration
from skyreels_platform.curation.signals.flow import FlowMeter
from skyreels_platform.curation.signals.fps import FrameRate
from skyreels_platform.curation.signals.luma import Luma
from skyreels_platform.curation.signals.meter import ShotMeter
from skyreels_platform.curation.signals.motion import MotionSignal
from skyreels_platform.curation.signals.resolution import Resolution
from skyreels_platform.curation.signals.sharpness import Sharpness
from skyreels_platform.curation.signals.static import Static
from skyreels_platform.curation.signals.subject_motion import SubjectMotion
from skyreels_platform.curation.signals.white import White
from skyreels_platform.errors import DecodeError
from skyreels_platform.media.decode import frames as decode_frames
from skyreels_platform.media.probe import Probe

SIGNALS: dict[str, type[Signal]] = {
    signal.name: signal
    for signal in (
        Black, White, Static, Luma, Contrast, Sharpness, MotionSignal, CameraMotion, SubjectMotion,
        Duration, Resolution, FrameRate, Aspect,
    )
}
"""Every signal by name, in the order of a shot's scores."""

SHORT_SIDE = 256
"""Pixels on the short side that signals see at most; smaller sources are seen as they are."""
LONG_SIDE = 768
"""Pixels on the long side at most, so that a banner costs no more than three squares."""

class Span(Protocol):
    """The part of a shot that measuring needs; `curation.shots.Shot` has it."""

    @property
    def start_frame(self) -> int: ...
    @property
    def end_frame(self) -> int: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


class Picture(Protocol):
    """The part of a decoded frame that measuring needs; `media.decode.Frame` has it."""

    @property
    def index(self) -> int: ...
    @property
    def time_s(self) -> float: ...
    @property
    def image(self) -> np.ndarray: ...


def measure(path: str | Path, probe: Probe, shots: Sequence[Span]) -> list[list[Score]]:
    """Every signal of every shot of one file: scores in the order of SIGNALS, shots in the order given. Decodes the file once,
    from the first shot's start to the last one's end. A file that stops decoding gives `unknown` with the decoder's reason for
    the shots that it left incomplete."""
    if not shots:
        return []
    fps = 0.0 if probe.media == "image" else probe.fps_num / probe.fps_den if probe.fps_den else 0.0
    pictures = decode_frames(
        path, size=working_size(probe.width, probe.height),
        start=min(shot.start_frame for shot in shots), stop=max(shot.end_frame for shot in shots),
    )
    return measure_frames(pictures, shots, fps=fps, width=probe.width, height=probe.height, media=probe.media)


def measure_frames(
    pictures: Iterable[Picture], shots: Sequence[Span], *, fps: float, width: int, height: int, media: str = "video"
) -> list[list[Score]]:
    """`measure` on frames that are already decoded, in display order, at any size (larger ones are reduced to the working size).

    `width` and `height` are those of the source as displayed. Each shot sees exactly the frames [start_frame, end_frame); shots
    may leave gaps, overlap and come in any order. Memory: two small planes per shot that is being measured.
    """
    meters = [
        ShotMeter(shot.start_frame, ShotInfo(
            media=media, num_frames=shot.end_frame - shot.start_frame, duration_s=shot.end_s - shot.start_s,
            fps=fps, width=width, height=height,
        ), SIGNALS.values())
        for shot in shots
    ]
    waiting = sorted(meters, key=lambda meter: meter.start, reverse=True)
    active: list[ShotMeter] = []
    size, flow, failure = working_size(width, height), FlowMeter(), ""
    try:
        for picture in pictures:
            while waiting and waiting[-1].start <= picture.index:
                active.append(waiting.pop())
            active = [meter for meter in active if picture.index < meter.end]
            if active:
                image = _reduced(picture.image, size)
                grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
                for meter in active:
                    meter.add(image, grey, picture.time_s, flow)
            elif not waiting:
                break
    except DecodeError as error:
        failure = str(error)
    return [meter.scores(failure) for meter in meters]


def working_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at which a source of this displayed size is seen: its own, or reduced to SHORT_SIDE and LONG_SIDE."""
    scale = min(1.0, SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _reduced(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (image.shape[1], image.shape[0]) == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
