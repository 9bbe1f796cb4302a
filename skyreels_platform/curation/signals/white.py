"""White screens."""

from skyreels_platform.curation.signals.base import MeanSignal, Sample

BRIGHTEST = 0.97
"""Mean luma, 0 to 1."""


class White(MeanSignal):
    """Share of the shot's frames whose mean luma lies above BRIGHTEST.

    Source: paper 3.1 names white screens among the basic defects; definition and threshold are our choice.
    """

    name, unit, version = "white", "share of frames", "2"

    def of_frame(self, sample: Sample) -> float:
        return float(sample.luma > BRIGHTEST)
