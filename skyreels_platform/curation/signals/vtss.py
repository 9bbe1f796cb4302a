"""Suitability for training."""

from skyreels_platform.curation.signals.graded import GradedSignal, QualityMeter
from skyreels_platform.curation.signals.iqa import PictureQuality


class TrainingSuitability(GradedSignal):
    """How much a model could learn from the shot, 0 to 1. Estimator: iqa x moving x steady x fluent: a clear picture in which
    something moves, neither shaken nor torn.

    Source: paper 3.1 names VTSS, Koala-36M's video training suitability score; that is a trained model, the formula is our choice
    and not its imitation.
    """

    name, version = "vtss", "2"
    video_only = True

    @classmethod
    def estimate(cls, terms: QualityMeter) -> float:
        return PictureQuality.estimate(terms) * terms.moving * terms.steady * terms.fluent
