"""Pixelated areas."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.mosaic_lattice import LARGEST, Lattice, find_lattices
from skyreels_platform.curation.signals.mosaic_steps import Packed, Steps, packed, steps_of

FEWEST_LEVELS = 4
"""Lumas, four levels of 255 apart, that the blocks of a mosaic show; a plain square on a plain wall has two, and its sides may pass for
the lines of a lattice."""
SAME_BLOCK = 0.75, 0.04
"""Pixels of a still, and share of a block, by which the block of a mosaic may seem to change; patterns of the scene that pass for
lattices do so at another size in every still."""
SAME_PLACE = 0.3
"""Share of the smaller of two areas that lies in the other where both are one mosaic, which may move."""
LASTS, MANY_LAST = 0.4, 0.15
"""Share of the stills that must show blocks of one size, one of them for sure: large ones in motion are spoiled by the codec now and then,
and of a few faint ones too few sides show. And where one still shows MANY, and others at the same place: fine, faint blocks outlive
compression in a film's best frames alone."""
AGREE_LAST = 0.25
"""The same where at least two stills agree in size and place: what is no mosaic, but passes for one there, stays as it is and does so in
every still, or moves on."""
JOINED = 8
"""Stills, the first of a shot, whose steps are put together where too few show a mosaic by themselves: of large, faint blocks that stand
still each shows other sides. Later ones would add little but what the scene moves, and the search would wait for them (our choice)."""
COARSE = 9.0
"""Pixels of a still: smaller blocks are not looked for in steps put together, among which different pictures have some on any fine
lattice (our choice; a slide show had one of 3 pixels all over)."""
MANY = 50
"""Blocks; letters and lone rectangles that fit a lattice in some still cover 40 of its cells at most, measured."""
FINEST = 14.0
"""Pixels: larger blocks of the unscaled middle are found in the whole, reduced picture."""


class _Found(NamedTuple):
    """The mosaics of one still."""

    share: float
    """Of the frame, all together."""
    blocks: list[float]
    """Their sides in pixels of the source."""
    most: float
    """How many blocks the largest of them has."""
    regions: list[Region]
    is_sure: bool
    """Whether the still shows them by itself."""


class _Searched(NamedTuple):
    """What one whole still shows."""

    lattices: list[Lattice]
    steps: Packed


def searched(sample: Sample) -> _Searched | None:
    """The mosaics in the whole still, sure ones, else likely ones; and its steps."""
    if sample.still is None:
        return None
    steps = steps_of(sample.still.large)
    return _Searched(_mosaics(sample.still.large, LARGEST, steps), packed(steps))


def lattices(sample: Sample) -> list[Lattice]:
    """The mosaics in the whole still."""
    found = sample.once(searched)
    return found.lattices if found else []


def fine_lattices(sample: Sample) -> list[Lattice]:
    """The mosaics in the still's unscaled middle, where the whole is reduced and shows none."""
    if sample.still is None or sample.still.reduced == 1 or any(area.is_sure for area in lattices(sample)):
        return []
    return _mosaics(sample.still.native, FINEST)


@dataclass(frozen=True)
class _Joined:
    """Finds the sure mosaics in one still by the steps of others as well; the same for all who look at one shot."""

    first: int
    """Index of the shot's first still."""
    steps: Packed = field(compare=False, repr=False)

    def __call__(self, sample: Sample) -> list[Lattice]:
        assert sample.still is not None
        found = find_lattices(sample.still.large, COARSE, steps=self.steps.unpacked())
        return [area for area in found if area.levels >= FEWEST_LEVELS and area.is_sure]


def _mosaics(luma: np.ndarray, largest: float, steps: Steps | None = None) -> list[Lattice]:
    """The lattices of enough levels."""
    return [area for area in find_lattices(luma, largest=largest, steps=steps) if area.levels >= FEWEST_LEVELS]


class Mosaic(Signal):
    """Share of the frame that is pixelated, median over the stills that show it; 0 unless two fifths do, in blocks of one size, or a
    seventh where they are many. Where fewer do, what the first stills show together.

    Blocks of 4 to 48 pixels of the source are found as a lattice of even, square cells with a step between them; it may move.
    Where stills are reduced (sources of 720 lines and more) blocks below 3 pixels of the still are seen in its unscaled middle
    only. Pixel art and pictures enlarged without smoothing are mosaics too; what repeats (a facade, a chess board) is none. What
    no eye tells from its surroundings (blocks that differ by less than about 4 levels) is not found, nor are less than 12
    blocks (8 large ones).
    Source: paper 3.1 names mosaic; definition our choice.
    """

    name, unit, version = "mosaic", "share of frame", "6"
    of_sample = (searched, fine_lattices)

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._num_stills, self._pixel = 0, 1
        self._found: list[_Found] = []  # a few numbers, 2 times a second
        self._joined: _Joined | None = None
        self._without: Sample | None = None  # the last one joined that shows none by itself

    def add(self, sample: Sample) -> None:
        if sample.still is None:
            return
        self._num_stills += 1
        self._pixel = sample.still.reduced  # pixels of the source, as blocks are counted
        large, native = sample.still.large, sample.still.native
        height, width = large.shape
        found = lattices(sample)
        scale_x, scale_y = 1 / width, 1 / height
        left = top = 0.0
        fine = sample.once(fine_lattices)
        if any(area.is_sure for area in fine) or not found:
            found = fine
            scale_x, scale_y = 1 / self.shot.width, 1 / self.shot.height
            left, top = (1 - native.shape[1] * scale_x) / 2, (1 - native.shape[0] * scale_y) / 2
        if found:
            self._found.append(self._as_found(found, left, top, scale_x, scale_y))
        if self._num_stills <= JOINED:
            self._join(sample)

    def _join(self, sample: Sample) -> None:
        """Add a still's steps to those of the stills before it."""
        found = sample.once(searched)
        assert found is not None
        if self._joined is None:
            self._joined = _Joined(sample.index, found.steps)
        elif found.steps.shape == self._joined.steps.shape:
            self._joined = _Joined(self._joined.first, self._joined.steps.joined(found.steps))
        else:
            return
        if not found.lattices:
            self._without = sample

    def _as_found(self, areas: list[Lattice], left: float, top: float, scale_x: float, scale_y: float) -> _Found:
        """Lattices of a part of the frame that starts at `left` and `top`, with shares of the frame per pixel."""
        share = sum(area.area for area in areas) * scale_x * scale_y
        blocks = [area.block * scale_y * self.shot.height for area in areas]
        most = max(area.area / area.block**2 for area in areas)
        regions = [_region(area, left, top, scale_x, scale_y) for area in areas]
        return _Found(share, blocks, most, regions, any(area.is_sure for area in areas))

    def result(self) -> Score:
        if not self._num_stills:
            return self.unknown("no still could be measured")
        return self.measured(min(1.0, self._typical()[0]))

    def regions(self) -> list[Region]:
        return self._typical()[1]

    def _typical(self) -> tuple[float, list[Region]]:
        """Of the still in the middle when those that show it are ordered by their share; else of the stills together."""
        certain = sorted((one for one in self._lasting() if one.is_sure), key=lambda one: one.share)
        if certain:
            middle = certain[len(certain) // 2]
            return middle.share, middle.regions
        standing = self._standing()
        return (standing.share, standing.regions) if standing else (0.0, [])

    def _lasting(self) -> list[_Found]:
        """The stills that show one mosaic, if they are enough."""
        sure = [found for found in self._found if found.is_sure]
        groups = [
            [one for one in self._found if self._shows(one, block, None if one.is_sure else region)]
            for found in sure for block, region in zip(found.blocks, found.regions, strict=True)
        ]  # fmt: skip
        group = max(groups, key=len, default=[])
        if len(group) >= LASTS * self._num_stills:
            return group
        # What shows at other sizes or elsewhere in other stills is a pattern of the scene.
        groups = [
            [one for one in sure if self._shows(one, block, region)]
            for found in sure if found.most >= MANY for block, region in zip(found.blocks, found.regions, strict=True)
        ]  # fmt: skip
        many = max(groups, key=len, default=[])
        if len(many) >= MANY_LAST * self._num_stills and 2 * len(many) > len(sure):
            return many
        there = max((self._there(found) for found in sure), key=len, default=[])
        return there if len(there) >= max(2, AGREE_LAST * self._num_stills) else []

    def _standing(self) -> _Found | None:
        """What the first stills show together, if some still has shown a mosaic by itself: the blocks of one that shows none must be
        even and differ as well, for what passes for a mosaic once would pass again by its own steps."""
        if self._joined is None or self._without is None or not self._found or self._num_stills < 2:
            return None
        found = self._without.once(self._joined)
        if not found:
            return None
        assert self._without.still is not None
        height, width = self._without.still.large.shape
        return self._as_found(found, 0.0, 0.0, 1 / width, 1 / height)

    def _there(self, found: _Found) -> list[_Found]:
        """The stills that show blocks of the same size where this one does."""
        shown = zip(found.blocks, found.regions, strict=True)
        return max(([one for one in self._found if self._shows(one, block, region)] for block, region in shown), key=len)

    def _shows(self, found: _Found, block: float, region: Region | None) -> bool:
        """Whether a still shows blocks of this size; if a region is given, where that lies."""
        return any(
            self._is_same(block, other) and (region is None or _meet(region, place))
            for other, place in zip(found.blocks, found.regions, strict=True)
        )

    def _is_same(self, block: float, other: float) -> bool:
        """Whether two sizes are one; faint blocks show as their halves in some stills."""
        pixels, share = SAME_BLOCK
        small, large = sorted((block, other))
        return any(abs(large - times * small) <= max(pixels * self._pixel, share * large) for times in (1, 2))


def _meet(one: Region, other: Region) -> bool:
    """Whether a good part of the smaller one lies in the other."""
    width, height = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
    areas = [(region.x1 - region.x0) * (region.y1 - region.y0) for region in (one, other)]
    return max(0.0, width) * max(0.0, height) >= SAME_PLACE * min(areas)


def _region(area: Lattice, left: float, top: float, scale_x: float, scale_y: float) -> Region:
    x0, x1 = (min(1.0, max(0.0, left + x * scale_x)) for x in (area.x0, area.x1))
    y0, y1 = (min(1.0, max(0.0, top + y * scale_y)) for y in (area.y0, area.y1))
    return Region(kind=Mosaic.name, x0=x0, y0=y0, x1=x1, y1=y1)
