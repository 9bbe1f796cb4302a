"""The crop of a shot: the largest rectangle without borders, subtitles and logos.

A crop is a row of the ledger and never a re-encode. Borders are cut to the pixel and always; what else must be avoided marks the
cells of a grid over the picture inside the borders, and the largest rectangle of clean cells is found by a monotonic stack of
column heights (linear in the number of cells). It is kept if it is large enough and of nearly the same shape; otherwise nothing
but the borders is cut and the crop says `refused`: the shot then still shows what should have been avoided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # signals that look at crops import this module
    from skyreels_platform.curation.signals.base import Region

AVOIDED = ("letterbox", "subtitle", "logo", "sticker")
"""Kinds of regions that a crop goes round; of the others (a mosaic, a picture in the picture) nothing good is left beside them."""
CROP_VERSION = "crop-1"
"""Raise it when the same regions would give another crop."""


@dataclass(frozen=True, kw_only=True)
class CropRules:
    """When a crop is worth it."""

    area_share: float = 0.8
    """A crop must be larger than this share of the picture inside the borders; paper 3.1: 80 %."""
    aspect_factor: float = 1.25
    """Its aspect ratio may differ from that picture's by at most this factor, either way (our choice)."""
    borders: tuple[str, ...] = ("letterbox",)
    """Kinds of regions that lie along the frame's sides and are cut whatever is left (our choice)."""
    columns: int = 96
    """Cells of the grid across; with `rows`, positions are exact to about one part in a hundred (our choice)."""
    rows: int = 54
    """Cells of the grid down."""

    def __post_init__(self) -> None:
        if not 0 <= self.area_share < 1:
            raise ValueError(f"CropRules.area_share is {self.area_share}; give a share from 0 to below 1")
        if self.aspect_factor < 1:
            raise ValueError(f"CropRules.aspect_factor is {self.aspect_factor}; give a factor of at least 1")
        if self.columns < 1 or self.rows < 1:
            raise ValueError(f"the crop's grid is {self.columns} x {self.rows} cells; give at least 1 x 1")


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One shot's rectangle in displayed pixels; even, unless it is a whole odd-sized picture."""

    x: int
    y: int
    width: int
    height: int
    area_share: float
    """Of the whole frame, borders included."""
    status: Literal["whole", "cropped", "refused"]
    """whole: nothing to avoid. cropped: everything that was to be avoided lies outside. refused: it does not; the rectangle is
    the frame without its borders."""
    reason: str
    """What was avoided, or why it could not be; empty for `whole`."""


def clean_crop(width: int, height: int, regions: Sequence["Region"], rules: CropRules | None = None) -> Crop:
    """The crop of a frame of `width` by `height` displayed pixels that avoids all `regions`; equal regions give an equal crop.

    Regions of the kinds `rules.borders` are cut from the side that they touch; one that touches none is avoided like any other.
    ValueError for a frame below 2 x 2 pixels.
    """
    if min(width, height) < 2:
        raise ValueError(f"a frame of {width} x {height} pixels cannot be cropped; give at least 2 x 2")
    rules = rules or CropRules()
    box = _inside_borders(width, height, [region for region in regions if region.kind in rules.borders])
    has_borders = box != (0, 0, width, height)
    borders = _names([region for region in regions if region.kind in rules.borders])
    marks = [region for region in regions if _pixels_inside(region, width, height, box)]
    if not marks:
        status = "cropped" if has_borders else "whole"
        return _crop(box, width, height, status, f"avoids {borders}" if has_borders else "")
    found = _clean_rectangle(box, width, height, marks, rules)
    problem = _problem(found, box, rules)
    if problem:
        cut = f"; {borders} removed" if has_borders else ""
        return _crop(box, width, height, "refused", f"{_names(marks)}: {problem}{cut}")
    avoided = [region for region in regions if region.kind in rules.borders or region in marks]
    return _crop(found, width, height, "cropped", f"avoids {_names(avoided)}")


def largest_rectangle(clean: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, height, width) in cells of the largest all-true rectangle of (rows, columns) bool; zeros if there is none.

    Of equally large ones the first found counts, from top to bottom and left to right of the lower right corner.
    """
    rows, columns = clean.shape
    heights = np.zeros((rows, columns), np.int64)
    for row in range(rows):
        heights[row] = (heights[row - 1] + 1) * clean[row] if row else clean[row]
    # Columns of equal height count as one: a grid with few marks has few of them.
    changes = np.ones((rows, columns), bool)
    changes[:, 1:] = heights[:, 1:] != heights[:, :-1]
    best, answer = 0, (0, 0, 0, 0)
    for row in range(rows):
        starts = np.flatnonzero(changes[row])
        stack: list[tuple[int, int]] = []  # (leftmost column, height), heights rising
        for column, height in zip([*starts.tolist(), columns], [*heights[row, starts].tolist(), 0], strict=True):
            left = column
            while stack and stack[-1][1] >= height:
                left, tall = stack.pop()
                area = tall * (column - left)
                if area > best:
                    best, answer = area, (row - tall + 1, left, tall, column - left)
            if height:
                stack.append((left, height))
    return answer


def _inside_borders(width: int, height: int, borders: Sequence["Region"]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in pixels of the frame without regions that touch a side, rounded inwards to even numbers."""
    left, top, right, bottom = 0.0, 0.0, 1.0, 1.0
    for region in borders:
        wide, tall = region.x1 - region.x0, region.y1 - region.y0
        # A corner touches two sides: the bar lies along the side that takes less from the picture.
        cuts = [
            (wide, "left", region.x0 <= 0.001), (wide, "right", region.x1 >= 0.999),
            (tall, "top", region.y0 <= 0.001), (tall, "bottom", region.y1 >= 0.999),
        ]
        touching = [cut for cut in cuts if cut[2]]
        if not touching:
            continue
        _, side, _ = min(touching)
        if side == "left":
            left = max(left, region.x1)
        elif side == "right":
            right = min(right, region.x0)
        elif side == "top":
            top = max(top, region.y1)
        else:
            bottom = min(bottom, region.y0)
    x0, y0 = _up(left * width), _up(top * height)
    x1 = width if right >= 1 else _down(right * width)
    y1 = height if bottom >= 1 else _down(bottom * height)
    if x1 - x0 < 2 or y1 - y0 < 2:  # bars that leave nothing are no bars
        return 0, 0, width, height
    return x0, y0, x1, y1


def _clean_rectangle(
    box: tuple[int, int, int, int], width: int, height: int, marks: Sequence["Region"], rules: CropRules
) -> tuple[int, int, int, int]:
    """The largest rectangle of grid cells inside `box` that no mark touches, in pixels rounded inwards to even numbers."""
    x0, y0, x1, y1 = box
    columns, rows = min(rules.columns, x1 - x0), min(rules.rows, y1 - y0)
    clean = np.ones((rows, columns), bool)
    across, down = (x1 - x0) / columns, (y1 - y0) / rows
    for mark in marks:
        left, right = _cells((mark.x0 * width - x0) / across, (mark.x1 * width - x0) / across, columns)
        top, bottom = _cells((mark.y0 * height - y0) / down, (mark.y1 * height - y0) / down, rows)
        clean[top:bottom, left:right] = False
    top, left, tall, wide = largest_rectangle(clean)
    return (
        _up(x0 + left * across), _up(y0 + top * down), _down(x0 + (left + wide) * across), _down(y0 + (top + tall) * down)
    )


def _cells(first: float, last: float, count: int) -> tuple[int, int]:
    """Cells that the span touches by more than a rounding error."""
    return max(0, int(np.floor(first + 1e-6))), min(count, int(np.ceil(last - 1e-6)))


def _problem(found: tuple[int, int, int, int], box: tuple[int, int, int, int], rules: CropRules) -> str:
    """Why the rectangle is no good; empty if it is."""
    (wide, tall), (full_wide, full_tall) = ((x1 - x0, y1 - y0) for x0, y0, x1, y1 in (found, box))
    if wide < 2 or tall < 2:
        return "no clean rectangle is left"
    share = wide * tall / (full_wide * full_tall)
    if share <= rules.area_share:
        return f"the largest clean rectangle takes {share:.1%} of the picture, not more than {rules.area_share:.0%}"
    factor = (wide / tall) / (full_wide / full_tall)
    factor = max(factor, 1 / factor)
    if factor > rules.aspect_factor:
        return f"the clean rectangle's aspect ratio differs by a factor of {factor:.2f}, over {rules.aspect_factor:g}"
    return ""


def _pixels_inside(region: "Region", width: int, height: int, box: tuple[int, int, int, int]) -> bool:
    """Whether the region reaches into the box by at least half a pixel."""
    wide = min(region.x1 * width, box[2]) - max(region.x0 * width, box[0])
    tall = min(region.y1 * height, box[3]) - max(region.y0 * height, box[1])
    return wide >= 0.5 and tall >= 0.5


def _crop(
    box: tuple[int, int, int, int], width: int, height: int, status: Literal["whole", "cropped", "refused"], reason: str
) -> Crop:
    x0, y0, x1, y1 = box
    share = (x1 - x0) * (y1 - y0) / (width * height)
    return Crop(x=x0, y=y0, width=x1 - x0, height=y1 - y0, area_share=share, status=status, reason=reason)


def _names(regions: Sequence["Region"]) -> str:
    return ", ".join(sorted({region.kind for region in regions}))


def _up(value: float) -> int:
    return 2 * int(np.ceil(value / 2 - 1e-6))


def _down(value: float) -> int:
    return 2 * int(np.floor(value / 2 + 1e-6))
