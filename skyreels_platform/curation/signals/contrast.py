"""Contrast."""

from skyreels_platform.curation.signals.base import MeanSignal, Sample


class Contrast(MeanSignal):
    """Standard deviation of luma within a frame, mean over the frames: 0 for a flat frame, 0.5 for half black and half white.

    Source: our choice; the paper counts it among visual quality without a definition.
    """

    name, unit, version = "contrast", "0 to 0.5", "2"

    def of_frame(self, sample: Sample) -> float:
        return sample.contrast
