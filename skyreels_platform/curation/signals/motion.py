"""All motion in the picture."""

from typing import ClassVar

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import MeanSignal, Sample
from skyreels_platform.curation.signals.flow import SMALLEST

NO_PAIR = f"no pair of frames to compare (two of {SMALLEST} px or more, at ascending times)"


class MotionSignal(MeanSignal):
    """Mean length of optical flow over the frame and over the sampled pairs, camera and subjects together.

    A pan of half a frame height per second measures 0.5; a subject that covers a tenth of a still frame at that speed, about
    0.05.
    Source: paper 3.1 names a motion filter and calls its static filter an optical-flow score; definition our choice.
    """

    name, unit, version = "motion", "heights/s", "3"
    video_only = True
    nothing: ClassVar[str] = NO_PAIR

    def of_frame(self, sample: Sample) -> float | None:
        if sample.motion is None:
            return None
        return sample.once(speed_of)


def speed_of(sample: Sample) -> float | None:
    """Heights per second since the picture before."""
    return None if sample.motion is None else mean_length(sample.motion.flow) * sample.motion.per_second


def mean_length(vectors: np.ndarray) -> float:
    """Mean Euclidean length of (h, w, 2) vectors."""
    across, down = cv2.split(vectors)
    # Not cv2.magnitude, cv2.mean: their last digits depend on where the arrays lie in memory; equal input must give equal scores.
    return float(np.sqrt(across * across + down * down).mean(dtype=np.float64))
