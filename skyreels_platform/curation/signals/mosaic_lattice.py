"""Finds square lattices of evenly coloured blocks in one picture.

Three steps, from cheap to dear: isolated steps (a jump between two flat runs of pixels, as only drawn things have); windows in
which the steps of both axes repeat at one spacing; and the cells of that lattice, of which each must be even inside and bounded.
"""

from typing import NamedTuple

import cv2
import numpy as np

from skyreels_platform.curation.signals.mosaic_candidates import LARGEST, SCALES, Candidate, candidates_in
from skyreels_platform.curation.signals.mosaic_steps import SMALLEST_STEP, Steps, steps_of

ON_LATTICE = 0.85, 0.95
"""Share of all steps in an area that must lie on its boundaries, and in the box of an area of few cells."""
RIPPLE = 1.5, 0.25
"""A cell is even when its deviation is at most so many levels, or at most this share of the deviation of the cells around it."""
EVEN = 0.7
"""Share of the cells in an area's bounding box that must be even; an oval leaves a fifth of it outside."""
FEWEST_CELLS, FEWEST_LARGE, LARGE = 12, 8, 16.0
"""Cells of an area at least, of those of large blocks, and their side: a straight edge of 16 pixels that lies on the lattice says more
than one of 4. Areas of less than 12 cells, and those of a multiple of the block that was found first, must be boxes, for such a lattice
may cut through the windows of a wall: ON_LATTICE holds for the steps of the whole box then."""
ALTERNATES = 0.5
"""Windows of a facade and chess boards repeat after two or three cells: the step to the cell after next (or the one after that)
is then smaller than this share of the step to the next."""
TWO_TONES, FEWEST_TONED = 0.12, 150
"""Share of the variance of an area's cells that is left within the dark and within the light ones, below which it is a pattern of two
tones, as bricks and tiles are; and cells of an area that tell it. A mosaic of a scene leaves 0.3 and more."""
DIFFERENT, DIFFERS = 0.55, 2
"""Share of the neighbouring cells of an area that differ, and by more than how many levels; hard-edged rectangles and the windows of a
facade have sides on the lines of some lattice, but most of its cells lie inside or outside of them (0.5 at most, measured; a mosaic
0.6 at least)."""
SHOWN = 0.5
"""Share of the side between two of few cells along which a step must show for them to differ: a square before a shaded wall covers
four cells of a lattice, and the others differ by the shade."""
LIKELY = 0.4
"""As DIFFERENT, of few cells that are a lattice if another still shows it for sure, at the same place and size."""
STEPS = 1.05
"""Times as many of the neighbouring cells of a sure lattice that differ by a step shown as above as around a lone rectangle of cells in
its middle: the cells of a shaded wall beside a square differ, too, but without a step."""
MULTIPLES = 1, 2, 3
"""Times a candidate's block that its lattice is tried with: faint blocks first show as halves or thirds, most of which are alike."""
_FEWEST_PAIRS = 6  # of cells that are compared before anything is said of how they repeat


class Lattice(NamedTuple):
    """One pixelated area, in pixels of the picture."""

    x0: float
    y0: float
    x1: float
    y1: float
    block: float
    area: float
    """Of the pixelated cells alone; at most that of the box."""
    step: float
    """Mean step at the blocks' boundaries, levels."""
    differing: float
    """Share of the neighbouring cells that differ."""
    shown: float
    """Share of them that differ by a step along most of the side between them."""
    lone: float
    """As `shown`, around a lone rectangle that leaves one cell at each side of the area's box."""
    levels: int
    """Lumas, four levels of 255 apart, that the cells show."""

    @property
    def is_sure(self) -> bool:
        """Whether it is one by itself, whatever other stills show."""
        if self._cells < FEWEST_CELLS:
            return self.shown >= DIFFERENT
        return self.differing >= DIFFERENT and self.shown >= STEPS * self.lone

    @property
    def is_likely(self) -> bool:
        """Whether it is one if another still shows it for sure."""
        return self.shown >= LIKELY if self._cells < FEWEST_CELLS else self.differing >= DIFFERENT

    @property
    def _cells(self) -> int:
        return round(self.area / self.block**2)


class _Tables:
    """Sums over any rectangle of a picture and of its steps."""

    def __init__(self, luma: np.ndarray, steps: Steps) -> None:
        self.height, self.width = luma.shape
        self._luma, self._squares = cv2.integral2(luma, sdepth=cv2.CV_32S, sqdepth=cv2.CV_64F)
        self._across = cv2.integral(steps.across, sdepth=cv2.CV_32S)
        self._down = cv2.transpose(cv2.integral(steps.down, sdepth=cv2.CV_32S))

    def moments(self, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of luma in rows [top, bottom) by columns [left, right): (rows, columns) each."""
        count = (bottom - top)[:, None] * (right - left)[None, :]
        mean = _sums(self._luma, top, bottom, left, right) / count
        return mean, np.sqrt(np.maximum(_sums(self._squares, top, bottom, left, right) / count - mean * mean, 0))

    def across(self, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Number of steps from left to right in the same rectangles; they may reach beyond the picture."""
        return _sums(self._across, *self._inside(top, bottom, left, right))

    def down(self, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """As `across`, steps from top to bottom."""
        return _sums(self._down, *self._inside(top, bottom, left, right))

    def _inside(self, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
        limits = (self.height, self.height, self.width, self.width)
        return [np.clip(edge, 0, limit) for edge, limit in zip((top, bottom, left, right), limits, strict=True)]


def _sums(table: np.ndarray, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    low, high = table[bottom[:, None], right], table[top[:, None], right]
    return low - high - table[bottom[:, None], left] + table[top[:, None], left]


def find_lattices(luma: np.ndarray, smallest: float = 3.0, largest: float = LARGEST, *, steps: Steps | None = None) -> list[Lattice]:
    """Pixelated areas of (h, w) uint8 with blocks of `smallest` to `largest` pixels, largest area first; they do not overlap.

    Sure ones, or if there are none, likely ones. `steps` are those of this picture, unless others are given.
    """
    if min(luma.shape) < SCALES[0][0]:
        return []
    steps = steps or steps_of(luma)
    candidates = candidates_in(steps, smallest, largest)
    tables = _Tables(luma, steps) if candidates else None
    found: list[Lattice] = []
    likely: list[Lattice] = []
    for candidate in candidates:
        left, top, side = candidate.window
        middle_x, middle_y = left + side / 2, top + side / 2
        if any(area.x0 <= middle_x <= area.x1 and area.y0 <= middle_y <= area.y1 for area in found):
            continue
        assert tables is not None
        area = _best_grown(tables, candidate, largest)
        kept = likely if area is not None and not area.is_sure else found
        if area is not None and not any(_overlap(area, other) > 0.3 * min(area.area, other.area) for other in kept):
            kept.append(area)
    return sorted(found or likely, key=lambda area: -area.area)


def _best_grown(tables: _Tables, candidate: Candidate, largest: float) -> Lattice | None:
    """The area of the smallest multiple of the candidate's block whose cells differ from their neighbours, as those of a mosaic do; else
    of the smallest one that is likely."""
    likely = None
    for multiple in MULTIPLES:
        if multiple * candidate.block <= largest:
            tried = candidate if multiple == 1 else _coarser(tables, candidate, multiple)
            area = _grown(tables, tried, is_multiple=multiple > 1)
            if area is not None and area.is_sure:
                return area
            if likely is None and area is not None and area.is_likely:
                likely = area
    return likely


def _coarser(tables: _Tables, candidate: Candidate, multiple: int) -> Candidate:
    """The lattice of every second or third line of a candidate's: of those lines which show the most steps in its window."""
    left, top, side = candidate.window
    rows, columns = np.array([top]), np.array([left])
    starts: list[float] = []
    for line, first, count in (
        (candidate.x, left, lambda at: tables.across(rows, rows + side, at - 2, at + 1)),
        (candidate.y, top, lambda at: tables.down(at - 2, at + 1, columns, columns + side)),
    ):  # fmt: skip
        lines = np.arange(line + np.ceil((first - line) / candidate.block) * candidate.block, first + side, candidate.block)
        steps = count(np.rint(lines).astype(int)).ravel()
        starts.append(float(lines[int(np.argmax([steps[number::multiple].mean() for number in range(min(multiple, len(steps)))]))]))
    return candidate._replace(block=multiple * candidate.block, x=starts[0], y=starts[1])


def _grown(tables: _Tables, candidate: Candidate, *, is_multiple: bool) -> Lattice | None:
    """The connected area of even, bounded cells around the candidate's window."""
    block = candidate.block
    sides = (candidate.x, tables.width), (candidate.y, tables.height)
    xs, ys = (np.arange(line % block, side - 0.5, block) for line, side in sides)
    if len(xs) < 4 or len(ys) < 4:
        return None
    even, means = _even_cells(tables, xs, ys, block)
    bounded, sides, on_lines, all_steps = _bounded_cells(tables, xs, ys, block)
    cells = (even & (bounded >= 0.25)).astype(np.uint8)
    # A cell whose neighbours happen to have its colour shows no boundary; cells around it vouch for it.
    vouched = (cv2.boxFilter(cells, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT) >= 5) & even
    mask = ((cells > 0) | vouched).astype(np.uint8)
    square = np.ones((2, 2), np.uint8)
    mask = cv2.dilate(cv2.erode(mask, square, anchor=(0, 0)), square, anchor=(1, 1))  # the anchors undo each other's shift
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    left, top, side = candidate.window
    columns = (xs[:-1] >= left - 1) & (xs[1:] <= left + side + 1)
    rows = (ys[:-1] >= top - 1) & (ys[1:] <= top + side + 1)
    inside = labels[np.ix_(rows, columns)]
    counts = np.bincount(inside.ravel())
    if len(counts) < 2:
        return None
    area = labels == 1 + int(counts[1:].argmax())
    total = int(area.sum())
    fewest = FEWEST_LARGE if block >= LARGE else FEWEST_CELLS
    if total < fewest or bounded[area].mean() < 0.3 or on_lines[area].sum() < ON_LATTICE[0] * all_steps[area].sum():
        return None
    steps = np.concatenate([
        np.abs(np.diff(means, axis=axis))[_both(area, axis)] for axis in (0, 1)
    ])
    if not len(steps) or steps.mean() < SMALLEST_STEP - 1 or _alternates(means, area) or _has_two_tones(means[area]):
        return None
    in_rows, in_columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    box = np.s_[in_rows[0]:in_rows[-1] + 1, in_columns[0]:in_columns[-1] + 1]
    if min(len(in_rows), len(in_columns)) < 3 or even[box].mean() < EVEN:
        return None
    strictness = ON_LATTICE[1] if total < FEWEST_CELLS else ON_LATTICE[0] if is_multiple else 0.0
    if on_lines[box].sum() < strictness * all_steps[box].sum():
        return None
    within = means[box]
    is_step = np.concatenate([np.abs(np.diff(within, axis=axis)).ravel() > DIFFERS for axis in (0, 1)])
    is_shown = np.concatenate([sides[0][box][1:].ravel(), sides[1][box][:, 1:].ravel()]) >= SHOWN
    return Lattice(
        float(xs[in_columns[0]]), float(ys[in_rows[0]]), float(xs[in_columns[-1] + 1]), float(ys[in_rows[-1] + 1]), block,
        total * block * block, float(steps.mean()), float(np.mean(is_step)), float(np.mean(is_step & is_shown)),
        2 * (len(in_rows) + len(in_columns) - 4) / len(is_step), len(np.unique(within.astype(int) // 4)),
    )  # fmt: skip


def _alternates(means: np.ndarray, area: np.ndarray) -> bool:
    """Whether the cells' means repeat on both axes, as drawn or built patterns do."""
    def step(lag: int, axis: int) -> float:
        values, inside = (np.moveaxis(array, axis, 0) for array in (means, area))
        both = inside[lag:] & inside[:-lag]
        return float(np.abs(values[lag:] - values[:-lag])[both].mean()) if both.sum() >= _FEWEST_PAIRS else np.inf

    return all(min(step(2, axis), step(3, axis)) < ALTERNATES * step(1, axis) for axis in (0, 1))


def _has_two_tones(cells: np.ndarray) -> bool:
    """Whether (n,) lumas of many cells are either dark or light and hardly anything between."""
    if len(cells) < FEWEST_TONED:
        return False
    light = cells >= np.quantile(cells, (0.1, 0.9)).mean()
    if light.all() or not light.any():
        return False
    within = sum(float(part.var()) * len(part) for part in (cells[light], cells[~light])) / len(cells)
    return within < TWO_TONES * float(cells.var())


def _both(area: np.ndarray, axis: int) -> np.ndarray:
    return area[1:] & area[:-1] if axis == 0 else area[:, 1:] & area[:, :-1]


def _even_cells(tables: _Tables, xs: np.ndarray, ys: np.ndarray, block: float) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) bool: the cell's inside is even, up to a codec's ripple; and the mean luma of each cell."""
    margin = 0.75 if block < 8 else 1.75
    spans: list[np.ndarray] = []
    for lines in (ys, xs):
        first = np.ceil(lines[:-1] + margin).astype(int)
        spans += [first, np.maximum(np.floor(lines[1:] - margin).astype(int), first + 1)]
    means, deviation = tables.moments(*spans)
    around = cv2.boxFilter(means, -1, (3, 3), borderType=cv2.BORDER_REPLICATE)
    spread = np.sqrt(np.maximum(cv2.boxFilter(means * means, -1, (3, 3), borderType=cv2.BORDER_REPLICATE) - around * around, 0))
    return deviation <= np.maximum(RIPPLE[0], RIPPLE[1] * spread), means


def _bounded_cells(
    tables: _Tables, xs: np.ndarray, ys: np.ndarray, block: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Per cell: share of its outline that shows a step, shares of its upper and left side; steps on its boundaries; all steps."""
    x, y = np.rint(xs).astype(int), np.rint(ys).astype(int)
    # Three pixels wide: a step marks the one before its boundary or the one that holds it; the phase is known to half a pixel. Wider for
    # large blocks: when they move a codec leaves part of a line behind, and their size is known less well.
    reach = 1 + int(block / LARGE)
    upright = tables.across(y[:-1], y[1:], x - 1 - reach, x + reach)
    lying = tables.down(y - 1 - reach, y + reach, x[:-1], x[1:])
    outline = (upright[:, 1:] + upright[:, :-1] + lying[1:] + lying[:-1]) / (4 * block)
    cell = [line[slice(*part)] - 1 - reach for line in (y, x) for part in ((None, -1), (1, None))]
    sides = lying[:-1] / block, upright[:, :-1] / block
    return outline, sides, upright[:, :-1] + lying[:-1], tables.across(*cell) + tables.down(*cell)


def _overlap(one: Lattice, other: Lattice) -> float:
    width, height = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)
