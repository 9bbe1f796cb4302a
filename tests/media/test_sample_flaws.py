"""Drawn flaws: the truth names what the pixels show."""

import numpy as np
import pytest

from skyreels_platform.media.sample_flaws import BLOCKS, KINDS, SMALLEST_BAR, draw_flaw

WIDTH, HEIGHT, FRAMES = 320, 180, 4


def clip(seed: int) -> np.ndarray:
    """Coarse and fine random texture."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(40, 216, (FRAMES, HEIGHT // 20, WIDTH // 20, 3)).repeat(20, axis=1).repeat(20, axis=2)
    return np.clip(coarse + generator.integers(-30, 31, (FRAMES, HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def drawn(kind: str, seed: int, **values):
    return draw_flaw(kind, clip(seed), np.random.default_rng(seed), other=clip(seed + 1000), **values)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_draw_equal_flaws_and_different_seeds_different_ones(kind):
    (first, truth), (again, truth_again), (_, other) = drawn(kind, 3), drawn(kind, 3), drawn(kind, 4)
    np.testing.assert_array_equal(first, again)
    assert truth.detail == truth_again.detail != other.detail
    assert (truth.kind, truth.boxes.shape) == (kind, (FRAMES, 4))
    assert first.shape == clip(3).shape


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("split_screen", "picture_in_picture")])
def test_nothing_but_the_flawed_area_changes(kind):
    for seed in range(6):
        image, truth = drawn(kind, seed)
        if "softness" in truth.detail and "softness 0.0" not in truth.detail:
            continue
        x0, y0, x1, y1 = truth.boxes[0]
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[y0:y1, x0:x1] = True
        kept = inside if kind in ("letterbox", "pillarbox", "windowbox", "blurred_fill") else ~inside
        np.testing.assert_array_equal(image[0][kept], clip(seed)[0][kept])
        assert (image[0][~kept] != clip(seed)[0][~kept]).any(axis=1).mean() > 0.5


@pytest.mark.parametrize(("kind", "sides"), [("letterbox", (1, 3)), ("pillarbox", (0, 2)), ("windowbox", (0, 1, 2, 3))])
def test_bars_lie_on_the_named_sides_and_can_be_seen(kind, sides):
    for seed in range(20):
        _, truth = drawn(kind, seed)
        x0, y0, x1, y1 = truth.boxes[0]
        bars = (x0 / WIDTH, y0 / HEIGHT, 1 - x1 / WIDTH, 1 - y1 / HEIGHT)
        for side, bar in enumerate(bars):
            assert (bar > 0.4 * SMALLEST_BAR) if side in sides else bar == 0, (seed, truth.detail)


def test_a_mosaic_is_made_of_even_squares():
    for seed in range(10):
        image, truth = drawn("mosaic", seed)
        x0, y0, x1, y1 = truth.boxes[0]
        columns, rows = (int(part) for part in truth.detail.split(" ")[0].split("x"))
        block = (x1 - x0) // columns
        assert (x1 - x0, y1 - y0) == (columns * block, rows * block)
        assert BLOCKS[0] <= block <= BLOCKS[1]
        cells = image[0, y0:y1, x0:x1].reshape(rows, block, columns, block, 3)
        assert (cells == cells[:, :1, :, :1]).all()
        assert truth.visible > 6


def test_a_moving_mosaic_follows_the_centres_that_it_is_given():
    centres = np.array([[100.0, 80.0], [110.0, 84.0], [120.0, 88.0], [130.0, 92.0]])
    _, truth = drawn("moving_mosaic", 1, centres=centres)
    middles = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    # A mosaic stays inside the frame, whatever its subject does.
    half = (truth.boxes[0, 2:] - truth.boxes[0, :2]) / 2
    np.testing.assert_allclose(middles, np.clip(centres, half, np.array([WIDTH, HEIGHT]) - half), atol=1.0)


def test_a_split_screen_shows_both_clips():
    dark, light = np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8), np.full((FRAMES, HEIGHT, WIDTH, 3), 200, np.uint8)
    image, truth = draw_flaw("split_screen", dark, np.random.default_rng(0), other=light)
    _, _, x1, y1 = truth.boxes[0]
    assert (image[:, :y1, :x1] == 40).all()
    assert image[0, -1, -1, 0] == 200


def test_an_inset_picture_lies_in_its_box():
    dark, light = np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8), np.full((FRAMES, HEIGHT, WIDTH, 3), 200, np.uint8)
    image, truth = draw_flaw("picture_in_picture", dark, np.random.default_rng(0), other=light)
    x0, y0, x1, y1 = truth.boxes[0]
    assert (image[:, y0:y1, x0:x1] == 200).all()
    assert (image == 200).sum() == FRAMES * 3 * (x1 - x0) * (y1 - y0)
    assert truth.share(WIDTH, HEIGHT) == pytest.approx((x1 - x0) * (y1 - y0) / (WIDTH * HEIGHT))


def test_unknown_flaws_and_missing_clips_are_refused():
    with pytest.raises(ValueError, match=r"'mosiac' is unknown; known: letterbox"):
        draw_flaw("mosiac", clip(0), np.random.default_rng(0))
    with pytest.raises(ValueError, match="needs `other`"):
        draw_flaw("split_screen", clip(0), np.random.default_rng(0))


def test_a_mosaic_over_an_even_area_is_called_invisible():
    ground = np.full((FRAMES, HEIGHT, WIDTH, 3), 120, np.uint8)
    ground[:, :, : WIDTH // 2] = 20  # one step of 100 levels, and nothing else
    _, lone = draw_flaw("mosaic", ground, np.random.default_rng(0))
    assert not lone.is_visible
    assert drawn("mosaic", 0)[1].is_visible
