"""Motion of what is in front of the camera."""

from typing import ClassVar

from skyreels_platform.curation.signals.base import MeanSignal, Sample
from skyreels_platform.curation.signals.motion import NO_PAIR, mean_length


class SubjectMotion(MeanSignal):
    """Mean length, over the whole frame, of the flow that is left after the camera's motion is taken away.

    Parallax counts as subject motion: an affine model holds for a flat world only.
    Source: our choice; separates a moving subject from a camera that moves past a still life.
    """

    name, unit, version = "subject_motion", "heights/s", "3"
    video_only = True
    nothing: ClassVar[str] = NO_PAIR

    def of_frame(self, sample: Sample) -> float | None:
        if sample.motion is None:
            return None
        return mean_length(sample.motion.flow - sample.motion.camera) * sample.motion.per_second
