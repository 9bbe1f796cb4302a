"""Picture shape."""

from skyreels_platform.curation.signals.base import Score, Signal


class Aspect(Signal):
    """Width over height of the displayed picture: 1.78 for 16:9, 0.56 for 9:16.

    Source: our choice; the model is trained on a few aspect ratios near 1 (paper 3.3, buckets).
    """

    name, unit, version = "aspect", "width/height", "1"
    needs_pixels = False

    def result(self) -> Score:
        return self.measured(self.shot.width / self.shot.height)
