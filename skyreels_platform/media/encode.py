"""Films as H.264 MP4 that every player and browser opens: yuv420p, BT.709, index first, written atomically."""

import os
import threading
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from skyreels_platform.errors import SourceError

_THREADS = 4  # fixed: x264's output depends on its thread count, and the same film must be the same bytes on every machine
_BT709 = 1  # the same code for matrix, primaries and transfer
_LIMITED_RANGE = 1


def write_video(
    path: str | Path, frames: Iterable[np.ndarray] | np.ndarray, fps: int | Fraction, *, crf: int = 18,
    metadata: Mapping[str, str] | None = None, preset: str = "medium",
) -> None:
    """Write pictures as an MP4. frames: (H, W, 3) uint8 RGB each, all of one size, at least one; an iterator is streamed.

    fps: frames per second, exact (NTSC is Fraction(30000, 1001)). crf: 0 (near lossless) to 51, 18 is visually lossless.
    preset: x264's trade of time against size.
    metadata: any keys, stored as tags of the container. Odd sizes are padded by repeating the last row or column, because
    yuv420p needs even ones. The file appears under its name complete or not at all, in an existing or new folder. SourceError
    for frames of a wrong or changing shape, or none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        _encode(path, partial, frames, Fraction(fps), {"crf": str(crf), "preset": preset}, dict(metadata or {}))
        _publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    path: Path, partial: Path, frames: Iterable[np.ndarray], fps: Fraction, quality: dict[str, str], metadata: dict[str, str]
) -> None:
    options = {"movflags": "+faststart+use_metadata_tags"}
    with av.open(str(partial), "w", format="mp4", container_options=options) as container:
        container.metadata.update(metadata)
        stream: VideoStream | None = None
        shape: tuple[int, ...] = ()
        for number, image in enumerate(frames):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or (shape and image.shape != shape):
                wanted = shape or "(height, width, 3)"
                raise SourceError(f"{path}: frame {number} is {image.dtype} {image.shape}; give uint8 RGB of shape {wanted}")
            if stream is None:
                shape = image.shape
                stream = container.add_stream("libx264", rate=fps, options=quality)
                _describe(stream, image.shape[1], image.shape[0])
            container.mux(stream.encode(_to_yuv(image)))
        if stream is None:
            raise SourceError(f"{path}: there are no frames to write; give at least one")
        container.mux(stream.encode())


def _describe(stream: VideoStream, width: int, height: int) -> None:
    context = stream.codec_context
    context.width, context.height = width + width % 2, height + height % 2
    context.pix_fmt = "yuv420p"
    context.thread_count = _THREADS
    context.color_range = _LIMITED_RANGE
    context.colorspace = context.color_primaries = context.color_trc = _BT709


def _to_yuv(image: np.ndarray) -> VideoFrame:
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return VideoFrame.from_ndarray(even).reformat(
        format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE, interpolation="BICUBIC"
    )


def _publish(partial: Path, path: Path) -> None:
    """Give a finished file its name so that no crash can leave a name with half a file behind it."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
