"""Black screens."""

from skyreels_platform.curation.signals.base import MeanSignal, Sample

DARKEST = 0.03
"""Mean luma, 0 to 1: about 8 of 255, above the noise of a black leader, below night scenes."""


class Black(MeanSignal):
    """Share of the shot's frames whose mean luma lies below DARKEST.

    Source: paper 3.1 names a black screen filter by heuristics; definition and threshold are our choice.
    """

    name, unit, version = "black", "share of frames", "2"

    def of_frame(self, sample: Sample) -> float:
        return float(sample.luma < DARKEST)
