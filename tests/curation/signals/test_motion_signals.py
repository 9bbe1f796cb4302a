"""Motion, its split into camera and subject, and freezes, against known displacements."""

import cv2
import numpy as np
import pytest

FPS = 24


def _pan(bench, heights_per_s: tuple[float, float], num_frames: int = 13, size=(128, 192), blur: float = 2.0) -> list[np.ndarray]:
    texture = bench.noise(*size, blur)
    pixels = size[0] / FPS
    return [bench.shifted(texture, heights_per_s[0] * pixels * k, heights_per_s[1] * pixels * k) for k in range(num_frames)]


@pytest.mark.parametrize("speed", [(0.15, 0.0), (0.0, -0.3), (0.4, 0.3), (-0.9, 0.0)])
def test_motion_of_a_pan_is_its_speed(bench, speed):
    scores = bench.scores(_pan(bench, speed), FPS)
    length = float(np.hypot(*speed))
    assert scores["motion"].value == pytest.approx(length, rel=0.1)
    assert scores["camera_motion"].value == pytest.approx(length, rel=0.1)
    assert scores["subject_motion"].value < 0.1 * length


@pytest.mark.parametrize("fps", [12, 24, 60])
def test_motion_does_not_depend_on_the_frame_rate(bench, fps):
    texture = bench.noise(128, 192, 2.0)
    images = [bench.shifted(texture, 0.3 * 128 * k / fps, 0) for k in range(fps // 2)]
    assert bench.value("motion", images, fps) == pytest.approx(0.3, rel=0.1)


def test_motion_does_not_depend_on_the_size(bench):
    small = _pan(bench, (0.3, 0.0))
    large = [cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for image in small]
    assert bench.value("motion", large, FPS) == pytest.approx(bench.value("motion", small, FPS), rel=0.1)


def test_repeated_frames_do_not_hide_motion(bench):
    on_threes = [image for image in _pan(bench, (0.9, 0.0), 8) for _ in range(3)]  # a third of the speed, drawn 8 times a second
    scores = bench.scores(on_threes, FPS)
    assert scores["motion"].value == pytest.approx(0.3, rel=0.1)
    assert scores["static"].value == 0


def test_zoom_is_camera_motion(bench):
    texture = bench.noise(128, 128, 2.0)
    rate, images = 0.2, []
    for k in range(13):
        scale = 1 + rate * k / FPS
        view = np.array([[scale, 0, 63.5 * (1 - scale)], [0, scale, 63.5 * (1 - scale)]])
        images.append(cv2.warpAffine(bench.rgb(texture), view, (128, 128), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP))
    scores = bench.scores(images, FPS)
    # A point at distance r from the middle moves at rate * r; the mean distance in a unit square is 0.3826.
    assert scores["camera_motion"].value == pytest.approx(rate * 0.3826, rel=0.12)
    assert scores["subject_motion"].value < 0.2 * scores["camera_motion"].value


def test_subject_before_still_texture(bench):
    ground = bench.rgb(bench.noise(128, 128, 2.0))
    images = []
    for k in range(13):
        image = ground.copy()
        left = 20 + 2 * k  # 2 px per frame: 0.375 heights/s over an eighth of the frame
        patch = bench.rgb(bench.noise(64, 32, 1.5, seed=9))
        image[32:96, left:left + 32] = patch
        images.append(image)
    scores = bench.scores(images, FPS)
    assert scores["camera_motion"].value < 0.01
    assert scores["subject_motion"].value == pytest.approx(0.375 / 8, rel=0.25)


def test_subject_before_panning_texture(bench):
    grounds = _pan(bench, (-0.3, 0.0), size=(128, 128))
    patch = bench.rgb(bench.noise(40, 40, 1.5, seed=9))
    for image in grounds:
        image[44:84, 44:84] = patch  # the camera follows it
    scores = bench.scores(grounds, FPS)
    assert scores["camera_motion"].value == pytest.approx(0.3, rel=0.1)
    assert scores["subject_motion"].value == pytest.approx(0.3 * (40 / 128) ** 2, rel=0.4)


@pytest.mark.parametrize("ground", [(128, 128, 128), (92, 92, 92)])
def test_subject_before_a_plain_wall_is_not_camera_motion(bench, ground):
    """Red on a grey of the same luma (92) as well: colour alone must do."""
    images = [bench.disc(128, 0.25 + 0.02 * k, 0.5, 0.18, (215, 40, 40), ground) for k in range(13)]
    scores = bench.scores(images, FPS)
    assert scores["camera_motion"].value == 0
    assert scores["motion"].value == scores["subject_motion"].value
    assert 0.03 < scores["motion"].value < 0.48 * 0.3  # 0.48 heights/s, at most over the disc and its rim


def test_still_pictures_do_not_move(bench, textured):
    grain = np.random.default_rng(0)
    noisy = [np.clip(textured(0) + grain.normal(0, 2, (96, 128, 3)), 0, 255).astype(np.uint8) for _ in range(13)]
    assert bench.value("motion", [textured(0)] * 13, FPS) < 0.001
    assert bench.value("motion", noisy, FPS) < 0.01


@pytest.mark.parametrize(("held", "share"), [(1, 0.0), (4, 0.0), (12, 12 / 24), (24, 1.0)])
def test_static_is_the_share_of_frozen_pairs(bench, held, share):
    """24 pairs, the last `held` of them without change; fewer than 0.2 s (5 pairs) are no freeze."""
    moving = _pan(bench, (0.3, 0.0), 25 - held)
    assert bench.value("static", moving + [moving[-1]] * held, FPS) == pytest.approx(share)


def test_codec_noise_does_not_thaw_a_freeze(bench, textured):
    grain = np.random.default_rng(0)
    stirred = [np.clip(textured(0).astype(int) + grain.integers(-2, 3, (96, 128, 3)), 0, 255).astype(np.uint8) for _ in range(25)]
    assert bench.value("static", stirred, FPS) == 1


def test_slow_motion_is_no_freeze(bench):
    assert bench.value("static", _pan(bench, (0.02, 0.0), 25), FPS) < 0.1  # a tenth of a pixel per frame


@pytest.mark.parametrize(("held", "width", "is_frozen"), [(3, 128, False), (8, 128, True), (3, 3, True)])
def test_a_run_that_small_changes_break_is_a_freeze_if_it_lasts_half_a_second(bench, textured, held, width, is_frozen):
    """Steps of 2 levels every few pictures: each run is broken by the second one, not by a jump. In one column it is a codec's doing."""
    steps = [textured(0) // 2 for _ in range(48)]
    for k, picture in enumerate(steps):
        picture[:, :width] += np.uint8(2 * (k // held))
    assert (bench.value("static", steps, FPS) > 0.5) == is_frozen


def test_a_short_shot_can_be_frozen(bench, textured):
    assert bench.value("static", [textured(0)] * 3, FPS) == 1
    assert bench.value("static", [textured(0), textured(1), textured(2)], FPS) == 0


def test_one_frame_has_no_motion_and_an_image_none_that_applies(bench, textured):
    video, image = bench.scores([textured(0)]), bench.scores([textured(0)], fps=0, media="image")
    for name in ("static", "motion", "camera_motion", "subject_motion"):
        assert video[name].outcome == "unknown"
        assert image[name].outcome == "not_applicable"
        assert video[name].reason
        assert image[name].reason
    assert {name for name, score in image.items() if score.outcome == "measured"} == {
        "black", "white", "luma", "contrast", "clipped", "sharpness", "blockiness", "noise", "letterbox", "mosaic", "blurred_region",
        "subtitle", "subtitle_after_crop", "aesthetic", "iqa", "resolution", "aspect",
    }


def test_tiny_pictures_have_no_flow(bench):
    images = [bench.rgb(bench.noise(12, 40, 1.0, seed)) for seed in range(4)]
    assert bench.scores(images)["motion"].outcome == "unknown"
