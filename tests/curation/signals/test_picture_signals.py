"""Signals of single pictures against drawn truth: black, white, luma, contrast, sharpness, and the facts of the source."""

from itertools import pairwise

import cv2
import numpy as np
import pytest


@pytest.mark.parametrize(("num_dark", "share"), [(0, 0.0), (3, 0.25), (12, 1.0)])
def test_black_is_the_share_of_black_frames(bench, num_dark, share):
    images = [bench.flat(2)] * num_dark + [bench.flat(120)] * (12 - num_dark)
    assert bench.value("black", images) == pytest.approx(share)
    assert bench.value("white", images) == 0


def test_black_and_white_begin_at_their_thresholds(bench):
    # 0.03 and 0.97 of 255 are 7.65 and 247.35
    assert [bench.value("black", [bench.flat(level)]) for level in (7, 8)] == [1, 0]
    assert [bench.value("white", [bench.flat(level)]) for level in (247, 248)] == [0, 1]


def test_a_night_scene_is_not_black(bench):
    night = bench.disc(96, 0.5, 0.5, 0.15, (230, 220, 180), (3, 3, 6))
    assert bench.value("black", [night] * 4) == 0


def test_luma_follows_an_exposure_ladder(bench):
    scene = bench.noise(96, 96, 3.0)
    measured = [bench.value("luma", [bench.rgb(scene * gain)]) for gain in (0.1, 0.25, 0.5, 1.0)]
    assert measured == pytest.approx([gain * scene.mean() / 255 for gain in (0.1, 0.25, 0.5, 1.0)], abs=0.003)


def test_contrast_is_the_standard_deviation_of_luma(bench):
    halves = np.concatenate([bench.flat(55), bench.flat(155)], axis=1)
    assert bench.value("contrast", [halves]) == pytest.approx(50 / 255, abs=0.001)
    assert bench.value("contrast", [bench.flat(90)]) == 0


BLURS = (0.0, 0.004, 0.008, 0.015, 0.025, 0.04, 0.06)  # sigma, share of the frame's height


def _blurred(image: np.ndarray, share: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), share * image.shape[0]) if share else image


@pytest.mark.parametrize("scene", ["disc", "texture", "colour_only"])
def test_sharpness_falls_strictly_with_blur(bench, scene):
    image = {
        "disc": bench.disc(256, 0.4, 0.5, 0.2, (220, 60, 50), (120, 130, 120)),
        "texture": bench.rgb((bench.noise(256, 256, 1.0) + bench.noise(256, 256, 12.0, seed=1)) / 2),
        "colour_only": bench.disc(256, 0.5, 0.5, 0.2, (215, 40, 40), (92, 92, 92)),  # no edge in luma
    }[scene]
    ladder = [bench.value("sharpness", [_blurred(image, share)]) for share in BLURS]
    assert all(sharper > softer for sharper, softer in pairwise(ladder)), ladder


@pytest.mark.parametrize("share", [0.012, 0.02, 0.035])
def test_sharpness_is_the_rise_of_a_blurred_edge(bench, share):
    image = _blurred(bench.disc(256, 0.4, 0.5, 0.2, (220, 60, 50), (120, 130, 120)), share)
    assert bench.value("sharpness", [image]) == pytest.approx(1 / (2.563 * share), rel=0.1)


def test_sharpness_does_not_depend_on_the_size_of_the_picture(bench):
    image = _blurred(bench.disc(1024, 0.4, 0.5, 0.2, (220, 60, 50), (120, 130, 120)), 0.015)
    sizes = (1024, 720, 512, 256, 160, 128)
    measured = [bench.value("sharpness", [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)]) for size in sizes]
    assert measured == pytest.approx([measured[0]] * len(sizes), rel=0.1)


def test_enlarging_adds_no_sharpness(bench):
    small = bench.disc(128, 0.4, 0.5, 0.2, (220, 60, 50), (120, 130, 120))
    large = cv2.resize(small, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    true_large = bench.disc(1024, 0.4, 0.5, 0.2, (220, 60, 50), (120, 130, 120))
    assert bench.value("sharpness", [large]) < 0.7 * bench.value("sharpness", [true_large])
    assert bench.value("sharpness", [large]) == pytest.approx(bench.value("sharpness", [small]), rel=0.25)


def test_sharpness_does_not_depend_on_contrast_or_subject_size(bench):
    reference = bench.value("sharpness", [_blurred(bench.disc(256, 0.5, 0.5, 0.2, (220, 60, 50), (120, 130, 120)), 0.015)])
    for image in (
        bench.disc(256, 0.5, 0.5, 0.2, (150, 120, 115), (120, 130, 120)),
        bench.disc(256, 0.5, 0.5, 0.08, (220, 60, 50), (120, 130, 120)),
    ):
        assert bench.value("sharpness", [_blurred(image, 0.015)]) == pytest.approx(reference, rel=0.15)


def test_grain_sharpens_little(bench):
    image = _blurred(bench.disc(256, 0.5, 0.5, 0.2, (220, 60, 50), (120, 130, 120)), 0.02)
    grain = np.random.default_rng(1).normal(0, 3, image.shape)
    noisy = np.clip(image + grain, 0, 255).astype(np.uint8)
    assert bench.value("sharpness", [noisy]) == pytest.approx(bench.value("sharpness", [image]), rel=0.4)


def test_a_picture_without_edges_has_no_sharpness(bench):
    score = bench.scores([bench.flat(100)] * 3)["sharpness"]
    assert (score.outcome, score.value) == ("unknown", None)
    assert "no edge" in score.reason


def test_facts_of_the_source(bench, textured):
    scores = bench.scores([textured(0)] * 12, fps=16)
    assert {name: scores[name].value for name in ("duration_s", "resolution", "fps", "aspect")} == {
        "duration_s": 0.75, "resolution": 96, "fps": 16, "aspect": 128 / 96,
    }


def test_a_video_without_a_rate(bench, textured):
    scores = bench.scores([textured(0)] * 2, fps=0)
    assert scores["fps"].outcome == "unknown"
    assert scores["luma"].outcome == "measured"
