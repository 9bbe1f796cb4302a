from typing import Any

import cv2
import numpy as np
import pytest

from skyreels_platform.captioning.camera import measure_camera
from tests.captioning.drawing import camera_film, film, texture

MOTIONS = [
    ({}, "", "still"),
    ({"pan": 0.03}, "the camera pans right slowly", "slow"),
    ({"pan": -0.1}, "the camera pans left", "medium"),
    ({"pan": 0.4}, "the camera pans right quickly", "fast"),
    ({"tilt": 0.1}, "the camera tilts up", "medium"),
    ({"tilt": -0.3}, "the camera tilts down quickly", "fast"),
    ({"zoom": 0.1}, "the camera zooms in", "medium"),
    ({"zoom": -0.03}, "the camera zooms out slowly", "slow"),
    ({"roll": 0.1}, "the camera rolls clockwise", "medium"),
    ({"roll": -0.06}, "the camera rolls anticlockwise", "medium"),
    ({"pan": 0.12, "tilt": -0.08}, "the camera pans right and tilts down", "medium"),
    ({"zoom": 0.1, "pan": -0.06}, "the camera zooms in and pans left", "medium"),
]


@pytest.mark.parametrize(("motion", "sentence", "speed"), MOTIONS, ids=lambda value: str(value))
@pytest.mark.parametrize("seed", [1, 2])
def test_measures_the_camera_beside_a_moving_subject(motion: dict[str, Any], sentence: str, speed: str, seed: int) -> None:
    finding = measure_camera(camera_film(texture(seed), **motion), 16.0)
    assert (finding.known, finding.sentence, finding.speed) == (True, sentence, speed)
    for axis in ("pan", "tilt", "zoom", "roll"):
        assert getattr(finding, axis) == pytest.approx(motion.get(axis, 0.0), abs=0.006)
    assert finding.confidence > 0.8


@pytest.mark.parametrize("speed", [0.035, 0.07, 0.15, 0.26])
def test_speeds_are_per_second_whatever_the_frame_rate(speed: float) -> None:
    world = texture(5)
    for fps in (8.0, 24.0, 60.0):
        finding = measure_camera(camera_film(world, pan=speed, fps=fps, num_frames=int(2 * fps)), fps)
        assert finding.pan == pytest.approx(speed, abs=0.006)


def test_a_hand_shakes() -> None:
    finding = measure_camera(camera_film(texture(3), shake=0.004), 16.0)
    assert (finding.sentence, finding.moves) == ("the camera is handheld", ("handheld",))


def test_there_and_back_is_not_static() -> None:
    frames = camera_film(texture(4), pan=0.15, num_frames=24)
    finding = measure_camera(np.concatenate([frames, frames[::-1]]), 16.0)
    assert finding.moves[0] == "back and forth" or "handheld" in finding.moves
    assert finding.speed != "still"


def test_a_fade_and_letterbox_bars_are_no_motion() -> None:
    frames = camera_film(texture(6), pan=0.1, num_frames=32, subject=False)
    gain = np.linspace(0.3, 1.0, len(frames))[:, None, None, None]
    frames = (frames * gain).astype(np.uint8)
    frames[:, :14] = frames[:, -14:] = 0
    finding = measure_camera(frames, 16.0)
    assert finding.sentence == "the camera pans right"
    assert finding.pan == pytest.approx(0.1, abs=0.01)


def blurred_noise() -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([cv2.GaussianBlur(generator.integers(0, 255, (96, 128, 3), dtype=np.uint8), (0, 0), 2.0) for _ in range(24)])


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        pytest.param(np.full((24, 96, 128, 3), 90, np.uint8), "texture", id="flat"),
        pytest.param(np.zeros((24, 96, 128, 3), np.uint8), "texture", id="black"),
        pytest.param(film("circle", "red", start=(0.2, 0.5), step=(0.02, 0.0), num_frames=24), "texture", id="plain wall"),
        pytest.param(film("square", "red", step=(0.02, 0.0), size=0.4, background=0), "texture", id="subject in a void"),
        pytest.param(blurred_noise(), "texture", id="noise, new in every frame"),
        pytest.param(np.full((1, 96, 128, 3), 90, np.uint8), "single picture", id="one picture"),
    ],
)
def test_says_unknown_where_nothing_tells(frames: np.ndarray, reason: str) -> None:
    finding = measure_camera(frames, 16.0)
    assert (finding.known, finding.sentence, finding.moves, finding.confidence) == (False, "", (), 0.0)
    assert reason in finding.reason


def test_refuses_a_rate_of_zero() -> None:
    with pytest.raises(ValueError, match=r"fps is 0.*above 0"):
        measure_camera(np.zeros((4, 8, 8, 3), np.uint8), 0)
