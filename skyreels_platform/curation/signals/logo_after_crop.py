"""Logos that the crop leaves in the picture."""

from skyreels_platform.curation.crop import Crop
from skyreels_platform.curation.signals.after_crop import AfterCrop, version_of
from skyreels_platform.curation.signals.logo import Logo
from skyreels_platform.curation.signals.subtitle_after_crop import CROP_MAKERS


class LogoAfterCrop(AfterCrop):
    """`logo` in the picture that trains: the confidence where any mark still shows in the crop, else 0.

    Source: paper 3.1 crops logos in the corners away and keeps the clip if more than 80 % stays; the number is our choice.
    """

    name, unit, version = "logo_after_crop", "confidence", version_of(Logo, CROP_MAKERS)
    video_only, still = True, Logo.still
    of = Logo.name

    @classmethod
    def _left(cls, value: float, shown: float, crop: Crop) -> float:
        return value if shown else 0.0
