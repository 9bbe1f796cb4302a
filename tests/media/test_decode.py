import gc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from skyreels_platform.errors import DecodeError
from skyreels_platform.media import decode
from skyreels_platform.media.decode import clip, frames
from skyreels_platform.media.probe import probe
from skyreels_platform.media.timeline import Timeline
from tests.media import broken_files
from tests.media.broken_files import number_frames, read_number

SIZE = broken_files.NUMBER_SIZE


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 numbered frames at 24 fps with B-frames, a B-pyramid and open groups of 12 pictures."""
    path = broken_files.b_frame_film(tmp_path_factory.mktemp("film") / "film.mp4")
    with av.open(str(path)) as container:
        kinds = [frame.pict_type for frame in container.decode(video=0)]
    assert kinds.count(PictureType.B) > 50, "the film must have B-frames to prove anything"
    return path


def numbers(path: Path, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    return [(frame.index, read_number(frame.image)) for frame in frames(path, start=start, stop=stop)]


def test_frames_come_in_display_order(film: Path) -> None:
    assert numbers(film) == [(n, n) for n in range(100)]


def test_times_come_from_timestamps(film: Path) -> None:
    times = [frame.time_s for frame in frames(film)]
    assert times == pytest.approx([n / 24 for n in range(100)])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_indices_stay_exact_after_a_seek(suffix: str, tmp_path: Path) -> None:
    path = broken_files.b_frame_film(tmp_path / f"film{suffix}")
    for start in [0, 1, 11, 12, 13, 23, 47, 50, 71, 85, 99]:
        assert numbers(path, start=start, stop=start + 3) == [(n, n) for n in range(start, min(start + 3, 100))], start


def test_a_seek_that_lands_too_late_is_made_good(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def later_keyframe(timeline: Timeline, index: int) -> int:
        return int(timeline.keyframes[timeline.keyframes > (index + 1) * 512][0])  # 512 units of 1/12288 s are one frame

    monkeypatch.setattr(Timeline, "keyframe_before", later_keyframe)
    assert numbers(film, start=50, stop=53) == [(50, 50), (51, 51), (52, 52)]


def test_a_raw_stream_without_timestamps_is_counted(tmp_path: Path) -> None:
    path = broken_files.write(tmp_path / "film.m4v", number_frames(40), codec="mpeg4", file_format="m4v")
    assert probe(path).num_frames == 40
    assert numbers(path, start=30) == [(n, n) for n in range(30, 40)]


def test_ranges_outside_the_film_are_empty(film: Path) -> None:
    assert numbers(film, start=98, stop=500) == [(98, 98), (99, 99)]
    assert numbers(film, start=100) == numbers(film, start=5, stop=5) == numbers(film, stop=0) == []


@pytest.mark.parametrize("counter_clockwise", [90, 180, 270])
def test_rotation_is_applied(counter_clockwise: int, tmp_path: Path) -> None:
    images = number_frames(4, 128, 64)
    images[:, :16, :16] = (255, 0, 0)  # a red corner, top left as stored
    path = broken_files.write(tmp_path / "film.mp4", images, rotate=counter_clockwise)
    expected = np.rot90(images[0], counter_clockwise // 90)
    found = next(frames(path)).image
    assert found.shape == expected.shape == (probe(path).height, probe(path).width, 3)
    assert np.abs(found.astype(int) - expected).mean() < 8
    small = next(frames(path, size=(expected.shape[1] // 2, expected.shape[0] // 2))).image
    assert np.abs(small.astype(int) - expected[::2, ::2]).mean() < 16
    assert found.flags.c_contiguous


def test_odd_sizes_and_lossless_colours(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 77, 131, 3), dtype=np.uint8)
    path = broken_files.write(tmp_path / "film.mkv", images, codec="ffv1", pixel_format="bgr0")
    assert np.array_equal(np.stack([frame.image for frame in frames(path)]), images)


def test_av1_decodes(tmp_path: Path) -> None:
    path = broken_files.write(tmp_path / "film.mp4", number_frames(10), codec="libsvtav1", options={"preset": "12"})
    assert numbers(path) == [(n, n) for n in range(10)]


def test_frames_do_not_share_memory(film: Path) -> None:
    first, second = [frame.image for frame in frames(film, stop=2)]
    first[:] = 0
    assert read_number(second) == 1


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    images = np.broadcast_to(np.zeros((1, 360, 640, 3), np.uint8), (400, 360, 640, 3))  # 276 MB if it were kept
    path = broken_files.write(tmp_path / "film.mp4", images, options={"preset": "ultrafast"})
    for position, _ in enumerate(frames(path)):
        if position == 50:
            gc.collect()
            before = _resident_bytes()
    assert _resident_bytes() - before < 60e6


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def test_an_abandoned_iterator_closes_its_file(film: Path) -> None:
    iterator = frames(film)
    next(iterator)
    iterator.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.resolve() == film.resolve()]


@pytest.mark.parametrize(("mode", "left", "right"), [
    ("RGB", (255, 0, 0), (0, 0, 255)), ("L", (76, 76, 76), (29, 29, 29)), ("P", (255, 0, 0), (0, 0, 255)),
    ("RGBA", (255, 0, 0), (255, 255, 255)), ("I;16", (0, 0, 0), (255, 255, 255)),
])  # fmt: skip
def test_stills_of_every_mode_become_rgb(mode: str, left: tuple[int, ...], right: tuple[int, ...], tmp_path: Path) -> None:
    (frame,) = frames(broken_files.still(tmp_path / "still.png", mode))
    assert (frame.index, frame.time_s, frame.image.shape, frame.image.dtype) == (0, 0.0, (40, 60, 3), np.uint8)
    assert tuple(frame.image[5, 0]) == left
    assert tuple(frame.image[5, -1]) == right


def test_a_still_can_be_cut_and_scaled(tmp_path: Path) -> None:
    path = broken_files.still(tmp_path / "still.png")
    half = clip(path, start_frame=0, end_frame=1, crop=(30, 0, 30, 40), size=(10, 12), fps=24)
    assert half.shape == (1, 12, 10, 3)
    assert (half == (0, 0, 255)).all()


def test_a_damaged_picture_keeps_its_place(tmp_path: Path) -> None:
    path = broken_files.damaged_frames(tmp_path / "film.mp4", [0, 40, 41])
    found = [(frame.index, read_number(frame.image), frame.damaged) for frame in frames(path)]
    stand_ins = {0: 1, 40: 39, 41: 39}
    assert found == [(n, stand_ins.get(n, n), n in stand_ins) for n in range(100)]
    with pytest.raises(DecodeError, match=r"frame 40 .* is damaged"):
        clip(path, start_frame=30, end_frame=50, size=SIZE)
    assert read_number(clip(path, start_frame=42, end_frame=44, size=SIZE)[0]) == 42


def test_too_much_damage_is_an_error(tmp_path: Path) -> None:
    path = broken_files.damaged_frames(tmp_path / "film.mp4", range(60, 70))
    with pytest.raises(DecodeError, match="are damaged"):
        list(frames(path))
    assert [frame.index for frame in frames(path, stop=60)] == list(range(60))


def clip_numbers(path: Path, **options: object) -> list[int]:
    return [read_number(image) for image in clip(path, size=SIZE, **options)]  # pyright: ignore[reportArgumentType]


def test_a_clip_holds_its_span(film: Path) -> None:
    assert clip_numbers(film, start_frame=37, end_frame=60) == list(range(37, 60))


def test_a_clip_takes_the_nearest_picture_in_time(film: Path) -> None:
    # 24 -> 16 fps: targets at 0, 1.5, 3, 4.5 ... source pictures; a tie goes to the earlier one.
    assert clip_numbers(film, start_frame=24, end_frame=36, fps=16) == [24, 25, 27, 28, 30, 31, 33, 34]
    assert clip_numbers(film, start_frame=24, end_frame=30, fps=24) == list(range(24, 30))
    assert clip_numbers(film, start_frame=24, end_frame=27, fps=48) == [24, 24, 25, 25, 26, 26]
    assert clip_numbers(film, start_frame=24, end_frame=48, fps=16, num_frames=5) == [24, 25, 27, 28, 30]


def test_a_clip_of_a_variable_rate_follows_time(tmp_path: Path) -> None:
    times = [0, 10, 20, 30, 500, 1000, 1010, 1500, 1990, 2000]
    path = broken_files.write(tmp_path / "film.mkv", number_frames(10), fps=25, times=times)
    assert [round(frame.time_s * 1000) for frame in frames(path)] == times
    assert clip_numbers(path, start_frame=0, end_frame=9, fps=2) == [0, 4, 5, 7]


def test_container_rounding_loses_no_picture(tmp_path: Path) -> None:
    path = broken_files.write(tmp_path / "film.mkv", number_frames(90), fps=Fraction(30000, 1001))
    for start in range(0, 80, 7):
        for length in (1, 2, 7):
            wanted = list(range(start, start + length))
            assert clip_numbers(path, start_frame=start, end_frame=start + length, fps=Fraction(30000, 1001)) == wanted


def test_a_count_without_a_rate_spreads_evenly(film: Path) -> None:
    assert clip_numbers(film, start_frame=10, end_frame=31, num_frames=5) == [10, 15, 20, 25, 30]
    assert clip_numbers(film, start_frame=10, end_frame=31, num_frames=1) == [10]


def test_a_clip_is_cropped_before_it_is_scaled(film: Path) -> None:
    whole = clip(film, start_frame=20, end_frame=21, size=SIZE)[0]
    part = clip(film, start_frame=20, end_frame=21, crop=(64, 16, 64, 16), size=(32, 8))[0]
    assert part.shape == (8, 32, 3)
    assert np.abs(part[::4, 4::8].astype(int) - whole[16::8, 72::16]).max() < 30


def test_a_clip_decodes_only_what_it_needs(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = decode._decode_from
    monkeypatch.setattr(decode, "_decode_from", lambda *args: (decoded.append(item[0]) or item for item in original(*args)))
    clip(film, start_frame=50, end_frame=53, size=SIZE)
    assert max(decoded) <= 53
    assert min(decoded) >= 50 - 24  # one group of pictures, or two where the demuxer lands one earlier


@pytest.mark.parametrize("options", [
    {"start_frame": 0, "end_frame": 101}, {"start_frame": -1, "end_frame": 5}, {"start_frame": 5, "end_frame": 5},
    {"start_frame": 0, "end_frame": 12, "fps": 16, "num_frames": 9}, {"start_frame": 0, "end_frame": 3, "num_frames": 4},
    {"start_frame": 0, "end_frame": 2, "crop": (100, 0, 64, 16)},
])  # fmt: skip
def test_impossible_clips_are_refused(film: Path, options: dict[str, object]) -> None:
    with pytest.raises(DecodeError, match="choose"):
        clip(film, size=SIZE, **options)  # pyright: ignore[reportArgumentType]


def test_broken_files_raise_our_error(tmp_path: Path) -> None:
    for path in (broken_files.empty(tmp_path / "a.mp4"), broken_files.text(tmp_path / "b.mp4"), tmp_path / "missing.mp4"):
        with pytest.raises(DecodeError):
            next(frames(path))


def test_real_footage_decodes_to_the_probed_count(footage: Path) -> None:
    for name in ("vdf_cat.1.mp4", "vdf_cat.2.mp4", "vdf_cat.3.webm", "intel_asl_book.mkv", "tc_nasa_13013.mp4"):
        path = footage / "videos" / name
        found = [(frame.index, frame.damaged) for frame in frames(path, size=(32, 18))]
        assert found == [(n, False) for n in range(probe(path).num_frames)], name


def test_real_footage_seeks_exactly(footage: Path) -> None:
    for name in ("vdf_cat.2.mp4", "vdf_cat.3.webm", "jet_sintel.mp4", "mdn_elf.mp4", "flux_sintel.webm"):
        path = footage / "videos" / name
        end = min(probe(path).num_frames, 200)
        whole = np.stack([frame.image for frame in frames(path, size=(64, 36), stop=end)])
        for start in (end // 3, end // 2, end - 7):
            part = clip(path, start_frame=start, end_frame=start + 5, size=(64, 36))
            assert np.array_equal(part, whole[start : start + 5]), (name, start)
