"""Logos and watermarks."""

from dataclasses import dataclass

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.overlay_statistics import (
    CORNER,
    CUT,
    MOVED,
    TALLEST,
    TEXTURE,
    WIDEST,
    Edges,
    OverlayStatistics,
    without_lines,
)
from skyreels_platform.curation.signals.text_lines import TextLine

SMALLEST = 0.04
"""Longer side of a mark, share of the frame's short side."""
_THIN = 0.02
_ZONE = (0.4, 0.3)  # what is compared with the mark: shares of width and height from the corner
_JOIN = (0.02, 0.05)  # gaps within a mark that are closed, shares of the short side; letters, then parts of an emblem
_FAINT, _CLEAR = 4.0, 8.0  # mean gradient of a mark's edges: levels per pixel
_CHANCE, _CERTAIN = 0.15, 0.55  # share of its edges' energy that stays: by chance, and of a half-transparent mark
_ENOUGH = 0.25  # edge pixels of a mark over the short side
_ONE_WAY = 0.9  # how parallel a mark's edges are at most, 0 to 1: marks 0.63, one of 129 0.84; what the scene slides along 0.97
_CROWD = 5.0  # how much edges that stay elsewhere in the corner speak against a mark
_ALONE = 0.01  # that much of it, below which the ground is plain
_EMPTY = 0.002  # share of a zone's pixels on lasting edges below which nothing can hide there
_MOST = 0.7  # share of the texture that must come and go: where the camera rests, somebody may pass through most of a corner
_SAME = 0.6  # share of its edges' energy that a mark keeps where the pattern behind it keeps less
_SEEN = 0.5  # textured pixels around a mark over its own edge pixels, from which they tell whether the picture moves
_FLAT, _BAR = 1.5, 0.98  # mean squared gradient of a bar, levels per pixel, and share of a strip along the frame's side that has no more
_CLEARLY = 0.6
_FAINT_SURE = 3.0  # for a mark that hardly shows; where the picture is quiet, it would join what is no mark
_FOUND = 0.3
_FEWEST = 8  # different pictures, without which edges that come and go do not average out
_OUTERMOST = 0.2  # shares of the frame, of width and height together, by which text at rest may be off a corner
_WRITTEN = 0.9  # confidence in a line of text that stays in a corner


@dataclass(frozen=True, kw_only=True)
class _Corner:
    """What one corner shows."""

    confidence: float
    box: tuple[int, int, int, int] | None
    undecided: bool
    """Edges stay there, but so does the picture."""


class Logo(Signal):
    """Confidence, 0 to 1, that a mark stands still in one of the frame's four corners while the picture moves.

    The mark's edges keep their gradient over the whole shot, others in the corner do not; half-transparent marks are seen because
    the picture behind averages out; and they stay at the same place from the shot's earlier to its later part, which tells a mark
    from things that drift by slowly. They run in more than one direction: a scene slides along its own lines without a change. The
    confidence is the product of how strong the edges are, how much of them stays, how many they are and how alone they stand. Where
    the picture does not move, a mark is found only if it stands alone on plain ground or on a letterbox's bar, or is a line of text
    (a sign of the scene at rest in a corner is a logo, then, as one lower down is a subtitle); a corner in which the scene itself has
    edges that stay makes the score unknown.
    Source: paper (crop by marks in 15 % corners, found by a language model there); method and numbers our choice.
    """

    name, unit, version = "logo", "confidence", "5"
    video_only = True
    still = "one picture cannot tell a mark from the scene"
    shared = OverlayStatistics

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._corners: list[_Corner] | None = None
        self._shape = (1, 1)

    def result(self) -> Score:
        corners = self._measured()
        if corners is None:
            return self.unknown("fewer than two pictures that are large enough: nothing to tell a mark from the scene")
        best = max(corner.confidence for corner in corners)
        if best < _FOUND and any(corner.undecided for corner in corners):
            return self.unknown("the picture does not move in a corner: a mark there cannot be told from the scene")
        return self.measured(best)

    def regions(self) -> list[Region]:
        height, width = self._shape
        boxes = [corner.box for corner in self._measured() or [] if corner.box and corner.confidence >= _FOUND]
        return [
            Region(kind=self.name, x0=x0 / width, y0=y0 / height, x1=x1 / width, y1=y1 / height) for x0, y0, x1, y1 in boxes
        ]  # fmt: skip

    def _measured(self) -> list[_Corner] | None:
        state: OverlayStatistics = self.shared_state
        if self._corners is None and (edges := state.edges()) is not None:
            self._shape = edges.strength.shape[0], edges.strength.shape[1]
            whole = edges.lasting(with_lines=True)
            everything = state.without_text(whole)
            masks = [state.without_text(mask) for mask in (without_lines(whole), edges.lasting(_FAINT_SURE))]
            masks.append(masks[0] & (edges.strength >= _CLEAR))  # what a mark and the edges beside it have in common is faint
            same = masks[0] & (edges.share >= _SAME)  # before a pattern that comes back, all of it lasts somewhat
            self._corners = []
            for x, y in ((0, 0), (0, 1), (1, 0), (1, 1)):
                corner = max((_corner(edges, mask, everything, x, y, state) for mask in masks), key=lambda corner: corner.confidence)
                if corner.confidence < _FOUND and state.travelled(x, y):
                    corner = max(corner, _corner(edges, same, everything, x, y, state), key=lambda corner: corner.confidence)
                self._corners.append(corner)
        return self._corners


def _corner(
    edges: Edges, lasting: np.ndarray, everything: np.ndarray, x: int, y: int, state: OverlayStatistics
) -> _Corner:  # fmt: skip
    """The best mark of the corner at x = 0 (left) or 1, y = 0 (top) or 1; `everything` holds the scene's lines too."""
    height, width = lasting.shape
    zone_width, zone_height = round(_ZONE[0] * width), round(_ZONE[1] * height)
    left, top = x * (width - zone_width), y * (height - zone_height)
    zone = slice(top, top + zone_height), slice(left, left + zone_width)
    inside = lasting[zone]
    part = Edges(
        strength=edges.strength[zone], energy=edges.energy[zone], turn=edges.turn[(slice(None), *zone)], pictures=edges.pictures,
        parts=edges.parts[(slice(None), *zone)],
    )  # fmt: skip
    best, box = 0.0, None
    travelled = state.travelled(x, y)
    enough = edges.pictures >= _FEWEST and not state.held(x, y)
    moves = travelled or (enough and _moves(part, np.ones_like(inside)))
    for mark in _marks(inside, (height, width), x, y):
        found, alone, moves_around = _confidence(mark, inside, everything[zone], part, min(height, width))
        # Where nothing moves, whatever stands there stays: only a clear mark alone on plain ground is told from it.
        place = (left + mark[0]) / width, (top + mark[1]) / height, (left + mark[2]) / width, (top + mark[3]) / height
        whole = left + mark[0], top + mark[1], left + mark[2], top + mark[3]
        apart = found >= _CLEARLY and (alone or _is_on_bar(edges, whole))
        certain = found if (moves_around and enough) or travelled or apart else 0.0
        if certain > best and _is_steady(part, inside, mark) and not state.continues_text(*place):
            best, box = certain, whole
    for line in state.corner_text():
        is_here = (line.x0 + line.x1 > 1) == bool(x) and (line.y0 + line.y1 > 1) == bool(y)
        if is_here and best < _WRITTEN and (moves or _is_laid_over(line, width / height)):
            written = int(line.x0 * width), int(line.y0 * height), int(line.x1 * width) + 1, int(line.y1 * height) + 1
            if _is_steady(edges, lasting, written):
                best, box = _WRITTEN, written
    return _Corner(confidence=best, box=box, undecided=not moves and float(inside.mean()) > _EMPTY)


def _is_laid_over(line: TextLine, aspect: float) -> bool:
    """Whether a line of text in a picture at rest has a mark's place: level, for trunks and posts are strokes in a column, too; whole,
    and near to the corner, where few signs of the scene are."""
    across, down = min(line.x0, 1 - line.x1), min(line.y0, 1 - line.y1)
    return (line.x1 - line.x0) * aspect > line.y1 - line.y0 and min(across, down) >= CUT and across + down <= _OUTERMOST


def _is_steady(edges: Edges, lasting: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    """Whether the lasting edges in a box stand still from the earlier to the later part of the shot."""
    x0, y0, x1, y1 = box
    own = np.zeros_like(lasting)
    own[y0:y1, x0:x1] = lasting[y0:y1, x0:x1]
    return bool(own.any()) and edges.is_steady(own)


def _is_on_bar(edges: Edges, box: tuple[int, int, int, int]) -> bool:
    """Whether a box stands in a strip along one side of the frame in which else nothing at all is seen, as on a letterbox's bar."""
    x0, y0, x1, y1 = box
    height, width = edges.energy.shape
    margin = max(3, round(0.04 * min(height, width)))
    beside = np.ones((height, width), bool)
    beside[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = False
    rows = slice(0, y1) if y0 + y1 < height else slice(y0, height)
    columns = slice(0, x1) if x0 + x1 < width else slice(x0, width)
    return any(
        float(np.mean(edges.energy[strip][beside[strip]] < _FLAT)) >= _BAR for strip in ((rows, slice(None)), (slice(None), columns))
    )  # fmt: skip


def _marks(inside: np.ndarray, frame: tuple[int, int], x: int, y: int) -> list[tuple[int, int, int, int]]:
    """Boxes (x0, y0, x1, y1) in the zone of what hangs together, has a logo's size and place and does not touch the border."""
    height, width = frame
    short = min(frame)
    zone_height, zone_width = inside.shape
    boxes: list[tuple[int, int, int, int]] = []
    for gap in _JOIN:
        side = max(3, round(gap * short))
        padded = np.pad(inside.view(np.uint8), side)
        joined = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))[side:-side, side:-side]
        _, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(joined), connectivity=8)
        for x0, y0, w, h, _ in stats[1:].tolist():
            across = zone_width - x0 - w if x else x0
            down = zone_height - y0 - h if y else y0
            fits = w <= WIDEST * width and h <= TALLEST * height and min(w, h) >= _THIN * short and max(w, h) >= SMALLEST * short
            cut = across + w >= zone_width - 1 or down + h >= zone_height - 1
            if fits and not cut and 1 < across < CORNER * width and 1 < down < CORNER * height:
                boxes.append((x0, y0, x0 + w, y0 + h))
    return boxes


def _confidence(
    mark: tuple[int, int, int, int], inside: np.ndarray, everything: np.ndarray, edges: Edges, short: int
) -> tuple[float, bool, bool]:  # fmt: skip
    """Of a mark in its zone: confidence, whether nothing else stays there, whether the picture around it moves."""
    x0, y0, x1, y1 = mark
    box = slice(y0, y1), slice(x0, x1)
    own = inside[box]
    margin = max(3, round(0.04 * short))
    around = np.ones_like(inside)
    around[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = False
    moves = _moves(edges, around, _SEEN * np.count_nonzero(own))
    turns = edges.turn[(slice(None), *box)][:, own].sum(axis=1, dtype=np.float64)
    if not around.any() or float(np.hypot(*turns)) > _ONE_WAY * float((edges.strength[box][own] ** 2).sum()):
        return 0.0, False, moves
    contrast, density = float(edges.strength[box][own].mean()), float(own.mean())
    rivals = inside[around] & (edges.strength[around] >= contrast / 2)
    parts = (
        (contrast - _FAINT) / (_CLEAR - _FAINT),
        (float(edges.share[box][own].mean()) - _CHANCE) / (_CERTAIN - _CHANCE),
        int(np.count_nonzero(own)) / short / _ENOUGH,
        1 - _CROWD * float(rivals.mean()) / density,
    )
    confidence = float(np.prod([min(max(one, 0.0), 1.0) for one in parts]))
    return confidence, float(everything[around].mean()) < _ALONE * density, moves


def _moves(edges: Edges, where: np.ndarray, fewest: float = 0.0) -> bool:
    """Whether the texture seen there comes and goes; False where there is none, or on fewer pixels."""
    textured = where & (edges.energy >= TEXTURE)
    return int(np.count_nonzero(textured)) > max(20, fewest) and bool(np.mean(edges.share[textured] < MOVED) >= _MOST)
