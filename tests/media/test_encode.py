from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from skyreels_platform.errors import SourceError
from skyreels_platform.media.decode import frames
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe
from tests.media.broken_files import number_frames, read_number


def test_frames_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "film.mp4"
    write_video(path, number_frames(30), Fraction(24000, 1001))
    found = probe(path)
    assert (found.codec, found.pixel_format, found.width, found.height, found.num_frames) == ("h264", "yuv420p", 128, 32, 30)
    assert Fraction(found.fps_num, found.fps_den) == Fraction(24000, 1001)
    assert [read_number(frame.image) for frame in frames(path)] == list(range(30))


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (255, 255, 255), (0, 0, 0)])
def test_colours_come_back(colour: tuple[int, int, int], tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", np.full((3, 48, 64, 3), colour, np.uint8), 24)
    for frame in frames(tmp_path / "film.mp4"):
        assert np.abs(frame.image.astype(int) - colour).max() <= 3


def test_a_lone_frame_and_odd_sizes(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (33, 51, 3), dtype=np.uint8)
    image[:] = image.mean((0, 1), keepdims=True)
    write_video(tmp_path / "film.mp4", iter([image]), 16)
    (frame,) = frames(tmp_path / "film.mp4")
    assert frame.image.shape == (34, 52, 3)
    assert np.abs(frame.image[-1, -1].astype(int) - image[0, 0]).max() <= 3, "padding repeats the edge"


def test_the_index_comes_first_and_metadata_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_video(path, number_frames(5), 24, metadata={"checkpoint": "ckpt_00ff", "title": "two words", "seed": "7"})
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        assert {key: container.metadata[key] for key in ("checkpoint", "title", "seed")} == {
            "checkpoint": "ckpt_00ff", "title": "two words", "seed": "7",
        }  # fmt: skip


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, number_frames(20), 24)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_crf_trades_size_for_quality(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    sizes = []
    for crf in (10, 40):
        write_video(tmp_path / "film.mp4", noise, 24, crf=crf)
        sizes.append((tmp_path / "film.mp4").stat().st_size)
    assert sizes[0] > 3 * sizes[1]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the film before")

    def interrupted():
        yield from number_frames(5)
        raise RuntimeError("the sampler died")

    with pytest.raises(RuntimeError, match="sampler died"):
        write_video(path, interrupted(), 24)
    assert path.read_bytes() == b"the film before"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_shows_under_the_name_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"

    def watched():
        for image in number_frames(60):
            assert not path.exists()
            yield image

    write_video(path, watched(), 24)
    assert path.exists()


@pytest.mark.parametrize(("images", "reason"), [
    ([], "no frames"), (np.zeros((2, 8, 8, 3), np.float32), "float32"), (np.zeros((2, 8, 8), np.uint8), r"\(8, 8\)"),
    ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], "frame 1"),
])  # fmt: skip
def test_wrong_frames_are_refused(images: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=reason):
        write_video(tmp_path / "film.mp4", images, 24)
    assert list(tmp_path.iterdir()) == []
