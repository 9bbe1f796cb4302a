"""Picture size."""

from skyreels_platform.curation.signals.base import Score, Signal


class Resolution(Signal):
    """Short side of the displayed picture in pixels: 720 for 1280x720 and for 720x1280.

    Source: paper 3.1 counts less than 720p among the basic defects.
    """

    name, unit, version = "resolution", "px", "1"
    needs_pixels = False

    def result(self) -> Score:
        return self.measured(min(self.shot.width, self.shot.height))
