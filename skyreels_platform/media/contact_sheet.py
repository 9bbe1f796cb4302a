"""A grid of captioned pictures: what a person looks at to judge a shot, a batch or a film."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_TEXT = (225, 225, 225)
_LINE_HEIGHT = 1.3  # of the font size


def contact_sheet(
    tiles: Sequence[tuple[np.ndarray, Sequence[str]]], columns: int, *, tile_size: tuple[int, int] = (240, 135),
    font_size: int = 12, gap: int = 6, background: tuple[int, int, int] = (24, 24, 24),
) -> np.ndarray:
    """Tiles in rows of `columns`, as one (H, W, 3) uint8 RGB array.

    tiles: pictures ((h, w, 3) uint8 RGB of any size, fitted into tile_size = (width, height) with their shape kept) and the
    caption lines under them (too wide ones are cut with '...'). Every caption box is as high as the longest caption needs.
    ValueError for no tiles or no columns.
    """
    if not tiles or columns < 1:
        raise ValueError(f"a contact sheet of {len(tiles)} tiles in {columns} columns; give at least one of each")
    font = ImageFont.load_default(font_size)
    line = round(font_size * _LINE_HEIGHT)
    width, height = tile_size[0] + gap, tile_size[1] + gap + line * max(len(lines) for _, lines in tiles)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (gap + width * min(columns, len(tiles)), gap + height * rows), background)
    draw = ImageDraw.Draw(sheet)
    for number, (picture, lines) in enumerate(tiles):
        left, top = gap + number % columns * width, gap + number // columns * height
        fitted = _fitted(picture, tile_size)
        sheet.paste(fitted, (left + (tile_size[0] - fitted.width) // 2, top + (tile_size[1] - fitted.height) // 2))
        for position, text in enumerate(lines):
            draw.text((left, top + tile_size[1] + position * line), _shortened(text, font, tile_size[0]), _TEXT, font)
    return np.array(sheet)


def png_bytes(image: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB array as the bytes of a PNG file; the same array gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(picture)
    scale = min(size[0] / image.width, size[1] / image.height)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
