"""Composed pictures: seams that stay while both sides move."""

import numpy as np
import pytest

from skyreels_platform.curation.signals.base import Region, Score
from skyreels_platform.curation.signals.split_screen import SplitScreen
from tests.curation.signals.conftest import Bench
from tests.curation.signals.flawed_shots import quick_shots
from tests.curation.signals.test_mosaic import texture

WIDTH, HEIGHT, FRAMES = 320, 180, 16


def composed(images: list[np.ndarray]) -> tuple[Score, list[Region]]:
    """The score of (H, W) uint8 pictures."""
    scores, regions = Bench().measured([np.repeat(image[..., None], 3, axis=2) for image in images], 8, kinds=[SplitScreen])
    return scores["split_screen"], regions


def panned(seed: int, speed: int) -> list[np.ndarray]:
    world = texture(seed)
    return [world[step:step + HEIGHT, 100 + speed * step:100 + speed * step + WIDTH] for step in range(FRAMES)]


def test_two_clips_side_by_side_are_found():
    pairs = zip(panned(1, 3), panned(2, -4), strict=True)
    score, regions = composed([np.concatenate([one[:, :140], other[:, 140:]], axis=1) for one, other in pairs])
    assert score.value is not None
    assert score.value > 0.75
    assert regions[0].x1 == pytest.approx(140 / WIDTH, abs=0.02)


def test_a_small_picture_in_the_corner_is_found():
    images = [image.copy() for image in panned(3, 3)]
    for image, small in zip(images, panned(4, -3), strict=True):
        image[10:70, 200:306] = small[:60, :106]
    score, (region,) = composed(images)
    assert score.value is not None
    assert score.value > 0.75
    corners = (region.x0 * WIDTH, region.y0 * HEIGHT, region.x1 * WIDTH, region.y1 * HEIGHT)
    assert corners == pytest.approx((200, 10, 306, 70), abs=6)


def test_an_inset_at_rest_near_the_border_is_found_by_what_passes_beside_it():
    still = texture(11)[:60, :106]
    images = [image.copy() for image in panned(10, 3)]
    for image in images:
        image[116:176, 210:316] = still
    score, (region,) = composed(images)
    assert score.value is not None
    assert score.value > 0.75
    assert (region.x0 * WIDTH, region.y1 * HEIGHT) == pytest.approx((210, 176), abs=6)


@pytest.mark.parametrize(("passes", "is_inset"), [(1.0, True), (0.4, False)])
def test_a_picture_on_a_wall_that_somebody_passes_is_no_inset(passes, is_inset):
    """Beside an inset something moves nearly all the time; beside a picture on a wall for as long as somebody passes."""
    still, wall = texture(11)[:60, :106], texture(14)[:HEIGHT, :WIDTH]
    images = [image.copy() if number < passes * FRAMES else wall.copy() for number, image in enumerate(panned(10, 3))]
    for image in images:
        image[60:120, 110:216] = still
    score, _ = composed(images)
    assert score.value is not None
    assert (score.value > 0.75) == is_inset


def test_a_pixelated_area_is_no_inset():
    images = [image.copy() for image in panned(12, 3)]
    for image in images:
        inside = np.s_[40:136, 100:228]
        image[inside] = image[inside][::8, ::8].repeat(8, axis=0).repeat(8, axis=1)
    assert (composed(images)[0].value or 0) < 0.5


def test_lines_of_a_pattern_that_slides_along_itself_are_no_seams():
    stripes = np.tile(np.repeat([60, 180], 20).astype(np.uint8), (HEIGHT, 20))[:, :WIDTH]
    generator = np.random.default_rng(0)
    images = [np.clip(stripes + 8.0 * texture(13)[3 * step:3 * step + HEIGHT, :WIDTH] / 255, 0, 255) for step in range(FRAMES)]
    noisy = [(image + generator.normal(0, 1, image.shape)).clip(0, 255).astype(np.uint8) for image in images]
    assert (composed(noisy)[0].value or 0) < 0.5


def test_one_moving_picture_is_not_composed():
    assert (composed(panned(5, 3))[0].value or 0) < 0.3


def test_a_wall_in_a_still_scene_is_no_seam():
    room = texture(6)[:HEIGHT, :WIDTH].copy()
    room[:, 150:] = room[:, 150:] // 3
    assert composed([room] * FRAMES)[0].value == 0


def test_a_pan_along_a_straight_edge_is_no_seam():
    world = np.concatenate([texture(6)[:90, :600], texture(9)[:90, :600] // 2])  # a wall, and what lies behind it
    images = [np.ascontiguousarray(world[:, 4 * step:4 * step + WIDTH]) for step in range(FRAMES)]
    assert (composed(images)[0].value or 0) < 0.5


def test_a_square_that_crosses_the_picture_leaves_no_seam():
    images = []
    for step in range(FRAMES):
        image = np.full((HEIGHT, WIDTH), 150, np.uint8)
        image[50:122, 20 + 8 * step:92 + 8 * step] = 60
        images.append(image)
    assert (composed(images)[0].value or 0) < 0.3


def test_a_bar_is_no_panel():
    images = [image.copy() for image in panned(7, 3)]
    for image in images:
        image[:, :60] = image[:, 260:] = 0
    assert (composed(images)[0].value or 0) < 0.3


def test_a_few_pictures_leave_the_question_open():
    score, regions = composed(panned(8, 3)[:4])
    assert (score.outcome, regions) == ("unknown", [])
    assert score.reason == "4 pictures only, of 6 that show whether an edge stays"


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 8, 9, 10, 11])
def test_rendered_and_encoded_shots(number):
    shot = quick_shots()[number]
    value = shot.measure(SplitScreen)[0].value
    assert value is not None
    assert (value > 0.75) == (shot.kind == "picture_in_picture")
