"""Bars, on pictures whose bars are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals.base import Sample, ShotInfo
from skyreels_platform.curation.signals.letterbox import Letterbox
from skyreels_platform.media.pyramid import from_rgb
from tests.curation.signals.flawed_shots import measure, quick_shots, read_samples

BARS = ("letterbox", "pillarbox", "windowbox")
WIDTH, HEIGHT = 320, 180


def info(width: int, height: int, num_frames: int) -> ShotInfo:
    return ShotInfo(media="video", num_frames=num_frames, duration_s=num_frames / 2, fps=2, width=width, height=height)


def lost(images: list[np.ndarray]) -> float | None:
    """The score of stills, (H, W, 3) uint8 each."""
    samples = [sample(image) for image in images]
    height, width = images[0].shape[:2]
    return measure(Letterbox, info(width, height, len(images)), samples)[0].value


def sample(image: np.ndarray) -> Sample:
    levels = from_rgb(image)
    grey = cv2.cvtColor(levels.small, cv2.COLOR_RGB2GRAY)
    return Sample(rgb=levels.small, grey=grey, luma=0.0, contrast=0.0, time_s=0.0, picture=levels.picture, still=levels.still)


def texture(seed: int, gain: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rough = cv2.resize(generator.uniform(20, 235, (18, 32, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(gain * (rough + generator.normal(0, 4, rough.shape)), 0, 255).astype(np.uint8)


def barred(image: np.ndarray, bar: int, colour: int = 0) -> np.ndarray:
    image = image.copy()
    image[:bar] = image[HEIGHT - bar:] = colour
    return image


@pytest.mark.parametrize("colour", [0, 16, 128, 255])
@pytest.mark.parametrize("bar", [4, 23, 60])
def test_bars_of_any_depth_and_colour_are_measured(bar, colour):
    assert lost([barred(texture(seed), bar, colour) for seed in range(3)]) == pytest.approx(2 * bar / HEIGHT, abs=2.5 / HEIGHT)


def test_bars_of_a_dark_scene_are_found_and_a_dark_scene_has_none():
    dark = [texture(seed, 0.12) for seed in range(4)]
    assert lost([barred(image, 20) for image in dark]) == pytest.approx(40 / HEIGHT, abs=0.02)
    assert lost(dark) == 0


def test_a_black_sky_over_uneven_roofs_is_no_bar():
    roofs = (40 + 25 * np.sin(np.arange(WIDTH) / 30)).astype(int)
    night = np.arange(HEIGHT)[:, None] < roofs[None, :]
    assert lost([np.where(night[..., None], 0, texture(seed)).astype(np.uint8) for seed in range(4)]) == 0


def test_a_title_on_black_is_no_picture_in_bars():
    title = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    cv2.putText(title, "THE END", (90, 100), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2, cv2.LINE_AA)
    assert lost([title] * 4) == 0


def test_a_subtitle_and_a_logo_do_not_hide_the_bars_they_lie_in():
    images = [barred(texture(seed), 30) for seed in range(4)]
    for image in images:
        cv2.putText(image, "NEWS", (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    for number, line in ((1, "Wherever you have been,"), (2, "you will not return.")):
        cv2.putText(images[number], line, (40, HEIGHT - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (250, 250, 250), 1, cv2.LINE_AA)
    assert lost(images) == pytest.approx(60 / HEIGHT, abs=0.02)


def test_a_square_that_crosses_an_even_wall_leaves_no_bars():
    images = []
    for step in range(12):
        wall = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        wall[60:130, 10 + 20 * step:80 + 20 * step] = (200, 60, 40)
        images.append(wall)
    assert lost(images) == 0


@pytest.mark.parametrize(("dark", "below", "expected"), [(0.45, 30, 50), (0.65, 30, 0), (0.45, 0, 0)])
def test_half_of_the_edges_of_opposite_dark_bars_are_enough(dark, below, expected):
    """Bars of 20 and 30 rows around a picture in patches, part of them as dark as the bars; or one bar alone."""
    generator = np.random.default_rng(3)
    order = generator.permutation(40)
    patches = np.full((HEIGHT, WIDTH, 3), 28, np.uint8)
    for number in range(40):
        if order[number] >= dark * 40 or number in (0, 39):
            patches[:, 8 * number:8 * number + 8] = 150
    patches[:20] = patches[HEIGHT - below:] = 28
    assert lost([patches] * 3) == pytest.approx(expected / HEIGHT, abs=0.01)


def test_bars_of_a_colour_may_differ_in_depth_and_show_one_edge_less():
    """A gap in one still, no more than a square leaves that crosses an even wall; the other side shows all of its edge."""
    images = [texture(seed) for seed in range(3)]
    for image, first in zip(images, (0, 100, 200), strict=True):
        image[:24] = image[HEIGHT - 12:] = 128
        image[24:40, first:first + 100] = 128
    assert lost(images) == pytest.approx(36 / HEIGHT, abs=0.02)
    for image in images:
        image[24:40, 160:] = 128
    assert lost(images) == 0


def test_even_frames_leave_the_question_open():
    assert lost([np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * 3) is None


@pytest.mark.parametrize("number", range(12))
def test_rendered_and_encoded_shots(number):
    shot = quick_shots()[number]
    score, regions = shot.measure(Letterbox)
    assert score.value is not None
    if shot.kind not in BARS:
        if shot.kind != "blurred_fill":
            assert (score.value, regions) == (0, [])
        return
    assert shot.truth is not None
    assert score.value == pytest.approx(1 - shot.truth.share(shot.width, shot.height), abs=0.03)
    assert sum((region.x1 - region.x0) * (region.y1 - region.y0) for region in regions) == pytest.approx(score.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mpy_chaplin.mp4", 0.225), ("mdn_crystal.mp4", 0.022), ("mdn_flower.mp4", 0.0), ("flux_sintel.webm", 0.242)],
)
def test_real_footage(footage: Path, name: str, expected: float):
    samples = list(read_samples(footage / "videos" / name))
    height, width = next(sample.still for sample in samples if sample.still is not None).large.shape
    assert measure(Letterbox, info(width, height, len(samples)), samples)[0].value == pytest.approx(expected, abs=0.006)
