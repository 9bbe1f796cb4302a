"""Graphics laid over the middle of the picture."""

import numpy as np
import pytest

from skyreels_platform.curation.signals.sticker import Sticker
from skyreels_platform.media.sample_overlays import draw_overlays
from tests.curation.signals.overlay_shots import drawn_shot, measure, texture_clip


def _sticker(clip: np.ndarray) -> Sticker:
    signal = measure(Sticker, *drawn_shot(clip))
    assert isinstance(signal, Sticker)
    return signal


@pytest.mark.parametrize("seed", range(4))
def test_a_graphic_is_found_with_its_size_and_place(seed: int) -> None:
    clip = texture_clip(seed=seed)
    assert _sticker(clip).result().value == 0
    (truth,) = draw_overlays(clip, ["sticker"], seed=seed, fps=16)
    signal = _sticker(clip)
    x0, y0, x1, y1 = truth.box
    value = signal.result().value
    assert value is not None
    assert 0.2 * (x1 - x0) * (y1 - y0) < value < 1.5 * (x1 - x0) * (y1 - y0)
    (region,) = signal.regions()
    assert np.abs(np.array([region.x0, region.y0, region.x1, region.y1]) - truth.box).max() < 0.04


def test_what_moves_is_no_graphic() -> None:
    clip = texture_clip(pan=3)
    for index, frame in enumerate(clip):
        frame[100:150, 120 + 3 * index : 180 + 3 * index] = (250, 200, 40)
    assert _sticker(clip).result().value == 0


def test_logo_and_subtitle_are_not_counted_again() -> None:
    clip = texture_clip(seed=4)
    draw_overlays(clip, ["logo", "subtitle"], seed=4, fps=16)
    assert _sticker(clip).result().value == 0


def test_a_picture_at_rest_leaves_it_open() -> None:
    clip = texture_clip(pan=0)
    clip[:, 100:150, 200:260] = (250, 200, 40)
    score = _sticker(clip).result()
    assert score.outcome == "unknown"
    assert "does not move" in score.reason


def test_one_picture_is_not_enough() -> None:
    assert _sticker(texture_clip(1)).result().outcome == "unknown"


def test_the_blocks_of_a_mosaic_are_no_graphic() -> None:
    clip = texture_clip(pan=3)
    levels = np.random.default_rng(2).integers(40, 220, (5, 6)).astype(np.uint8)
    clip[:, 80:180, 120:240] = levels.repeat(20, axis=0).repeat(20, axis=1)[None, ..., None]
    assert _sticker(clip).result().value == 0
    clip[:, 80:180, 120:240] = clip[:, 80:180, 300:420]
    clip[:, 100:140, 160:220] = 250
    assert (_sticker(clip).result().value or 0) > 0
