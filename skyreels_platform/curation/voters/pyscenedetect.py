"""PySceneDetect's content and adaptive detectors with their published defaults, fed frame by frame through their own interface."""

from array import array
from typing import Any

import cv2
import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector
from scenedetect.stats_manager import StatsManager

_LAG = 32  # frames after which neither detector reports a cut that it has held back (they wait for 15)
_RATE = 25.0  # the detectors count in frames; a rate is only needed to make their time codes


class PySceneDetect:
    """Both detectors over one film."""

    def __init__(self) -> None:
        self._content, self._adaptive = _Content(), _Adaptive()
        self._log = _Log()
        self._adaptive.stats_manager = self._log
        self._scores = array("f")
        self._content_cuts: list[int] = []
        self._adaptive_cuts: list[int] = []
        self._num_frames = 0
        self._is_over = False

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        del gray  # the detectors work on colour
        now = FrameTimecode(self._num_frames, _RATE)
        self._content_cuts += (cut.frame_num for cut in self._content.process_frame(now, rgb))
        self._adaptive.score = self._content._frame_score or 0.0
        self._scores.append(self._adaptive.score)
        self._adaptive_cuts += (cut.frame_num for cut in self._adaptive.process_frame(now, rgb))
        self._num_frames += 1

    @property
    def num_known(self) -> int:
        return self._num_frames if self._is_over else max(0, self._num_frames - _LAG)

    def finish(self) -> None:
        self._is_over = True

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        return {
            "content": np.array(self._scores[start:stop], dtype=np.float32),
            "adaptive": _padded(self._log.ratios[start:stop], stop - start),
            "content_cuts": _within(self._content_cuts, start, stop),
            "adaptive_cuts": _within(self._adaptive_cuts, start, stop),
        }


class _Content(ContentDetector):
    """The content detector, its score computed without copies of each channel as integers: equal, in a quarter of the time."""

    _hsv: np.ndarray | None = None

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: np.ndarray) -> float:
        """`frame_img` is RGB here."""
        before, self._hsv = self._hsv, cv2.cvtColor(frame_img, cv2.COLOR_RGB2HSV)
        if before is None:
            return 0.0
        hue, saturation, value, _ = cv2.sumElems(cv2.absdiff(self._hsv, before))
        num_pixels = frame_img.shape[0] * frame_img.shape[1]
        return (hue / num_pixels + saturation / num_pixels + value / num_pixels) / 3


class _Adaptive(AdaptiveDetector):
    """The adaptive detector on a score that is already there: both detectors measure the same change of colour, and asked for its
    statistics this one would also trace edges that nobody reads."""

    score = 0.0

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: np.ndarray) -> float:
        return self.score


class _Log(StatsManager):
    """Keeps the ratios; the base class would keep a dictionary for every frame of the film."""

    def __init__(self) -> None:
        super().__init__()
        self.ratios = array("f", [0.0] * 2)  # the window of two frames each side leaves the first two without one

    def set_metrics(self, timecode: int | FrameTimecode, metric_kv_dict: dict[str, Any]) -> None:
        self.ratios.extend(float(value) for key, value in metric_kv_dict.items() if key.startswith("adaptive_ratio"))


def _padded(values: array, length: int) -> np.ndarray:
    return np.pad(np.array(values, dtype=np.float32), (0, max(0, length - len(values))))


def _within(cuts: list[int], start: int, stop: int) -> np.ndarray:
    return np.array([cut - start for cut in cuts if start <= cut < stop], dtype=np.int64)
