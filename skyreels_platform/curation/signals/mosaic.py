"""Pixelated areas."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.mosaic_lattice import Lattice, find_lattices

FEWEST_LEVELS = 4
"""Lumas, four levels of 255 apart, that the blocks of a mosaic show; a plain square on a plain wall has two, and its sides may pass for
the lines of a lattice."""
DIFFERENT, DIFFERS = 0.55, 2
"""Share of the neighbouring cells of an area that differ, and by more than how many levels; hard-edged rectangles and the windows of a
facade have sides on the lines of some lattice, but most of its cells lie inside or outside of them (0.5 at most, measured; a mosaic
0.6 at least)."""
FINEST = 14.0
"""Pixels: larger blocks of the unscaled middle are found in the whole, reduced picture."""


def lattices(sample: Sample) -> list[Lattice]:
    """The mosaics in the whole still."""
    if sample.still is None:
        return []
    large = sample.still.large
    return [area for area in find_lattices(large) if _is_mosaic(large, area)]


def fine_lattices(sample: Sample) -> list[Lattice]:
    """The mosaics in the still's unscaled middle, where the whole is reduced and shows none."""
    if sample.still is None or sample.still.reduced == 1 or sample.once(lattices):
        return []
    native = sample.still.native
    return [area for area in find_lattices(native, largest=FINEST) if _is_mosaic(native, area)]


def _is_mosaic(luma: np.ndarray, area: Lattice) -> bool:
    """Whether the cells differ as those of a reduced picture do."""
    rows, columns = (
        np.arange(first + area.block / 2, last, area.block).astype(int).clip(0, side - 1)
        for first, last, side in ((area.y0, area.y1, luma.shape[0]), (area.x0, area.x1, luma.shape[1]))
    )
    if len(np.unique(luma[np.ix_(rows, columns)] // 4)) < FEWEST_LEVELS:
        return False
    cells = cv2.blur(luma, (3, 3))[np.ix_(rows, columns)].astype(np.int16)
    steps = np.concatenate([np.abs(np.diff(cells, axis=axis)).ravel() for axis in (0, 1)])
    return float(np.mean(steps > DIFFERS)) >= DIFFERENT


class Mosaic(Signal):
    """Share of the frame that is pixelated, median over the stills; 0 unless half of them show it.

    Blocks of 4 to 48 pixels of the source are found as a lattice of even, square cells with a step between them; it may move.
    Where stills are reduced (sources of 720 lines and more) blocks below 3 pixels of the still are seen in its unscaled middle
    only. Pixel art and pictures enlarged without smoothing are mosaics too; what repeats (a facade, a chess board) is none. What
    no eye tells from its surroundings (blocks that differ by less than about 4 levels) is not found, nor are less than 12 blocks.
    Source: paper 3.1 names mosaic; definition our choice.
    """

    name, unit, version = "mosaic", "share of frame", "2"
    of_sample = (lattices, fine_lattices)

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._num_stills = 0
        self._found: list[tuple[float, list[Region]]] = []  # of stills that show one: a few numbers, 2 times a second

    def add(self, sample: Sample) -> None:
        if sample.still is None:
            return
        self._num_stills += 1
        large, native = sample.still.large, sample.still.native
        height, width = large.shape
        found = sample.once(lattices)
        scale_x, scale_y = 1 / width, 1 / height
        left = top = 0.0
        if not found:
            found = sample.once(fine_lattices)
            scale_x, scale_y = 1 / self.shot.width, 1 / self.shot.height
            left, top = (1 - native.shape[1] * scale_x) / 2, (1 - native.shape[0] * scale_y) / 2
        if found:
            share = sum(area.area for area in found) * scale_x * scale_y
            self._found.append((share, [_region(area, left, top, scale_x, scale_y) for area in found]))

    def result(self) -> Score:
        if not self._num_stills:
            return self.unknown("no still could be measured")
        return self.measured(min(1.0, self._typical()[0]))

    def regions(self) -> list[Region]:
        return self._typical()[1]

    def _typical(self) -> tuple[float, list[Region]]:
        """Of the still in the middle when all are ordered by their share."""
        place = len(self._found) - (self._num_stills + 1) // 2
        return sorted(self._found, key=lambda found: found[0])[place] if place >= 0 else (0.0, [])


def _region(area: Lattice, left: float, top: float, scale_x: float, scale_y: float) -> Region:
    x0, x1 = (min(1.0, max(0.0, left + x * scale_x)) for x in (area.x0, area.x1))
    y0, y1 = (min(1.0, max(0.0, top + y * scale_y)) for y in (area.y0, area.y1))
    return Region(kind=Mosaic.name, x0=x0, y0=y0, x1=x1, y1=y1)
