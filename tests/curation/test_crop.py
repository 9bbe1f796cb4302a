"""Crops: what is cut, what is kept, and the maximal rectangle against brute force."""


import numpy as np
import pytest

from skyreels_platform.curation.crop import CropRules, clean_crop, largest_rectangle
from skyreels_platform.curation.signals.base import Region


def region(kind: str, x0: float, y0: float, x1: float, y1: float) -> Region:
    return Region(kind=kind, x0=x0, y0=y0, x1=x1, y1=y1)


BARS = [region("letterbox", 0, 0, 1, 0.121), region("letterbox", 0, 0.879, 1, 1)]
SUBTITLE = region("subtitle", 0.2, 0.9, 0.8, 0.97)
LOGO = region("logo", 0.86, 0.04, 0.96, 0.12)


def test_a_frame_without_regions_stays_whole():
    crop = clean_crop(1281, 719, [])
    assert (crop.x, crop.y, crop.width, crop.height, crop.area_share) == (0, 0, 1281, 719, 1.0)
    assert (crop.status, crop.reason) == ("whole", "")


def test_a_subtitle_is_cut_away_and_named():
    crop = clean_crop(1920, 1080, [SUBTITLE])
    assert (crop.status, crop.reason) == ("cropped", "avoids subtitle")
    assert (crop.x, crop.y, crop.width) == (0, 0, 1920)
    assert 0.88 * 1080 <= crop.height <= 0.9 * 1080


def test_a_crop_holds_no_pixel_of_what_it_avoids_and_is_even():
    generator = np.random.default_rng(5)
    num_cropped = 0
    for _ in range(300):
        width, height = (int(side) for side in generator.integers(200, 2000, 2))
        marks = []
        for _ in range(generator.integers(1, 4)):
            x, y, wide, tall = generator.uniform(0, 1), generator.choice((0.02, 0.93)), generator.uniform(0, 0.3), 0.05
            marks.append(region("logo", x, y, min(1.0, x + wide), y + tall))
        crop = clean_crop(width, height, marks)
        if crop.status != "cropped":
            continue
        num_cropped += 1
        assert crop.x % 2 == crop.y % 2 == crop.width % 2 == crop.height % 2 == 0
        assert crop.area_share > 0.8
        assert crop.x + crop.width <= width
        assert crop.y + crop.height <= height
        for mark in marks:
            apart = (
                mark.x1 * width <= crop.x + 0.01 or mark.x0 * width >= crop.x + crop.width - 0.01
                or mark.y1 * height <= crop.y + 0.01 or mark.y0 * height >= crop.y + crop.height - 0.01
            )
            assert apart, (crop, mark)
    assert num_cropped > 100


def test_borders_are_cut_to_the_pixel_even_if_more_than_a_fifth_is_lost():
    crop = clean_crop(1920, 1080, BARS)
    assert (crop.x, crop.width, crop.status, crop.reason) == (0, 1920, "cropped", "avoids letterbox")
    assert (crop.y, crop.y + crop.height) == (132, 948)  # 130.7 and 949.3, inwards to even numbers
    assert crop.area_share == pytest.approx(816 / 1080)


def test_a_subtitle_that_lies_in_a_bar_costs_nothing_more():
    assert clean_crop(1920, 1080, [*BARS, SUBTITLE]) == clean_crop(1920, 1080, BARS)


def test_a_windowbox_is_cut_on_all_sides():
    sides = [region("letterbox", 0, 0.1, 0.1, 0.9), region("letterbox", 0.9, 0.1, 1, 0.9)]
    ends = [region("letterbox", 0, 0, 1, 0.1), region("letterbox", 0, 0.9, 1, 1)]
    crop = clean_crop(1000, 500, sides + ends)
    assert (crop.x, crop.y, crop.width, crop.height) == (100, 50, 800, 400)


def test_too_small_a_rectangle_is_refused_and_the_picture_stays_whole():
    crop = clean_crop(1920, 1080, [region("subtitle", 0.2, 0.7, 0.8, 0.8)])
    assert (crop.x, crop.y, crop.width, crop.height, crop.status) == (0, 0, 1920, 1080, "refused")
    assert crop.reason.startswith("subtitle: the largest clean rectangle takes 68.5% of the picture, not more than 80%")


def test_borders_are_removed_even_where_the_rest_is_refused():
    crop = clean_crop(1920, 1080, [*BARS, region("subtitle", 0.2, 0.6, 0.8, 0.7)])
    assert (crop.y, crop.height, crop.status) == (132, 816, "refused")
    assert crop.reason.endswith("; letterbox removed")


def test_a_shape_that_changes_too_much_is_refused():
    stripe = [region("logo", 0, 0.85, 1, 1)]
    assert clean_crop(1920, 1080, stripe).status == "cropped"
    crop = clean_crop(1920, 1080, stripe, CropRules(aspect_factor=1.1))
    assert crop.status == "refused"
    assert "aspect ratio differs by a factor of 1.20, over 1.1" in crop.reason


def test_a_logo_in_the_corner_leaves_the_larger_of_two_rectangles():
    crop = clean_crop(1920, 1080, [LOGO])
    assert (crop.x, crop.y + crop.height, crop.width) == (0, 1080, 1920)  # above it is lost, not the right side
    assert crop.y >= 0.12 * 1080


@pytest.mark.parametrize("values", [{"area_share": 1.0}, {"aspect_factor": 0.9}, {"columns": 0}])
def test_impossible_rules_are_refused(values):
    with pytest.raises(ValueError, match="give"):
        CropRules(**values)


def test_a_frame_without_pixels_is_refused():
    with pytest.raises(ValueError, match="1 x 100"):
        clean_crop(1, 100, [])


def brute_force(clean: np.ndarray) -> int:
    rows = len(clean)
    best = 0
    for top in range(rows):
        for bottom in range(top + 1, rows + 1):
            run = 0
            for full in np.all(clean[top:bottom], axis=0).tolist():
                run = run + 1 if full else 0
                best = max(best, run * (bottom - top))
    return best


def test_the_rectangle_is_the_largest_on_random_masks():
    generator = np.random.default_rng(0)
    for _ in range(400):
        shape = generator.integers(1, 13, 2)
        clean = generator.random(shape) < generator.choice((0.0, 0.3, 0.6, 0.8, 0.95, 1.0))
        top, left, tall, wide = largest_rectangle(clean)
        assert tall * wide == brute_force(clean)
        assert clean[top:top + tall, left:left + wide].sum() == tall * wide
