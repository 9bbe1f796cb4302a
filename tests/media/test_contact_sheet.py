import io

import numpy as np
import pytest
from PIL import Image

from skyreels_platform.media.contact_sheet import contact_sheet, png_bytes

RED = np.full((30, 40, 3), (255, 0, 0), np.uint8)
TALL = np.full((400, 100, 3), (0, 255, 0), np.uint8)


def test_tiles_lie_in_rows() -> None:
    sheet = contact_sheet([(RED, [])] * 5, 3, tile_size=(40, 30), gap=4)
    assert sheet.shape == (4 + 2 * 34, 4 + 3 * 44, 3)
    is_red = (sheet == (255, 0, 0)).all(axis=2)
    assert is_red.sum() == 5 * 40 * 30
    assert is_red[4:34, 4:44].all()
    assert is_red[38:68, 48:88].all()
    assert not is_red[38:68, 92:].any()


def test_pictures_keep_their_shape() -> None:
    sheet = contact_sheet([(TALL, [])], 1, tile_size=(60, 40), gap=0)
    green = (sheet == (0, 255, 0)).all(axis=2)
    assert green.sum() == 40 * 10
    assert green[:, 25:35].all()


def test_captions_are_drawn_under_the_picture_and_cut_to_its_width() -> None:
    options = {"tile_size": (80, 40), "gap": 6, "font_size": 12}
    plain = contact_sheet([(RED, ["", ""]), (RED, [""])], 2, **options)
    sheet = contact_sheet([(RED, ["a very long caption that cannot fit into eighty pixels", "x"]), (RED, [""])], 2, **options)
    changed = np.argwhere((sheet != plain).any(axis=2))
    assert sheet.shape == plain.shape == (6 + 46 + 2 * 16, 6 + 2 * 86, 3)
    assert changed[:, 0].min() >= 46  # nothing above the first picture's end
    assert 4 <= changed[:, 1].min() <= changed[:, 1].max() < 88  # nothing beyond the first tile, but for a glyph's overhang


def test_impossible_sheets_are_refused() -> None:
    for tiles, columns in (([], 3), ([(RED, [])], 0)):
        with pytest.raises(ValueError, match="give at least one of each"):
            contact_sheet(tiles, columns)


def test_png_bytes() -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(image)))), image)
    assert png_bytes(image) == png_bytes(image.copy())
