"""Stickers that the crop leaves in the picture."""

from skyreels_platform.curation.signals.after_crop import AfterCrop, version_of
from skyreels_platform.curation.signals.sticker import Sticker
from skyreels_platform.curation.signals.subtitle_after_crop import CROP_MAKERS


class StickerAfterCrop(AfterCrop):
    """`sticker` in the picture that trains: share of the crop under the graphics that still show there.

    Source: our choice; the paper filters stickers and does not say whether it crops them.
    """

    name, unit, version = "sticker_after_crop", "share of crop", version_of(Sticker, CROP_MAKERS)
    video_only, still = True, Sticker.still
    of = Sticker.name
