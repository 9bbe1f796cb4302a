"""Pans and zooms over a still picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.observe import measure
from skyreels_platform.curation.signals.still_pan import StillPan
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe


def _shot(bench, images: list[np.ndarray], fps: int = 16):
    return bench.measured(images, fps, kinds=[StillPan])[0]["still_pan"]


def _slid(bench, pan: float, zoom: float, count: int = 32) -> list[np.ndarray]:
    """A still that slides to the left and grows, by as much per frame."""
    still = bench.rgb(bench.noise(270, 960, 3.0, seed=4))
    views = [np.array([[zoom**k, 0, -pan * k + (1 - zoom**k) * 240], [0, zoom**k, (1 - zoom**k) * 135]]) for k in range(count)]
    return [cv2.warpAffine(still, view, (480, 270), flags=cv2.INTER_CUBIC) for view in views]


@pytest.mark.parametrize(("pan", "zoom"), [(3.0, 1.0), (0.5, 1.0), (0.0, 1.006), (1.5, 1.003)])
def test_a_camera_over_a_still_explains_everything(bench, pan: float, zoom: float):
    assert _shot(bench, _slid(bench, pan, zoom)).value > 0.8


def test_one_subject_on_its_own_way_is_footage(bench):
    frames = _slid(bench, 2.0, 1.0)
    for index, frame in enumerate(frames):
        cv2.circle(frame, (60 + 8 * index, 140), 55, (200, 60, 60), -1, cv2.LINE_AA)
    assert _shot(bench, frames).value < 0.3


def test_a_foreground_that_passes_faster_is_footage(bench):
    far, near = _slid(bench, 2.0, 1.0), _slid(bench, 5.0, 1.0)
    for frame, front in zip(far, near, strict=True):
        frame[180:] = front[180:]
    assert _shot(bench, far).value < 0.3


def test_a_camera_at_rest_pans_over_nothing(bench):
    assert _shot(bench, [bench.rgb(bench.noise(270, 480, 3.0))] * 32).value == 0


def test_a_picture_without_texture_cannot_say(bench):
    frames = [bench.disc(270, 0.3 + 0.01 * k, 0.5, 0.1, (200, 40, 40), (128, 128, 128)) for k in range(24)]
    score = _shot(bench, frames)
    assert score.outcome == "unknown"
    assert "camera" in score.reason


def test_letterbox_bars_do_not_hide_it_after_a_codec(bench, tmp_path: Path):
    frames = [np.ascontiguousarray(frame) for frame in _slid(bench, 2.0, 1.003)]
    for frame in frames:
        frame[:34], frame[-34:] = 0, 0
    write_video(tmp_path / "still.mp4", frames, 16, crf=26, preset="veryfast")
    ((scores, _),) = measure(tmp_path / "still.mp4", probe(tmp_path / "still.mp4"), [bench.span(0, 32, 16)], kinds=[StillPan])
    assert scores[0].value is not None
    assert scores[0].value > 0.7


@pytest.mark.parametrize(
    ("name", "start", "stop"), [("mdn_crystal.mp4", 0, 90), ("tc_nasa_13013.mp4", 202, 325), ("mango_sintel.mp4", 319, 400)]
)
def test_cameras_that_move_through_real_scenes(bench, footage: Path, name: str, start: int, stop: int):
    path = footage / "videos" / name
    ((scores, _),) = measure(path, probe(path), [bench.span(start, stop)], kinds=[StillPan])
    assert scores[0].value is not None
    assert scores[0].value < 0.3
