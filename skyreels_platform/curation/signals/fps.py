"""Frame rate."""

from skyreels_platform.curation.signals.base import Score, Signal


class FrameRate(Signal):
    """Average frames per second of the source.

    Source: paper 3.1 counts less than 16 fps among the basic defects.
    """

    name, unit, version = "fps", "1/s", "1"
    video_only, still, needs_pixels = True, "an image has no frame rate", False

    def result(self) -> Score:
        return self.measured(self.shot.fps) if self.shot.fps > 0 else self.unknown("the source states no frame rate")
