"""Motion of the camera."""

from typing import ClassVar

from skyreels_platform.curation.signals.base import MeanSignal, Sample
from skyreels_platform.curation.signals.motion import NO_PAIR, mean_length


class CameraMotion(MeanSignal):
    """Mean length of the affine motion that most of the frame follows: pan, tilt, zoom and roll.

    On ground without texture a camera leaves no trace, so a subject before a plain wall counts as moving, the wall as still.
    Source: the paper measures camera speed as frame displacement per second (3.2); definition our choice.
    """

    name, unit, version = "camera_motion", "heights/s", "3"
    video_only = True
    nothing: ClassVar[str] = NO_PAIR

    def of_frame(self, sample: Sample) -> float | None:
        if sample.motion is None:
            return None
        return mean_length(sample.motion.camera) * sample.motion.per_second
