"""Subtitles that the crop leaves in the picture."""

from skyreels_platform.curation.signals.after_crop import AfterCrop, version_of
from skyreels_platform.curation.signals.letterbox import Letterbox
from skyreels_platform.curation.signals.logo import Logo
from skyreels_platform.curation.signals.sticker import Sticker
from skyreels_platform.curation.signals.subtitle import Subtitle

CROP_MAKERS = (Letterbox, Subtitle, Logo, Sticker)
"""The signals whose regions a crop goes round."""


class SubtitleAfterCrop(AfterCrop):
    """`subtitle` in the picture that trains: share of the crop under the text that still shows there; 0 where the crop avoids it.

    Source: paper 3.1 crops subtitles away and keeps the clip if more than 80 % stays; the number is our choice.
    """

    name, unit, version = "subtitle_after_crop", "share of crop", version_of(Subtitle, CROP_MAKERS)
    of = Subtitle.name
