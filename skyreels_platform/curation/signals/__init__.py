"""Signals: raw numbers about a shot, measured in one pass over its frames.

A new signal is a file with one `Signal` class and one line in SIGNALS. Signals share one decode (`media.pyramid`), one optical flow per
pair of pictures, and what several of them need (`Signal.shared`). Raw numbers are stored; verdicts come later, from a recipe.
"""

from skyreels_platform.curation.signals.aesthetic import Aesthetic
from skyreels_platform.curation.signals.aspect import Aspect
from skyreels_platform.curation.signals.base import Region, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.bits_per_pixel import BitsPerPixel
from skyreels_platform.curation.signals.black import Black
from skyreels_platform.curation.signals.blockiness import Blockiness
from skyreels_platform.curation.signals.blurred_region import BlurredRegion
from skyreels_platform.curation.signals.cadence import Cadence
from skyreels_platform.curation.signals.camera_motion import CameraMotion
from skyreels_platform.curation.signals.clipped import Clipped
from skyreels_platform.curation.signals.contrast import Contrast
from skyreels_platform.curation.signals.duration_s import Duration
from skyreels_platform.curation.signals.flicker import Flicker
from skyreels_platform.curation.signals.fps import FrameRate
from skyreels_platform.curation.signals.frame_mixing import FrameMixing
from skyreels_platform.curation.signals.iqa import PictureQuality
from skyreels_platform.curation.signals.letterbox import Letterbox
from skyreels_platform.curation.signals.logo import Logo
from skyreels_platform.curation.signals.logo_after_crop import LogoAfterCrop
from skyreels_platform.curation.signals.luma import Luma
from skyreels_platform.curation.signals.mosaic import Mosaic
from skyreels_platform.curation.signals.motion import MotionSignal
from skyreels_platform.curation.signals.noise import Noise
from skyreels_platform.curation.signals.overlay_text import OverlayText
from skyreels_platform.curation.signals.playback import Playback
from skyreels_platform.curation.signals.resolution import Resolution
from skyreels_platform.curation.signals.shake import Shake
from skyreels_platform.curation.signals.sharpness import Sharpness
from skyreels_platform.curation.signals.slideshow import Slideshow
from skyreels_platform.curation.signals.split_screen import SplitScreen
from skyreels_platform.curation.signals.static import Static
from skyreels_platform.curation.signals.sticker import Sticker
from skyreels_platform.curation.signals.sticker_after_crop import StickerAfterCrop
from skyreels_platform.curation.signals.still_pan import StillPan
from skyreels_platform.curation.signals.subject_motion import SubjectMotion
from skyreels_platform.curation.signals.subtitle import Subtitle
from skyreels_platform.curation.signals.subtitle_after_crop import SubtitleAfterCrop
from skyreels_platform.curation.signals.synthetic import Synthetic
from skyreels_platform.curation.signals.text_area import TextArea
from skyreels_platform.curation.signals.vqa import VideoQuality
from skyreels_platform.curation.signals.vtss import TrainingSuitability
from skyreels_platform.curation.signals.white import White

SIGNALS: dict[str, type[Signal]] = {
    signal.name: signal
    for signal in (
        Black, White, Static, Slideshow, StillPan, Luma, Contrast, Clipped, Flicker, Sharpness, Blockiness, Noise,
        MotionSignal, CameraMotion, SubjectMotion, Shake, Cadence, FrameMixing, Playback,
        Letterbox, SplitScreen, Mosaic, BlurredRegion, Subtitle, Logo, Sticker, TextArea, OverlayText, Synthetic,
        SubtitleAfterCrop, LogoAfterCrop, StickerAfterCrop,
        Aesthetic, PictureQuality, VideoQuality, TrainingSuitability,
        Duration, Resolution, FrameRate, Aspect, BitsPerPixel,
    )
}
"""Every signal by name, in the order of a shot's scores."""

__all__ = ["SIGNALS", "Region", "Score", "ShotInfo", "Signal"]
