"""Length in time."""

from skyreels_platform.curation.signals.base import Score, Signal


class Duration(Signal):
    """Length of the shot's span in seconds.

    Source: paper 3.1 names duration among the 360p filters; it gives no bound.
    """

    name, unit, version = "duration_s", "s", "1"
    video_only, still, needs_pixels = True, "an image has no duration", False

    def result(self) -> Score:
        return self.measured(self.shot.duration_s)
