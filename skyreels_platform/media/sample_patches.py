"""Small drawings with their own transparency, and how they are laid over a frame: letters, emblems, boxes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A drawing with its own transparency."""

    colour: np.ndarray
    """(h, w, 3) float32, 0 to 255."""
    cover: np.ndarray
    """(h, w) float32, 0 (see-through) to 1."""


def ink_of(text: str, font: str, size: int) -> np.ndarray:
    """(h, w) uint8 cover of one line of text, cut to the letters. size: height of a capital and a descender, about, in pixels."""
    canvas = np.zeros((3 * size, (len(text) + 4) * 2 * size), np.uint8)
    if font == "hershey":
        cv2.putText(canvas, text, (size, 2 * size), cv2.FONT_HERSHEY_SIMPLEX, size / 30, (255,), max(1, size // 12), cv2.LINE_AA)
    elif font in ("sans", "italic", "uni"):
        cv2.putText(canvas, text, (size, 2 * size), (255,), cv2.FontFace(font), size)
    else:
        picture = Image.fromarray(canvas)
        face = ImageFont.load_default(size) if font == "pillow" else ImageFont.truetype(_typeface(font), size)
        ImageDraw.Draw(picture).text((size, size), text, fill=255, font=face)
        canvas = np.asarray(picture)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@lru_cache
def _typeface(font: str) -> str:
    import matplotlib

    file = {"serif": "DejaVuSerif.ttf", "mono": "DejaVuSansMono.ttf"}[font]
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file)


def flat(ink: np.ndarray, colour: tuple[int, int, int]) -> Patch:
    """(h, w) uint8 cover in one colour."""
    cover = ink.astype(np.float32) / 255
    return Patch(colour=np.broadcast_to(np.array(colour, np.float32), (*ink.shape, 3)), cover=cover)


def boxed(patch: Patch, colour: tuple[int, int, int], opacity: float) -> Patch:
    """The patch on a plate that is a margin larger."""
    margin = max(2, round(0.3 * min(patch.cover.shape)))
    around = (margin, margin), (margin, margin)
    cover, drawn = np.pad(patch.cover, around), np.pad(patch.colour, (*around, (0, 0)))
    share = cover[..., None]
    return Patch(colour=drawn * share + np.array(colour, np.float32) * (1 - share), cover=np.maximum(cover, opacity))


def subtitle_patch(
    texts: list[str], font: str, size: int, colour: tuple[int, int, int], style: str, *, upright: bool, widest: int
) -> Patch:  # fmt: skip
    """Lines of text under each other, or the letters of one line for a text that runs down."""
    rows = [ink_of(text, font, size) for text in (list(texts[0]) if upright else texts)]
    margin = max(2, size // 5)
    width = max(row.shape[1] for row in rows)
    if width > widest:
        scale = widest / width
        rows = [cv2.resize(row, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for row in rows]
        width = max(row.shape[1] for row in rows)
    stacked = []
    for row in rows:
        left = (width - row.shape[1]) // 2
        stacked.append(np.pad(row, ((margin, margin), (left + margin, width - left - row.shape[1] + margin))))
    ink = np.concatenate(stacked)
    patch = flat(ink, colour)
    if style == "plain":
        return patch
    if style == "box":
        share = patch.cover[..., None]
        return Patch(colour=patch.colour * share, cover=np.maximum(patch.cover, 0.75).astype(np.float32))
    reach = max(1, size // 14)
    if style == "outline":
        around = cv2.dilate(ink, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    else:
        around = np.roll(ink, (2 * reach, 2 * reach), (0, 1))
    cover = np.maximum(ink, around).astype(np.float32) / 255
    return Patch(colour=patch.colour * patch.cover[..., None], cover=cover)


def emblem(size: int, colour: tuple[int, int, int], shape: str, second: tuple[int, int, int]) -> Patch:
    """A drawing about `size` pixels high, with anti-aliased edges (drawn four times as large, then averaged)."""
    side = 4 * size
    drawn, cover = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    half, thick = side // 2, side // 10

    def put(draw: Callable[..., object], *where: object, ink: tuple[int, int, int] = colour, thickness: int = -1) -> None:
        draw(drawn, *where, ink, thickness)
        draw(cover, *where, (255,), thickness)

    def put_polygon(points: np.ndarray) -> None:
        cv2.fillPoly(drawn, [points.astype(np.int32)], colour)
        cv2.fillPoly(cover, [points.astype(np.int32)], (255,))

    if shape == "ring":
        put(cv2.circle, (half, half), half - thick, thickness=thick)
        put(cv2.rectangle, (half - thick, half - 2 * thick), (half + thick, half + 2 * thick))
    elif shape == "bars":
        for number in range(3):
            top = side - (number + 1) * side // 3
            left, hue = number * side // 3, (colour, second, colour)[number]
            put(cv2.rectangle, (left, top), (left + side // 5, side - 1), ink=hue)
    elif shape in ("badge", "face", "bubble"):
        middle = half - (side // 8 if shape == "bubble" else 0)
        put(cv2.circle, (half, middle), middle - 1)
        if shape == "bubble":
            put_polygon(np.array([(half // 2, middle), (half, middle), (half // 2, side - 1)]))
        if shape == "badge":
            put(cv2.rectangle, (half - 2 * thick, half - thick), (half + 2 * thick, half + thick), ink=second)
        else:
            for x in (-2, 2):
                put(cv2.circle, (half + x * thick, middle - thick), thick // 2, ink=(20, 20, 20))
            put(cv2.rectangle, (half - 2 * thick, middle + thick), (half + 2 * thick, middle + 2 * thick), ink=(20, 20, 20))
    elif shape == "arrow":
        put(cv2.rectangle, (0, half - thick), (half, half + thick))
        put_polygon(np.array([(half, half - 3 * thick), (side - 1, half), (half, half + 3 * thick)]))
    else:
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        radii = np.where(np.arange(10) % 2, 0.4, 1.0) * (half - 1)
        put_polygon(np.rint(half + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)))
    small = (size, size)
    share = cv2.resize(cover, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shown = cv2.resize(drawn, small, interpolation=cv2.INTER_AREA).astype(np.float32)  # zero outside: divide its share out
    return Patch(colour=np.minimum(shown / np.maximum(share, 1e-3)[..., None], 255), cover=share)


def visible(patch: Patch, clip: np.ndarray, left: int, top: int, opacity: float) -> Patch:
    """The patch, or its negative where the ground is so like it that nobody would see it."""
    height, width = patch.cover.shape
    ground = clip[:: max(1, len(clip) // 8), top : top + height, left : left + width].mean(axis=0)
    contrast = np.abs((patch.colour - ground).mean(axis=2))[patch.cover > 0.5].mean() * opacity
    return patch if contrast >= 25 else Patch(colour=255 - patch.colour, cover=patch.cover)


def narrowed(patch: Patch, widest: int) -> Patch:
    """The patch, reduced until it is at most this wide."""
    height, width = patch.cover.shape
    if width <= widest:
        return patch
    size = widest, max(1, round(height * widest / width))
    small = [cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_AREA) for plane in (patch.colour, patch.cover)]
    return Patch(colour=small[0], cover=small[1])


def shifted(patch: Patch, right: float, down: float) -> Patch:
    """The patch moved by a fraction of a pixel, one pixel larger each way."""
    height, width = patch.cover.shape
    matrix = np.array([[1, 0, right], [0, 1, down]])
    planes = patch.cover, patch.colour * patch.cover[..., None]
    moved = [cv2.warpAffine(np.ascontiguousarray(plane), matrix, (width + 1, height + 1)) for plane in planes]
    return Patch(colour=moved[1] / np.maximum(moved[0], 1e-3)[..., None], cover=moved[0])


def blend(frame: np.ndarray, patch: Patch, left: int, top: int, opacity: float) -> None:
    """Lay a patch over (H, W, 3), in place; what sticks out of the frame is lost."""
    height, width = patch.cover.shape
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, frame.shape[1]), min(top + height, frame.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    share = opacity * patch.cover[inner][..., None]
    region = frame[y0:y1, x0:x1]
    region[:] = np.rint(region * (1 - share) + patch.colour[inner] * share).astype(np.uint8)
