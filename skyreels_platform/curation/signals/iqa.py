"""Quality of single pictures."""

from skyreels_platform.curation.signals.graded import GradedSignal, QualityMeter


class PictureQuality(GradedSignal):
    """Technical quality of the shot's pictures, 0 to 1. Estimator: sharp x clean x whole x kept x sqrt(lit x ranging).

    Source: paper 3.1 names an image quality model (IQA) without its name; the formula is our choice.
    """

    name, version = "iqa", "1"

    @classmethod
    def estimate(cls, terms: QualityMeter) -> float:
        return terms.sharp * terms.clean * terms.whole * terms.kept * (terms.lit * terms.ranging) ** 0.5
