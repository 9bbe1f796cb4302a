"""Looks."""

from skyreels_platform.curation.signals.graded import GradedSignal, QualityMeter


class Aesthetic(GradedSignal):
    """How the shot's pictures look, 0 to 1. Estimator: (0.3 colourful + 0.3 ranging + 0.25 sharp + 0.15 lit) x kept x
    sqrt(clean x whole). Black and white footage loses the part of the colours.

    Source: paper 3.1 names an aesthetic filter, in its list of models aesthetic-predictor-v2.5; the formula is our choice.
    """

    name, version = "aesthetic", "1"

    @classmethod
    def estimate(cls, terms: QualityMeter) -> float:
        looks = 0.3 * terms.colourful + 0.3 * terms.ranging + 0.25 * terms.sharp + 0.15 * terms.lit
        return looks * terms.kept * (terms.clean * terms.whole) ** 0.5
