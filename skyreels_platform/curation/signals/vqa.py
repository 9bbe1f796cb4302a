"""Quality of the moving picture."""

from skyreels_platform.curation.signals.graded import GradedSignal, QualityMeter
from skyreels_platform.curation.signals.iqa import PictureQuality


class VideoQuality(GradedSignal):
    """Technical quality of the shot as it plays, 0 to 1. Estimator: iqa x steady x fluent.

    Source: paper 3.1 names a video quality model (VQA) without its name; the formula is our choice.
    """

    name, version = "vqa", "2"
    video_only = True

    @classmethod
    def estimate(cls, terms: QualityMeter) -> float:
        return PictureQuality.estimate(terms) * terms.steady * terms.fluent
