"""Exposure."""

from skyreels_platform.curation.signals.base import MeanSignal, Sample


class Luma(MeanSignal):
    """Mean luma of the shot, 0 (black) to 1 (white): low when under-exposed, high when over-exposed.

    Source: our choice; the paper counts exposure among visual quality without a definition.
    """

    name, unit, version = "luma", "0 to 1", "2"

    def of_frame(self, sample: Sample) -> float:
        return sample.luma
