"""PySceneDetect's content and adaptive detectors with their published defaults, fed frame by frame through their own interface."""

from array import array
from typing import Any

import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector
from scenedetect.stats_manager import StatsManager

_RATE = 25.0  # the detectors count in frames; a rate is only needed to make their time codes


class PySceneDetect:
    """Both detectors over one film."""

    def __init__(self) -> None:
        self._content, self._adaptive = ContentDetector(), AdaptiveDetector()
        self._log = _Log()
        self._adaptive.stats_manager = self._log
        self._content_cuts: list[int] = []
        self._adaptive_cuts: list[int] = []
        self._num_frames = 0

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        del gray  # the detectors work on colour
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        now = FrameTimecode(self._num_frames, _RATE)
        self._content_cuts += (cut.frame_num for cut in self._content.process_frame(now, bgr))
        self._adaptive_cuts += (cut.frame_num for cut in self._adaptive.process_frame(now, bgr))
        self._num_frames += 1

    def finish(self) -> dict[str, np.ndarray]:
        ratios = self._log.ratios[: self._num_frames]
        return {
            "content": _padded(self._log.scores, self._num_frames),
            "adaptive": _padded(ratios, self._num_frames),
            "content_cuts": np.array(self._content_cuts, dtype=np.int64),
            "adaptive_cuts": np.array(self._adaptive_cuts, dtype=np.int64),
        }


class _Log(StatsManager):
    """Keeps the two numbers we fuse; the base class would keep a dictionary of six for every frame of the film."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = array("f", [0.0])  # the first frame has nothing to differ from
        self.ratios = array("f", [0.0] * 2)  # the window of two frames each side leaves the first two without one

    def set_metrics(self, timecode: int | FrameTimecode, metric_kv_dict: dict[str, Any]) -> None:
        for key, value in metric_kv_dict.items():
            if key == ContentDetector.FRAME_SCORE_KEY:
                self.scores.append(float(value))
            elif key.startswith("adaptive_ratio"):
                self.ratios.append(float(value))


def _padded(values: array, length: int) -> np.ndarray:
    return np.pad(np.array(values, dtype=np.float32), (0, max(0, length - len(values))))
