import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyreels_platform.errors import DecodeError
from skyreels_platform.media.probe import probe
from skyreels_platform.media.timeline import is_variable, rate
from tests.media import broken_files

REFUSED = {
    "missing": (lambda path: path / "none.mp4", "no such file"),
    "empty": (lambda path: broken_files.empty(path / "a.mp4"), "file is empty"),
    "text": (lambda path: broken_files.text(path / "a.mp4"), "not a video or an image"),
    "text as text": (lambda path: broken_files.text(path / "a.txt"), "not a video or an image"),
    "audio mp4": (lambda path: broken_files.audio_only(path / "a.mp4"), "audio only"),
    "audio m4a": (lambda path: broken_files.audio_only(path / "a.m4a"), "audio only"),
    "audio with cover": (lambda path: broken_files.audio_only(path / "a.mp3", cover=True), "audio only"),
    "no packets mkv": (lambda path: broken_files.no_packets(path / "a.mkv"), "zero length"),
    "no packets avi": (lambda path: broken_files.no_packets(path / "a.avi"), "zero length"),
    "index cut off": (lambda path: broken_files.cut_index(path / "a.mp4"), "truncated: its index"),
    "mp4 cut": (lambda path: broken_files.cut_data(path / "a.mp4"), "truncated: it declares 4.00 s and holds"),
    "mkv cut": (lambda path: broken_files.cut_data(path / "a.mkv"), "truncated: it declares 4.00 s and holds"),
    "mkv cut late": (lambda path: broken_files.cut_data(path / "a.mkv", 0.8), "truncated: it declares 4.00 s and holds"),
    "avi cut": (lambda path: broken_files.cut_data(path / "a.avi"), "truncated: it declares 4.00 s and holds"),
    "noise": (lambda path: broken_files.undecodable(path / "a.mp4"), "no decodable picture"),
    "jpeg cut": (lambda path: broken_files.corrupt_jpeg(path / "a.jpg"), "image is damaged or cut short"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_a_plain_reason(name: str, tmp_path: Path) -> None:
    make, reason = REFUSED[name]
    path = make(tmp_path)
    with pytest.raises(DecodeError, match=reason) as caught:
        probe(path)
    assert str(path) in str(caught.value)


def test_measures_a_plain_film(tmp_path: Path) -> None:
    film = broken_files.b_frame_film(tmp_path / "film.mp4", count=50)
    found = probe(film)
    assert (found.media, found.codec, found.pixel_format) == ("video", "h264", "yuv420p")
    assert (found.width, found.height, found.rotation) == (128, 32, 0)
    assert (found.fps_num, found.fps_den, found.is_vfr) == (24, 1, False)
    assert (found.num_frames, found.has_audio) == (50, False)
    assert found.duration_s == pytest.approx(50 / 24)
    assert found.bitrate == pytest.approx(film.stat().st_size * 8 / (50 / 24), rel=0.05)


@pytest.mark.parametrize(
    ("fps", "suffix"), [(Fraction(30000, 1001), ".mp4"), (Fraction(24000, 1001), ".mkv"), (Fraction(25, 2), ".avi")]
)
def test_rate_is_exact(fps: Fraction, suffix: str, tmp_path: Path) -> None:
    film = broken_files.write(tmp_path / f"film{suffix}", broken_files.number_frames(60), fps=fps)
    found = probe(film)
    assert (Fraction(found.fps_num, found.fps_den), found.is_vfr, found.num_frames) == (fps, False, 60)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_rate_is_measured(suffix: str, tmp_path: Path) -> None:
    times = np.cumsum([0] + [20, 60] * 20).tolist()  # mean interval 40 ms
    film = broken_files.write(tmp_path / f"film{suffix}", broken_files.number_frames(41), fps=25, times=times)
    found = probe(film)
    assert found.is_vfr
    assert (found.fps_num, found.fps_den, found.num_frames) == (25, 1, 41)
    assert found.duration_s == pytest.approx(1.62, abs=0.05)


def test_a_dropped_picture_is_no_variable_rate_and_a_pause_is() -> None:
    steady = np.full(200, 0.04)
    dropped, paused = steady.copy(), steady.copy()
    dropped[70], paused[70] = 0.08, 4.0
    assert [is_variable(intervals) for intervals in (steady, dropped, paused)] == [False, False, True]
    rounded = np.diff(np.round(np.arange(200) * 1000 / 60)) / 1000  # 60 fps in a container of milliseconds
    assert not is_variable(rounded)


def test_a_declared_rate_counts_only_when_it_is_true() -> None:
    steady = np.full(100, 1 / 25)
    assert rate(steady, False, [Fraction(50), Fraction(25)]) == 25  # a field rate loses
    assert rate(steady, False, [Fraction(25), Fraction(28125, 1124)]) == 25  # an average bent by an edit list loses
    assert rate(np.full(100, 1001 / 30000), False, [Fraction(30000, 1001)]) == Fraction(30000, 1001)
    assert rate(steady, False, []) == 25
    assert rate(np.array([0.02, 0.06]), True, [Fraction(50)]) == 25


@pytest.mark.parametrize(
    ("counter_clockwise", "clockwise", "size"), [(90, 270, (32, 128)), (180, 180, (128, 32)), (270, 90, (32, 128))]
)
def test_size_is_the_displayed_one(counter_clockwise: int, clockwise: int, size: tuple[int, int], tmp_path: Path) -> None:
    film = broken_files.write(tmp_path / "film.mp4", broken_files.number_frames(5), rotate=counter_clockwise)
    found = probe(film)
    assert (found.rotation, (found.width, found.height)) == (clockwise, size)


def test_pixels_are_made_square(tmp_path: Path) -> None:
    film = broken_files.write(tmp_path / "film.mp4", broken_files.number_frames(5, 96, 64), aspect=Fraction(4, 3))
    assert (probe(film).width, probe(film).height) == (128, 64)


@pytest.mark.parametrize(("codec", "pixel_format"), [("mpeg4", "yuv420p"), ("ffv1", "bgr0")])
def test_odd_sizes(codec: str, pixel_format: str, tmp_path: Path) -> None:
    film = broken_files.write(
        tmp_path / "film.mkv", broken_files.number_frames(5, 131, 77), codec=codec, pixel_format=pixel_format
    )
    found = probe(film)
    assert (found.width, found.height, found.num_frames, found.codec) == (131, 77, 5, codec)


def test_av1(tmp_path: Path) -> None:
    film = broken_files.write(tmp_path / "film.mp4", broken_files.number_frames(12), codec="libsvtav1", options={"preset": "12"})
    assert (probe(film).codec, probe(film).num_frames) == ("av1", 12)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_a_still_is_a_source_of_one_frame(suffix: str, tmp_path: Path) -> None:
    found = probe(broken_files.still(tmp_path / f"still.{suffix}"))
    assert (found.media, found.width, found.height, found.num_frames, found.duration_s) == ("image", 60, 40, 1, 0.0)
    assert found.codec == {"jpg": "jpeg"}.get(suffix, suffix)


def test_an_image_is_told_by_content(tmp_path: Path) -> None:
    assert probe(broken_files.still(tmp_path / "a.png").rename(tmp_path / "a.mp4")).media == "image"


def test_exif_orientation(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    assert (probe(path).rotation, probe(path).width, probe(path).height) == (90, 40, 60)


def test_an_animated_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    with pytest.raises(DecodeError, match="animated PNG"):
        probe(path)


def test_a_changed_file_is_probed_anew(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    broken_files.write(path, broken_files.number_frames(5))
    assert probe(path).num_frames == 5
    broken_files.write(path, broken_files.number_frames(9))
    assert probe(path).num_frames == 9


def test_real_footage_agrees_with_its_manifest(footage: Path) -> None:
    manifest = json.loads((footage / "manifest.json").read_text(encoding="utf-8"))
    # Its container's average rate (28125/1124) counts one picture that an edit list hides; the pictures are 1/25 s apart.
    rates = {"videos/vdf_cat.2.mp4": 25.0}
    for entry in manifest:
        found = probe(footage / entry["file"])
        assert found.fps_num / found.fps_den == pytest.approx(rates.get(entry["file"], entry["fps"]), abs=5e-4), entry["file"]
        assert found.duration_s == pytest.approx(entry["duration_s"], abs=2e-3), entry["file"]
        wanted = [entry[key] for key in ("width", "height", "frames", "codec", "audio")]
        assert [found.width, found.height, found.num_frames, found.codec, found.has_audio] == wanted, entry["file"]
        assert not found.is_vfr, entry["file"]
