"""Awkward files, made on the spot: cut short, empty, mislabelled, rotated, uneven, without pictures.

`number_frames` paints each frame's number into it as a binary pattern that survives lossy coding, `read_number` reads it back.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

BITS = 8
CELL = 16  # pixels; one macroblock, so that coding cannot smear a bit into the next
NUMBER_SIZE = (BITS * CELL, 2 * CELL)  # width, height: the pattern above, its complement below


def number_frames(count: int, width: int = NUMBER_SIZE[0], height: int = NUMBER_SIZE[1]) -> np.ndarray:
    """(count, height, width, 3) uint8 RGB: frame n shows n in binary, white = 1, most significant bit left."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)[::-1]) & 1
    rows = np.stack([bits, 1 - bits], axis=1)  # (count, 2, BITS)
    down, across = np.arange(height) * 2 // height, np.arange(width) * BITS // width
    gray = np.where(rows[:, down][:, :, across], 220, 30).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=3)


def read_number(image: np.ndarray) -> int:
    """The number painted into an upright frame of any size. Asserts that both rows of the pattern agree."""
    height, width = image.shape[:2]
    columns = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    upper, lower = (np.array([image[row, c].mean() > 125 for c in columns]) for row in (height // 4, 3 * height // 4))
    assert (upper != lower).all(), "the pattern is damaged"
    return int("".join("1" if bit else "0" for bit in upper), 2)


def write(
    path: Path, images: np.ndarray, *, fps: Fraction | int = 24, codec: str = "libx264", pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None, rotate: int = 0, options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None, file_format: str | None = None, aspect: Fraction | None = None,
) -> Path:
    """Encode frames. times: presentation time per frame in milliseconds (a variable rate); rotate: degrees counter-clockwise."""
    with av.open(str(path), "w", format=file_format, container_options=container_options or {}) as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=fps, options=options or {}))
        stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], pixel_format
        stream.codec_context.thread_count = 1
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotate:
            stream.set_display_rotation(rotate)
        for number, image in enumerate(images):
            frame = VideoFrame.from_ndarray(image)
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def b_frame_film(path: Path, count: int = 100, gop: int = 12) -> Path:
    """A film with numbered frames, B-frames, B-pyramid, open groups of pictures and no scene-cut keyframes."""
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=3:b-adapt=0:b-pyramid=normal:open-gop=1"
    return write(path, number_frames(count), options={"x264-params": params, "crf": "12"})


def cut_index(path: Path) -> Path:
    """An MP4 whose end, and with it the index (moov), is missing."""
    write(path, number_frames(96))
    path.write_bytes(path.read_bytes()[:-800])
    return path


def cut_data(path: Path, share: float = 0.5) -> Path:
    """A file with its index or header first, cut within the pictures: MP4, MKV or AVI by suffix."""
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    write(path, number_frames(96), container_options=options, options={"g": "12"})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def text(path: Path) -> Path:
    path.write_text("It was a dark and stormy night.\n" * 40, encoding="utf-8")
    return path


def audio_only(path: Path, cover: bool = False) -> Path:
    """One second of sine; with a cover picture, which is a video stream in name only."""
    codec = "libmp3lame" if path.suffix == ".mp3" else "aac"
    with av.open(str(path), "w") as container:
        stream = cast(AudioStream, container.add_stream(codec, rate=44100))
        picture = cast(VideoStream, container.add_stream("mjpeg", rate=1)) if cover else None
        if picture:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8)).reformat(format="yuvj420p")))
            container.mux(picture.encode())
        wave = np.sin(np.arange(44100) * 440 * 2 * np.pi / 44100).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def no_packets(path: Path) -> Path:
    """A container that announces a video stream and holds no packet."""
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream("libx264", rate=24))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    return path


def undecodable(path: Path) -> Path:
    """A well-formed file whose every packet is noise."""
    write(path, number_frames(24), options={"g": "1"})
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    return _overwrite(path, spans)


def damaged_frames(path: Path, numbers: Sequence[int], count: int = 100) -> Path:
    """A film of keyframes only in which the packets of `numbers` are noise."""
    write(path, number_frames(count), options={"g": "1", "bf": "0"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        spans = [(packets[n].pos, packets[n].size) for n in numbers]
    return _overwrite(path, spans)


def _overwrite(path: Path, spans: Sequence[tuple[int | None, int]]) -> Path:
    content = bytearray(path.read_bytes())
    for position, size in spans:
        assert position is not None
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def still(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Path:
    """An image, left half red and right half blue as far as the mode allows, RGBA transparent on the right, I;16 a gray ramp."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    pixels[:, size[0] // 2 :, 2] = 255
    image = Image.fromarray(pixels)
    if mode == "RGBA":
        alpha = np.full(size[::-1], 255, np.uint8)
        alpha[:, size[0] // 2 :] = 0
        image.putalpha(Image.fromarray(alpha))
    elif mode == "I;16":
        image = Image.fromarray(np.linspace(0, 65535, size[0], dtype=np.uint16)[None].repeat(size[1], axis=0))
    else:
        image = image.convert(mode)
    image.save(path)
    return path


def corrupt_jpeg(path: Path) -> Path:
    """A JPEG that ends in the middle of its picture."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])
    return path
