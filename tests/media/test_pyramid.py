"""The sizes of a frame against what decoding and scaling the whole frame gives."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from skyreels_platform.errors import DecodeError
from skyreels_platform.media.decode import frames
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.pyramid import LARGE_SHORT, NATIVE, SMALL, Levels, from_rgb, picture_size, pyramid, three_fifths
from tests.media import broken_files


def world(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Soft coloured blobs: no detail that a codec's chroma or a different filter would change much."""
    coarse = np.random.default_rng(seed).uniform(30, 225, (6, 9, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 16, 235).astype(np.uint8)


def film(path: Path, width: int, height: int, num_frames: int = 30, fps: int = 24) -> Path:
    picture = world(width + num_frames, height)
    write_video(path, [np.ascontiguousarray(picture[:, t : t + width]) for t in range(num_frames)], fps)
    return path


def tagged(path: Path, *, colour_range: str, matrix: str, pixel_format: str = "yuv420p") -> Path:
    """Ten frames of three flat colours whose file says how they are meant."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :42], image[:, 42:84], image[:, 84:] = (200, 40, 40), (40, 180, 60), (60, 70, 220)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "8", "color_range": colour_range, "colorspace": matrix})
        stream.width, stream.height, stream.pix_fmt = 128, 96, pixel_format
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=pixel_format, dst_colorspace=Colorspace.ITU709 if matrix == "bt709" else Colorspace.ITU601,
                dst_color_range=ColorRange.JPEG if colour_range == "pc" else ColorRange.MPEG,
            )
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other).mean())


@pytest.mark.parametrize("size", [(1920, 1080), (640, 272), (96, 128), (100, 60)])
def test_sizes_show_the_decoded_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    path = film(tmp_path / "film.mp4", *size, num_frames=14)
    for level, whole in zip(pyramid(path), frames(path), strict=True):
        assert (level.index, level.time_s) == (whole.index, whole.time_s)
        assert difference(level.small, cv2.resize(whole.image, SMALL, interpolation=cv2.INTER_AREA)) < 4.5
        if level.picture is not None:
            wanted = picture_size(*size)
            assert level.picture.shape == (wanted[1], wanted[0], 3)
            assert difference(level.picture, cv2.resize(whole.image, wanted, interpolation=cv2.INTER_AREA)) < 4.5
        if level.still is not None:
            height, width = level.still.large.shape
            assert min(height, width) < LARGE_SHORT
            assert (width, height) in ((size[0], size[1]), (size[0] // 2, size[1] // 2))
            assert difference(level.still.rgb(), cv2.resize(whole.image, (width, height), interpolation=cv2.INTER_AREA)) < 4.5


def test_pictures_and_stills_come_at_their_rates(tmp_path: Path) -> None:
    levels = list(pyramid(film(tmp_path / "film.mp4", 64, 48, num_frames=49, fps=24)))
    assert [level.index for level in levels if level.picture is not None] == list(range(0, 49, 3))
    assert [level.index for level in levels if level.still is not None] == [0, 12, 24, 36, 48]
    assert [level.index for level in pyramid(tmp_path / "film.mp4", start=10, stop=20)] == list(range(10, 20))
    assert all(level.picture is None and level.still is None for level in pyramid(tmp_path / "film.mp4", small_only=True))


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("colour_range", ["tv", "pc"])
def test_colours_follow_the_files_tags(tmp_path: Path, colour_range: str, matrix: str) -> None:
    path = tagged(tmp_path / "tagged.mp4", colour_range=colour_range, matrix=matrix)
    level = next(iter(pyramid(path)))
    assert level.picture is not None
    for column, colour in ((20, (200, 40, 40)), (62, (40, 180, 60)), (110, (60, 70, 220))):
        assert level.picture[48, column].tolist() == pytest.approx(list(colour), abs=6)
    assert level.still is not None
    grey = cv2.cvtColor(level.picture, cv2.COLOR_RGB2GRAY)
    if matrix == "smpte170m":  # the same weights as OpenCV's
        assert difference(level.still.large, grey) < 3


def test_formats_without_planes_of_their_own_are_converted(tmp_path: Path) -> None:
    path = tagged(tmp_path / "ten.mp4", colour_range="tv", matrix="bt709", pixel_format="yuv422p10le")
    level = next(iter(pyramid(path)))
    assert level.picture is not None
    assert level.picture[48, 20].tolist() == pytest.approx([200, 40, 40], abs=6)


def test_rotation_is_applied(tmp_path: Path) -> None:
    path = broken_files.write(tmp_path / "rotated.mp4", np.stack([world(128, 96)] * 4), rotate=90)
    whole = next(iter(frames(path)))
    level = next(iter(pyramid(path)))
    assert level.picture is not None
    assert level.still is not None
    assert level.picture.shape == whole.image.shape
    assert difference(level.picture, whole.image) < 4.5
    assert level.still.large.shape == whole.image.shape[:2]


def test_the_native_middle_is_not_scaled(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 1280, 720, num_frames=2)
    still = next(iter(pyramid(path))).still
    whole = cv2.cvtColor(next(iter(frames(path))).image, cv2.COLOR_RGB2GRAY)
    assert still is not None
    assert still.native.shape == (NATIVE, NATIVE)
    there = whole[96 : 96 + NATIVE, 384 : 384 + NATIVE]  # 104 and 384, moved up to the 16-pixel grid
    assert np.corrcoef(still.native.ravel(), there.ravel())[0, 1] > 0.98
    assert np.corrcoef(still.native.ravel(), whole[:NATIVE, 384 : 384 + NATIVE].ravel())[0, 1] < 0.95


def test_an_image_has_all_sizes(tmp_path: Path) -> None:
    image = world(300, 200)
    assert cv2.imwrite(str(tmp_path / "still.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    level, = pyramid(tmp_path / "still.png")
    assert level.picture is not None
    assert level.still is not None
    assert level.picture.shape == (200, 300, 3)
    assert difference(level.picture, image) == 0
    assert difference(level.still.rgb(), image) < 3


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    for name in ("broken.mp4", "gone.mp4"):
        with pytest.raises(DecodeError):
            next(pyramid(tmp_path / name))


def test_a_banner_stays_small() -> None:
    assert [picture_size(*size) for size in ((1920, 1080), (1080, 1920), (128, 128), (4000, 400), (5000, 1))] == [
        (455, 256), (256, 455), (128, 128), (768, 77), (768, 1)
    ]  # fmt: skip
    assert isinstance(from_rgb(world(40, 30)), Levels)


@pytest.mark.parametrize("shape", [(135, 240), (5, 5), (240, 135)])
def test_three_fifths_is_the_exact_average(shape: tuple[int, int]) -> None:
    planes = list(np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8))
    expected = [cv2.resize(plane, (shape[1] // 5 * 3, shape[0] // 5 * 3), interpolation=cv2.INTER_AREA) for plane in planes]
    assert all(np.array_equal(found, mean) for found, mean in zip(three_fifths(planes), expected, strict=True))
