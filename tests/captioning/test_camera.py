from typing import Any

import cv2
import numpy as np
import pytest

from skyreels_platform.captioning.camera import measure_camera
from skyreels_platform.media.sample_world import Leg, SampleWorld
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


def test_there_and_back_are_two_legs() -> None:
    frames = camera_film(texture(4), pan=0.15, num_frames=24)
    finding = measure_camera(np.concatenate([frames, frames[::-1]]), 16.0)
    assert (finding.sentence, finding.speed) == ("the camera pans right, then pans left", "medium")


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


def test_motions_one_after_another_are_legs_in_order() -> None:
    world = SampleWorld(
        [Leg(duration_s=1.5, rates={"yaw": 0.15}), Leg(duration_s=1.5, rates={}), Leg(duration_s=1.5, rates={"z": 0.12})], seed=4, fps=12
    )
    finding = measure_camera(world.frames(), world.fps)
    assert finding.sentence == "the camera pans right, then dollies in"
    assert [leg.moves for leg in finding.legs] == [("pans right",), (), ("dollies in",)]
    assert [leg.start_s for leg in finding.legs] == pytest.approx([0.0, 1.5, 3.0], abs=0.6)  # pairs of frames lie 0.28 s apart
    assert finding.legs[-1].end_s == pytest.approx(4.5)


def test_travelling_and_turning_are_told_apart_by_parallax_alone() -> None:
    truck, pan = (
        measure_camera(SampleWorld([Leg(duration_s=2, rates={axis: 0.12})], seed=8, has_depth=has_depth).frames(), 16.0)
        for axis, has_depth in (("x", True), ("yaw", True))
    )  # fmt: skip
    assert (truck.moves, pan.moves) == (("trucks right",), ("pans right",))
    flat = measure_camera(SampleWorld([Leg(duration_s=2, rates={"z": 0.12})], seed=8, has_depth=False).frames(), 16.0)
    assert flat.moves == ("zooms in",)


def test_a_subject_that_stays_in_the_picture_while_the_world_passes_is_tracked() -> None:
    frames = camera_film(texture(5), pan=0.2, num_frames=40, subject=False)
    height, width = frames.shape[1:3]
    patch = texture(9)[: height // 3, : width // 4]
    tracked = frames.copy()
    tracked[:, height // 3 : height // 3 + len(patch), width // 3 : width // 3 + patch.shape[1]] = patch
    assert (measure_camera(frames, 16.0).kind, measure_camera(tracked, 16.0).kind) == ("steady", "tracking")
    assert measure_camera(tracked, 16.0).sentence == "the camera pans right following the subject"


def test_a_whip_pan_is_abrupt() -> None:
    world = SampleWorld(
        [Leg(duration_s=1, rates={"yaw": 0.03}), Leg(duration_s=0.5, rates={"yaw": 0.9}), Leg(duration_s=1, rates={"yaw": 0.03})],
        seed=6, fps=24,
    )  # fmt: skip
    finding = measure_camera(world.frames(), world.fps)
    assert (finding.kind, finding.speed) == ("abrupt", "fast")


def test_a_class_is_six_ternary_digits_and_a_speed() -> None:
    still = measure_camera(SampleWorld([Leg(duration_s=1, rates={})], seed=1).frames(), 16.0)
    assert (still.kind, still.sentence, [leg.class_index for leg in still.legs]) == ("static", "", [3 * (3**6 // 2)])
    fast = measure_camera(SampleWorld([Leg(duration_s=1, rates={"yaw": 0.3})], seed=1).frames(), 16.0)
    assert [leg.class_index for leg in fast.legs] == [3 * (3**6 // 2 + 1) + 2]
    assert fast.remark == "steady; class 1097 from 0.0 to 1.0 s"
