"""Split screens and pictures in pictures."""

from typing import NamedTuple

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.edge_lines import STRIP, EdgeLines, Seams
from skyreels_platform.curation.signals.mosaic import Mosaic

INNERMOST = 0.12
"""Share of the frame that a panel takes on either axis, at least."""
COMPLETE, COMPLETE_INSET = (0.6, 0.8), (0.7, 0.82)
"""Share of the line through the frame, and of an inset's outline, that must be a seam for any confidence and for a full one: panels end in
straight lines without a gap; of walls, roofs and trunks in footage that moves at most 0.69 was a seam."""
MOVING, MOVING_INSET = 0.3, 0.7
"""Share of the time at which what lies beside a seam must move otherwise than the other side, for full confidence: in a
scene at rest any wall has an edge (0.03 at most on complete ones, measured), and under a pan along it the edge stays too. Windows and
pictures on a wall are commoner than edges through the whole frame, and people pass some of their sides (half of the time at most,
measured, but for those who stand there), so an inset needs more."""
LASTING = 0.5, 0.8
"""Share of the time with motion beside the seam that must speak for it, not against it, for any confidence and for a full one."""
FLAT = 1.0
"""Levels: content of an area beside a seam, or of an inset, as `Seams.contents` takes it, below which it is a bar or a plate."""
RELATED = 0.45, 0.8
"""Correlation across a seam from which confidence falls, and at which none is left: a mosaic has such an outline too."""
PIXELATED = 0.5
"""Share of an inset that is a mosaic, from which it is nothing else: a mosaic's outline, and its lines, stay too."""
SIDE = 0.45
"""Share of each side of an inset picture that must be a seam."""
PANES = 0.4, 0.5
"""Share of the way through an area along which a line must be a seam, and share of all seams inside that lie on such lines, both ways,
from which the area is a grid; of the seams in an inset picture at most 0.1 do one way or the other, unless it shows a pattern."""
MOST_PANELS = 3
"""Lines through the frame on one axis; where there are more it is a pattern that slides along itself."""
LONGEST = 2.6
"""Times as long as wide, or as wide as long, at most: pictures are, lines of text in a box of their own are longer."""
OUTERMOST = 0.85
"""Share of the frame that an inset takes on either axis, at most."""
MOST_LINES, MOST_TRIES = 40, 24
"""Lines on either axis whose rectangles are compared, and rectangles that are looked at closely."""
WHOLE = 0.75
"""Share of a piece of a side, as long as the shortest side of an inset, that is a seam."""
FEWEST_PICTURES = 6
"""Pictures, 8 a second: in fewer, a slow camera leaves every edge where it is."""


class _Panel(NamedTuple):
    confidence: float
    x0: float
    y0: float
    x1: float
    y1: float


class SplitScreen(Signal):
    """Confidence, 0 to 1, that the frame is composed of unrelated pictures.

    A straight, upright or level line through the frame (split screen), or a rectangle's outline (picture in picture), must be a sharp
    step nearly all along and stay so while the picture beside it moves otherwise than the picture on the other side; what lies on
    both sides must not go on across it. The confidence is the product of how complete the seam is, how often both sides move
    differently with the seam in sight, and how unlike both sides are. A scene that does not move at all gives 0, for any wall in it has
    such edges; so does a bar, which has no picture on one side, a pan along a wall, and an area that `mosaic` finds. Misses panels
    that hardly move; takes a picture before its own blurred copy for composed, some strong drawn blurs, and an edge through the whole
    frame before which somebody passes close by.
    Source: paper 3.1 names split screens; definition our choice.
    """

    name, unit, version = "split_screen", "confidence", "5"
    of_sample = Mosaic.of_sample
    video_only = True
    still = "a seam shows by staying while the picture moves"

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._lines, self._mosaic = EdgeLines(), Mosaic(shot)
        self._panels: list[_Panel] | None = None

    def add(self, sample: Sample) -> None:
        self._mosaic.add(sample)  # whose lattices are found once for both signals
        if sample.picture is not None:
            flow = None if sample.motion is None else sample.motion.flow
            self._lines.add(np.ascontiguousarray(sample.picture[..., 1]), flow)  # green: nearly luma, and free

    def result(self) -> Score:
        if self._lines.num_pictures < FEWEST_PICTURES:
            return self.unknown(f"{self._lines.num_pictures} pictures only, of {FEWEST_PICTURES} that show whether an edge stays")
        panels = self._found()
        return self.measured(max((panel.confidence for panel in panels), default=0.0))

    def regions(self) -> list[Region]:
        return [Region(kind=self.name, x0=p.x0, y0=p.y0, x1=p.x1, y1=p.y1) for p in self._found() if p.confidence >= 0.3]

    def _found(self) -> list[_Panel]:
        if self._panels is None:
            seams = self._lines.seams()
            self._panels = [] if seams is None else _best(_halves(seams), _insets(seams, self._mosaic.regions()))
        return self._panels


def _best(halves: list[_Panel], insets: list[_Panel]) -> list[_Panel]:
    return max(halves, insets, key=lambda panels: max((panel.confidence for panel in panels), default=0.0))


def _halves(seams: Seams) -> list[_Panel]:
    """The two sides of the best line through the whole frame."""
    best: list[_Panel] = []
    for view, is_upright in ((seams, True), (seams.turned(), False)):
        length = view.upright.shape[1]
        lines = _through(view)
        if not lines or len(lines) > MOST_PANELS:
            continue
        confidence, at = max(lines)
        if not best or confidence > best[0].confidence:
            share = (at + 0.5) / length
            first = (0.0, 0.0, share, 1.0) if is_upright else (0.0, 0.0, 1.0, share)
            second = (share, 0.0, 1.0, 1.0) if is_upright else (0.0, share, 1.0, 1.0)
            best = [_Panel(confidence, *first), _Panel(confidence, *second)]
    return best


def _through(view: Seams) -> list[tuple[float, int]]:
    """Confidence and column of every upright line through the frame that may part two panels."""
    rows = view.rows()
    coverage = cv2.dilate(np.ascontiguousarray(view.upright[rows]), np.ones((1, 3), np.uint8)).mean(axis=0)
    length = len(coverage)
    margin = int(INNERMOST * length)
    # The sharpest of columns beside one another that are as good.
    open_columns = np.where(coverage > COMPLETE[0], coverage + 0.01 * view.upright[rows].mean(axis=0), 0)
    open_columns[:margin] = open_columns[length - margin:] = 0
    found: list[tuple[float, int]] = []
    while open_columns.max() > 0 and len(found) <= MOST_PANELS:
        at = int(open_columns.argmax())
        open_columns[max(0, at - STRIP):at + STRIP + 1] = 0
        near = slice(max(0, at - 4 * STRIP), at - STRIP), slice(at + STRIP, at + 4 * STRIP)  # beyond the soft edge of a bar
        if min(float(np.median(view.contents(rows, side))) for side in near) < FLAT:
            continue
        moving = _moving([view.motion(rows.start, rows.stop, at)], MOVING)
        confidence = _ramp(float(coverage[at]), COMPLETE) * moving * _unrelated(view.kinship(rows.start, rows.stop, at))
        if confidence > 0:
            found.append((confidence, at))
    return found


def _insets(seams: Seams, mosaics: list[Region]) -> list[_Panel]:
    """The best rectangle whose outline is a seam, mosaics apart."""
    height, width = seams.upright.shape
    turned = seams.turned()
    best: _Panel | None = None
    for left, top, right, bottom in _rectangles(seams):
        if any(mosaic.covers(left / width, top / height, right / width, bottom / height) >= PIXELATED for mosaic in mosaics):
            continue
        inside = slice(top + 3, bottom - 3), slice(left + 3, right - 3)
        if max(seams.contents(*inside, fine=True)) < FLAT or _is_grid(seams, *inside):
            continue
        if _framed_by_nothing(seams, left, right, top, bottom):
            continue
        sides = [(seams, top, bottom, at) for at in (left, right)] + [(turned, left, right, at) for at in (top, bottom)]
        kinship = [
            view.kinship(first, last, at) for view, first, last, at in sides if STRIP + 3 < at < view.upright.shape[1] - STRIP - 4
        ]
        moving = _moving([view.motion(first, last, at) for view, first, last, at in sides], MOVING_INSET)
        completeness = float(np.mean([view.completeness(first, last, at) for view, first, last, at in sides]))
        confidence = _ramp(completeness, COMPLETE_INSET) * moving * _unrelated(float(np.mean(kinship or [0.0])))
        if best is None or confidence > best.confidence:
            best = _Panel(confidence, left / width, top / height, right / width, bottom / height)
    return [] if best is None else [best]


def _rectangles(seams: Seams) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom; those whose outline is a seam for the largest part first."""
    height, width = seams.upright.shape
    columns, rows = (
        _lines(plane, round(INNERMOST * len(plane))) for plane in (seams.upright, np.ascontiguousarray(seams.lying.T))
    )
    if len(columns) < 2 or len(rows) < 2:
        return []
    # Seams along every line between every two others, from running sums: [line, first, last].
    flanks = _between(cv2.dilate(seams.upright, np.ones((1, 5), np.uint8))[:, columns], rows)
    ends = _between(cv2.dilate(seams.lying, np.ones((5, 1), np.uint8))[rows].T, columns)
    lefts, rights = np.nonzero(_apart(columns, width))
    tops, bottoms = np.nonzero(_apart(rows, height))
    sides = np.stack([
        flanks[lefts][:, tops, bottoms], flanks[rights][:, tops, bottoms],
        ends[tops][:, lefts, rights].T, ends[bottoms][:, lefts, rights].T,
    ])  # fmt: skip
    shapes = (columns[rights] - columns[lefts])[:, None] / (rows[bottoms] - rows[tops])[None, :]
    good = (sides.min(axis=0) >= SIDE) & (sides.mean(axis=0) > COMPLETE_INSET[0]) & (np.maximum(shapes, 1 / shapes) <= LONGEST)
    across, down = np.nonzero(good)
    order = np.argsort(-sides.mean(axis=0)[across, down])[:MOST_TRIES]
    lines = columns[lefts[across]], rows[tops[down]], columns[rights[across]], rows[bottoms[down]]
    return [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in np.stack(lines, axis=1)[order]]


def _apart(lines: np.ndarray, length: int) -> np.ndarray:
    """(n, n) bool: the second line lies beyond the first, by the length of an inset's side."""
    distance = lines[None, :] - lines[:, None]
    return (distance >= INNERMOST * length) & (distance <= OUTERMOST * length)


def _between(seam: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(length, n) of 0 and 1 along n lines -> (n, p, p): its mean from one place to another."""
    sums = np.concatenate([np.zeros((1, seam.shape[1]), np.float32), seam.cumsum(axis=0, dtype=np.float32)])[places]
    return (sums[None, :, :] - sums[:, None, :]).transpose(2, 0, 1) / np.maximum(places[None, :] - places[:, None], 1)


def _is_grid(seams: Seams, rows: slice, columns: slice) -> bool:
    """Whether the seams inside an area lie on lines through all of it, both ways: panes of a window, or a facade."""
    shares = []
    for part in (seams.upright[rows, columns], seams.lying[rows, columns].T):
        part = np.ascontiguousarray(part)
        through = cv2.dilate(part, np.ones((1, 3), np.uint8)).mean(axis=0) >= PANES[0]
        shares.append(float(part[:, through].sum()) / max(1, int(part.sum())))
    return min(shares) >= PANES[1]


def _framed_by_nothing(seams: Seams, left: int, right: int, top: int, bottom: int) -> bool:
    """Whether the frame around the rectangle is flat, but for text on one of its bars: the rectangle then is the picture."""
    height, width = seams.upright.shape
    every, margin = slice(None), STRIP + 3  # soft edges of bars
    around = (
        (slice(0, max(0, top - margin)), every), (slice(min(height, bottom + margin), height), every),
        (every, slice(0, max(0, left - margin))), (every, slice(min(width, right + margin), width)),
    )  # fmt: skip
    return sorted(max(seams.contents(*part)) for part in around)[-2] < FLAT


def _ramp(value: float, bounds: tuple[float, float]) -> float:
    return float(np.clip((value - bounds[0]) / (bounds[1] - bounds[0]), 0.0, 1.0))


def _moving(sides: list[tuple[float, float]], enough: float) -> float:
    """How far motion beside a seam's sides speaks for it; each with the shares of the time at which it does, and speaks against it."""
    moves, gone = (float(np.mean(shares)) for shares in zip(*sides, strict=True))
    return min(1.0, moves / enough) * _ramp(moves / max(moves + gone, 1e-6), LASTING)


def _unrelated(kinship: float) -> float:
    return 1 - _ramp(kinship, RELATED)


def _lines(upright: np.ndarray, shortest: int) -> np.ndarray:
    """Columns with a vertical seam of at least this length, ascending, one per neighbourhood; the longest ones if there are too many."""
    wide = cv2.dilate(upright, np.ones((1, 3), np.uint8)).astype(np.float32)
    whole = cv2.blur(wide, (1, shortest), borderType=cv2.BORDER_CONSTANT) >= WHOLE
    lengths = whole.sum(axis=0)
    kept: list[int] = []
    while lengths.max() > 0 and len(kept) < MOST_LINES:
        column = int(lengths.argmax())
        kept.append(column)
        lengths[max(0, column - 3):column + 4] = 0
    return np.array(sorted(kept), int)
