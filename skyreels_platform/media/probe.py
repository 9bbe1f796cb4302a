"""What a file holds: size, rate, length, codec. One sequential read plus one decoded picture, never the whole decode.

Run it on footage that nobody has vouched for inside `bounded.BoundedWorker`: a hostile header can hang or crash a demuxer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skyreels_platform.errors import DecodeError
from skyreels_platform.media.stills import is_still, read_still
from skyreels_platform.media.timeline import open_video, read_timeline


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Facts about one video or image, measured from the file rather than believed from its header."""

    media: Literal["video", "image"]
    """An image is a source of one frame."""
    container: str
    """FFmpeg's demuxer name (`mov,mp4,m4a,3gp,3g2,mj2`, `matroska,webm`, ...) or the image format."""
    codec: str
    """`h264`, `av1`, `vp9`, ... or the image format."""
    pixel_format: str
    """FFmpeg's name (`yuv420p`, ...), for images Pillow's mode (`RGB`, `RGBA`, `L`, ...)."""
    width: int
    """Pixels as displayed: after rotation, with square pixels."""
    height: int
    """Pixels as displayed: after rotation, with square pixels."""
    rotation: int
    """Degrees clockwise that a player turns the stored picture (already in width and height): 0, 90, 180, 270."""
    fps_num: int
    """Frames per second as a fraction, by the rule in `timeline.rate`. 1/1 for images."""
    fps_den: int
    """See fps_num."""
    is_vfr: bool
    """Whether the frame rate varies, by the rule in `timeline.is_variable`."""
    num_frames: int
    """Pictures that a player shows: an exact count of packets, not an estimate."""
    duration_s: float
    """Seconds from the first picture's start to the last one's end, whatever the audio does. 0.0 for images."""
    bitrate: int | None
    """Bits per second of the whole file, None for images."""
    has_audio: bool
    """Whether there is at least one audio stream."""


def probe(path: str | Path) -> Probe:
    """Facts about the file. DecodeError names the file, what is wrong in plain words, and a remedy.

    Refused: missing or empty files, anything that is no video or image, audio only, a video stream without pictures, files cut
    short (declared duration against packets found: more than 0.5 s + 1 % missing), files whose first 500 packets decode to no
    picture.
    """
    path = Path(path)
    if not path.is_file():
        raise DecodeError(f"{path}: no such file")
    return _probe_image(path) if is_still(path) else _probe_video(path)


def _probe_image(path: Path) -> Probe:
    still = read_still(path)
    height, width = still.image.shape[:2]
    return Probe(
        media="image", container=still.format, codec=still.format, pixel_format=still.mode, width=width, height=height,
        rotation=still.rotation, fps_num=1, fps_den=1, is_vfr=False, num_frames=1, duration_s=0.0, bitrate=None, has_audio=False,
    )


def _probe_video(path: Path) -> Probe:
    timeline = read_timeline(path)
    with open_video(path) as (container, stream):
        context = stream.codec_context
        return Probe(
            media="video", container=container.format.name, codec=context.codec.canonical_name,
            pixel_format=context.pix_fmt or "unknown", width=timeline.width, height=timeline.height, rotation=timeline.rotation,
            fps_num=timeline.fps.numerator, fps_den=timeline.fps.denominator, is_vfr=timeline.is_vfr,
            num_frames=timeline.num_frames, duration_s=float(timeline.duration), bitrate=container.bit_rate or None,
            has_audio=bool(container.streams.audio),
        )
