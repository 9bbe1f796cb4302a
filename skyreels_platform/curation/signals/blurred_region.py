"""Areas that were blurred on purpose."""

from typing import NamedTuple

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal

CELLS = 30
"""Cells along the short side of a still."""
REACH = 12
"""Pixels over which an edge's height is taken, half as many in small pictures; what anybody would call a blur spreads an edge wider
than a quarter of that."""
CONTRAST = 8, 14
"""Levels of 255 that an edge must be high to be called blurred, and to be called sharp: a codec's ripple is steep but low."""
SOFT, SHARP = 0.25, 0.29
"""Share of an edge's height that it climbs within one pixel: at most in blurred cells, at least in sharp ones."""
RIPPLE = 4
"""Levels of 255: smaller steps are a codec's."""
BLURRED = 0.3
"""Share of an area's cells that must hold something blurred; an even wall or sky holds nothing."""
SURROUNDED, RAGGED = 0.5, 0.35
"""Share of the cells around an area that must be sharp, and share that may be as smooth as the area: depth of field fades, a
blur that was drawn ends from one cell to the next."""
FILLS = 0.68
"""Share of its bounding box that an area must fill: boxes and ovals are drawn, what lies out of focus has any shape."""
SMALLEST, LARGEST = 0.006, 0.4
"""Shares of the frame."""
MOST_SIDES = 1
"""Sides of the frame that an area may touch; sky and background touch more."""
CORNER = 0.06
"""Share of the frame up to which an area may lie in a corner: a logo that was made unreadable, not somebody's shoulder."""
LASTING = 0.6
"""Share of the stills that must show such an area at its place: a fast hand is blurred for a moment, a subject out of focus moves on."""
SAME = 0.4
"""Share of the union of two areas that both cover, at least, for the same place."""


class _Area(NamedTuple):
    share: float
    x0: float
    y0: float
    x1: float
    y1: float


class BlurredRegion(Signal):
    """Share of the frame that lies in drawn blurs, median over the stills; 0 unless LASTING of them show one at the same place.

    A drawn blur is a compact area whose edges all climb slowly and around which edges climb at once. A subject or a background
    out of focus is no such area: its sharpness fades, its shape is free, and it reaches the frame's sides. A defocused compact
    thing that rests right in front of sharp texture is taken for one; a blur that follows somebody across the frame is missed.
    Source: paper 3.1 names blurred areas next to mosaic; definition our choice.
    """

    name, unit, version = "blurred_region", "share of frame", "2"

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._num_stills = 0
        self._found: list[list[_Area]] = []  # a few numbers, 2 times a second

    def add(self, sample: Sample) -> None:
        if sample.still is None:
            return
        self._num_stills += 1
        areas = _areas(sample.still.large)
        if areas:
            self._found.append(areas)

    def result(self) -> Score:
        if not self._num_stills:
            return self.unknown("no still could be measured")
        return self.measured(sum(area.share for area in self._typical()))

    def regions(self) -> list[Region]:
        return [Region(kind=self.name, x0=area.x0, y0=area.y0, x1=area.x1, y1=area.y1) for area in self._typical()]

    def _typical(self) -> list[_Area]:
        """The areas that last, of the still with the median share of them."""
        enough = LASTING * self._num_stills
        if len(self._found) < enough:
            return []
        lasting = [
            [area for area in areas if sum(any(_same(area, one) for one in other) for other in self._found) >= enough]
            for areas in self._found
        ]
        ordered = sorted((areas for areas in lasting if areas), key=lambda areas: sum(area.share for area in areas))
        return ordered[len(ordered) // 2] if ordered else []


def _same(area: _Area, other: _Area) -> bool:
    across = min(area.x1, other.x1) - max(area.x0, other.x0)
    down = min(area.y1, other.y1) - max(area.y0, other.y0)
    if across <= 0 or down <= 0:
        return False
    sizes = [(one.x1 - one.x0) * (one.y1 - one.y0) for one in (area, other)]
    return across * down >= SAME * (sum(sizes) - across * down)


def _areas(luma: np.ndarray) -> list[_Area]:
    side = max(8, min(luma.shape) // CELLS)
    rows, columns = (length // side for length in luma.shape)
    if min(rows, columns) < 8:
        return []
    steep = _highest(luma, 1, side)[:rows, :columns]
    reach = min(REACH, max(6, min(luma.shape) // 30))
    high = _highest(luma, reach, side)[:rows, :columns]
    smooth = steep <= np.maximum(RIPPLE, SOFT * high)
    blurred = smooth & (high >= CONTRAST[0])
    sharp = (high >= CONTRAST[1]) & (steep >= SHARP * high)
    mask = cv2.morphologyEx(smooth.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    found: list[_Area] = []
    for number, (left, top, wide, tall, count) in enumerate(boxes.tolist()):
        share = count / (rows * columns)
        touches = (left == 0) + (top == 0) + (left + wide == columns) + (top + tall == rows)
        if number == 0 or not SMALLEST <= share <= LARGEST or count < FILLS * wide * tall:
            continue
        if touches > MOST_SIDES + (share <= CORNER):
            continue
        area = labels == number
        # The cells right at the outline hold both sides; those one further out decide.
        grown = cv2.dilate(area.astype(np.uint8), np.ones((3, 3), np.uint8))
        ring = (cv2.dilate(grown, np.ones((3, 3), np.uint8)) > 0) & (grown == 0)
        if not ring.any() or smooth[ring].mean() > RAGGED or sharp[ring].mean() < SURROUNDED:
            continue
        if blurred[area].mean() >= BLURRED:
            found.append(_Area(share, left / columns, top / rows, (left + wide) / columns, (top + tall) / rows))
    return found


def _highest(luma: np.ndarray, reach: int, side: int) -> np.ndarray:
    """Per cell: the largest difference between pixels `reach` apart, on either axis."""
    across = np.zeros_like(luma)
    start = reach // 2
    stop = start + luma.shape[1] - reach
    across[:, start:stop] = cv2.absdiff(luma[:, reach:], luma[:, :-reach])
    stop = start + luma.shape[0] - reach
    down = across[start:stop]
    np.maximum(down, cv2.absdiff(luma[reach:], luma[:-reach]), out=down)
    rows, columns = (length // side for length in luma.shape)
    cells = across[:rows * side, :columns * side].reshape(rows, side, columns, side)
    return cells.max(axis=1).max(axis=2).astype(np.float32)
