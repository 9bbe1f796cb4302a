"""Split screens and pictures in pictures."""

from typing import NamedTuple

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.edge_lines import STRIP, EdgeLines, Seams

INNERMOST = 0.12
"""Share of the frame that a panel takes on either axis, at least."""
MOVING = 0.3
"""Share of the time at which what lies beside a seam must move across it, or otherwise than the other side, for full confidence: in a
scene at rest any wall has an edge, and under a pan along it the edge stays too."""
FLAT = 2.0
"""Levels: content of an area beside a seam, as `Seams.content` takes it, below which it is a bar, not a picture."""
RELATED = 0.45, 0.8
"""Correlation across a seam from which confidence falls, and at which none is left: a mosaic has such an outline too."""
MESHED = 0.13
"""Share of an inset's own area that may be seams: the lattice of a mosaic has two to three times as many (measured)."""
SIDE = 0.45
"""Share of each side of an inset picture that must be a seam."""
GAP = 15
"""Pixels by which a seam may be interrupted, where both pictures happen to be alike."""
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

    It is the share of a straight, upright or level line through the frame (split screen), or of a rectangle's outline (picture in
    picture), along which a sharp step stays while the picture beside it moves across it, or otherwise than the picture on the other
    side. A scene that does not move at all gives 0, for any wall in it has such edges; so does a bar, which has no picture on one
    side, and a pan along a wall. Misses insets without a frame of their own
    over busy ground; takes some drawn blurs, and a picture before its own blurred copy, for composed.
    Source: paper 3.1 names split screens; definition our choice.
    """

    name, unit, version = "split_screen", "confidence", "3"
    video_only = True
    still = "a seam shows by staying while the picture moves"

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._lines = EdgeLines()
        self._panels: list[_Panel] | None = None

    def add(self, sample: Sample) -> None:
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
            self._panels = [] if seams is None else _best(_halves(seams), _insets(seams))
        return self._panels


def _best(halves: list[_Panel], insets: list[_Panel]) -> list[_Panel]:
    return max(halves, insets, key=lambda panels: max((panel.confidence for panel in panels), default=0.0))


def _halves(seams: Seams) -> list[_Panel]:
    """The two sides of the best line through the whole frame."""
    best: list[_Panel] = []
    for view, is_upright in ((seams, True), (seams.turned(), False)):
        rows = view.rows()
        coverage = cv2.dilate(np.ascontiguousarray(view.upright[rows]), np.ones((1, 3), np.uint8)).mean(axis=0)
        length = len(coverage)
        margin = int(INNERMOST * length)
        at = margin + int(coverage[margin:length - margin].argmax())
        left, right = slice(max(0, at - 3 - 3 * STRIP), at - 3), slice(at + 4, at + 4 + 3 * STRIP)
        if min(view.content(rows, side) for side in (left, right)) < FLAT:
            continue
        moving = float(view.upright_moves[rows, at].mean())
        kinship = view.kinship(rows.start, rows.stop, at)
        confidence = float(coverage[at]) * min(1.0, moving / MOVING) * _unrelated(kinship)
        if not best or confidence > best[0].confidence:
            share = (at + 0.5) / length
            first = (0.0, 0.0, share, 1.0) if is_upright else (0.0, 0.0, 1.0, share)
            second = (share, 0.0, 1.0, 1.0) if is_upright else (0.0, share, 1.0, 1.0)
            best = [_Panel(confidence, *first), _Panel(confidence, *second)]
    return best


def _insets(seams: Seams) -> list[_Panel]:
    """The best rectangle whose outline is a seam."""
    height, width = seams.upright.shape
    sides = _runs(seams.upright, round(INNERMOST * height))
    best: _Panel | None = None
    ends = cv2.dilate(seams.lying, np.ones((5, 1), np.uint8))
    flanks = cv2.dilate(seams.upright, np.ones((1, 5), np.uint8))
    for left, top, bottom in sides:
        for right, other_top, other_bottom in sides:
            if right - left < INNERMOST * width or right - left > 0.85 * width:
                continue
            shared = min(bottom, other_bottom) - max(top, other_top)
            if shared < 0.8 * (max(bottom, other_bottom) - min(top, other_top)):
                continue
            y0, y1 = (top + other_top) // 2, (bottom + other_bottom) // 2
            y0, y1 = (_nearest(ends[:, left:right], y) for y in (y0, y1))
            if y1 - y0 < INNERMOST * height:
                continue
            level = ends[y0, left:right], ends[min(y1, height - 1), left:right]
            coverage = [float(part.mean()) for part in (*level, flanks[y0:y1, left], flanks[y0:y1, right])]
            inside = np.s_[y0 + 3:y1 - 3, left + 3:right - 3]
            if min(coverage) < SIDE or seams.content(*inside) < FLAT or _framed_by_nothing(seams, left, right, y0, y1):
                continue
            if (seams.upright[inside] | seams.lying[inside]).mean() > MESHED:
                continue
            turned = seams.turned()
            kinship = np.mean([
                *(view.kinship(*span, at) for view, span, places in (
                    (seams, (y0, y1), (left, right)), (turned, (left, right), (y0, y1))
                ) for at in places if STRIP + 3 < at < view.upright.shape[1] - STRIP - 4),
            ] or [0.0])
            sides_move = [seams.upright_moves[y0:y1, at].mean() for at in (left, right)]
            sides_move += [seams.lying_moves[min(at, height - 1), left:right].mean() for at in (y0, y1)]
            moving = min(1.0, float(np.mean(sides_move)) / MOVING)
            confidence = float(np.mean(coverage)) * moving * _unrelated(float(kinship))
            if best is None or confidence > best.confidence:
                best = _Panel(confidence, left / width, y0 / height, right / width, y1 / height)
    return [] if best is None else [best]


def _framed_by_nothing(seams: Seams, left: int, right: int, top: int, bottom: int) -> bool:
    """Whether the frame around the rectangle is flat, but for text on one of its bars: the rectangle then is the picture."""
    height, width = seams.upright.shape
    every, margin = slice(None), STRIP + 3  # soft edges of bars
    around = (
        (slice(0, max(0, top - margin)), every), (slice(min(height, bottom + margin), height), every),
        (every, slice(0, max(0, left - margin))), (every, slice(min(width, right + margin), width)),
    )  # fmt: skip
    return sorted(seams.content(*part) for part in around)[-2] < FLAT


def _unrelated(kinship: float) -> float:
    low, high = RELATED
    return float(np.clip((high - kinship) / (high - low), 0.0, 1.0))


def _nearest(ends: np.ndarray, row: int) -> int:
    """The row within a few pixels that has most of a horizontal seam."""
    first = max(0, row - 6)
    return first + int(ends[first:row + 7].mean(axis=1).argmax())


def _runs(upright: np.ndarray, shortest: int) -> list[tuple[int, int, int]]:
    """(column, first row, last row) of vertical seams, one per neighbourhood of columns; not those through the whole frame."""
    height = upright.shape[0]
    wide = cv2.dilate(upright, np.ones((1, 3), np.uint8))
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((GAP, 1), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    found: list[tuple[int, int, int, int]] = []
    for column in np.flatnonzero(wide.sum(axis=0) >= SIDE * shortest):
        changes = np.flatnonzero(np.diff(closed[:, column], prepend=0, append=0))
        for top, bottom in zip(changes[::2], changes[1::2], strict=True):
            tall = int(bottom - top)
            if shortest <= tall <= 0.9 * height and wide[top:bottom, column].mean() >= SIDE:
                found.append((int(wide[top:bottom, column].sum()), int(column), int(top), int(bottom)))
    kept: list[tuple[int, int, int]] = []
    for _, column, top, bottom in sorted(found, reverse=True):
        if all(abs(column - other) > 3 or bottom <= first or top >= last for other, first, last in kept):
            kept.append((column, top, bottom))
        if len(kept) == 24:
            break
    return kept
