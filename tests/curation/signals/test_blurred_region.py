"""Drawn blurs against everything else that is smooth."""

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals.base import Region, Sample, ShotInfo
from skyreels_platform.curation.signals.blurred_region import BlurredRegion
from skyreels_platform.media.pyramid import from_rgb
from tests.curation.signals.flawed_shots import measure, quick_shots
from tests.curation.signals.test_mosaic import HEIGHT, WIDTH, texture


def blurred_share(stills: list[np.ndarray]) -> tuple[float | None, list[Region]]:
    """The score of (H, W) uint8 stills, and the areas found."""
    samples = []
    for luma in stills:
        levels = from_rgb(np.repeat(luma[..., None], 3, axis=2))
        grey = levels.small[..., 0]
        samples.append(Sample(rgb=levels.small, grey=grey, luma=0.0, contrast=0.0, time_s=0.0, still=levels.still))
    info = ShotInfo(media="video", num_frames=len(stills), duration_s=len(stills) / 2, fps=2, width=WIDTH, height=HEIGHT)
    score, regions = measure(BlurredRegion, info, samples)
    return score.value, regions


def boxed(luma: np.ndarray, sigma: float = 9.0) -> np.ndarray:
    out = luma.copy()
    out[100:220, 200:400] = cv2.GaussianBlur(luma, (0, 0), sigma)[100:220, 200:400]
    return out


def test_a_blurred_box_is_found_where_it_is():
    value, regions = blurred_share([boxed(texture(seed)) for seed in range(3)])
    assert value == pytest.approx(200 * 120 / (WIDTH * HEIGHT), rel=0.35)
    (region,) = regions
    assert (region.x0 * WIDTH, region.y0 * HEIGHT) == pytest.approx((200, 100), abs=24)
    assert (region.x1 * WIDTH, region.y1 * HEIGHT) == pytest.approx((400, 220), abs=24)


def test_a_blur_that_passes_is_none():
    assert blurred_share([boxed(texture(0)), *(texture(seed) for seed in range(1, 4))]) == (0, [])


def test_a_background_out_of_focus_is_no_flaw():
    sharp = texture(1)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    near = np.hypot((columns - 320) / 130, (rows - 210) / 170) < 1
    assert blurred_share([np.where(near, sharp, cv2.GaussianBlur(sharp, (0, 0), 9))] * 3) == (0, [])


def test_a_picture_out_of_focus_and_an_even_wall_are_no_flaws():
    assert blurred_share([cv2.GaussianBlur(texture(2), (0, 0), 9)] * 3) == (0, [])
    wall = texture(3)
    wall[100:220, 200:400] = 140
    assert blurred_share([wall] * 3) == (0, [])


def test_no_still_leaves_the_question_open():
    assert blurred_share([])[0] is None


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 6, 9, 10, 11])
def test_rendered_and_encoded_shots(number):
    shot = quick_shots()[number]
    score, _ = shot.measure(BlurredRegion)
    assert score.value is not None
    assert (score.value > 0.02) == (shot.kind == "blurred_box")
