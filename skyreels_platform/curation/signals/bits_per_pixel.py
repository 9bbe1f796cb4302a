"""Compression."""

from skyreels_platform.curation.signals.base import Score, Signal


class BitsPerPixel(Signal):
    """Bits of the file per displayed pixel and frame: bitrate / (fps x width x height). Sound and container count in.

    A number about the whole file, the same for each of its shots. What it is worth depends on codec and content: H.264 at 0.1 is
    usual for the web, and 0.02 leaves visible damage wherever something moves.
    Source: our choice; the paper does not use it.
    """

    name, unit, version = "bits_per_pixel", "bits/pixel", "1"
    video_only, still, needs_pixels = True, "an image has no bitrate", False

    def result(self) -> Score:
        shot = self.shot
        if not shot.bitrate or shot.bitrate < 0:
            return self.unknown("the source states no bitrate")
        if shot.fps <= 0 or shot.width <= 0 or shot.height <= 0:
            return self.unknown(f"no pixels per second to divide by: {shot.width} x {shot.height} at {shot.fps:g} frames per second")
        return self.measured(shot.bitrate / (shot.fps * shot.width * shot.height))
