"""What stays on the screen while the picture changes: running sums that subtitle, logo and sticker share.

Two things are kept per shot. Of the pictures, the mean gradient and the mean squared gradient of every pixel, in luma and colour:
an edge that stands still under a moving picture keeps its gradient, all others average out. Of the stills, the lines of text that
two successive stills show at the same place. Neither grows with the shot.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion, OfSample, Sample, ShotInfo
from skyreels_platform.curation.signals.gradient_sums import GradientSums
from skyreels_platform.curation.signals.text_lines import Strokes, TextLine, outlined_lines, strokes
from skyreels_platform.curation.signals.text_track import TextTrack, blocks, covers

SMALLEST = 32
"""Pixels on the short side below which nothing laid over a picture can be made out."""
EDGE = 4.0
"""Levels per pixel; a fainter mean gradient is no edge that somebody drew."""
SURE = 4.0
"""Deviations from chance, as `Edges.lasting` takes them."""
INDEPENDENT = 64
"""Pictures that count as independent at most: successive ones are alike."""
MOVED = 0.4
"""Share of a pixel's squared gradient that its mean holds, below which the edges seen there came and went."""
TEXTURE = 9.0
"""Squared gradient from which a pixel has texture enough to show whether it moves."""
AT_REST = 0.03
"""Frame heights that the camera must travel before the picture counts as moving."""
GOING, SLOWEST = 0.5, 0.001
"""Share of the pictures into which the camera must have moved a place for it to count as moving there, and frame heights from one picture
to the next: a picture that moves and then is held shows its own edges for longer than any other."""
CORNER = 0.15
"""Share of the frame's width and height that its corners take (paper, on cropping)."""
CUT = 0.004
"""Share of the frame from its sides within which no text that was laid over a picture ends."""
WIDEST, TALLEST = 0.35, 0.25
"""A wider or higher thing that reaches into a corner is no logo; shares of the frame's width and height."""
STEADY, LASTS = 0.75, 0.35
"""Between the earlier and the later part of a shot: cosine of the mean gradients of one thing, and the weaker over the stronger one, at
least. What stands on the screen has the same edges in both (0.84 at least, measured), what drifts slowly has moved on."""
HELD = 3.0
"""Levels of 255 by which no block of a picture differs from the last one that counted: a frozen picture says nothing again."""
_BLOCKS = 43, 24  # across and down
_THROUGH = 0.5  # a row or column with edges on more of its length is a border, or a line of the scene
_LONELY = 0.1  # share of the length under edges, a few pixels farther, below which nothing goes on there
_GAP, _SOLID = 9, 0.45  # pixels, within a border; share of the length that it covers without a larger one
_THICK = 6  # pixels; a line is thinner
_BOX = 0.7  # of a line's height
_LONG = 0.2  # of the short side: longer than a logo's strokes
_PIVOT = 0.15  # of the farthest way that anything in the frame travels
_GRID = 7  # places on either axis at which the camera's path is followed
_MOSTLY = 0.5  # share of the picture that must move before its edges show text
_WORD = 3.0  # heights of a line between two pieces of it: a short word may have been missed
_OUTLINED = 8.0, 16.0  # levels per pixel of the edges of text; the higher one parts it from what else lasts


@dataclass(frozen=True, kw_only=True)
class Edges:
    """The edges of a shot, at the size of its pictures or of their halves."""

    strength: np.ndarray
    """(h, w) float64: length of the mean gradient, levels per pixel."""
    energy: np.ndarray
    """(h, w) float64: mean squared length of the gradient."""
    turn: np.ndarray
    """(2, h, w) float32: squared mean gradient at twice its angle, across rather than down, and aslant: one for opposite directions."""
    pictures: int
    """How many were seen."""
    parts: np.ndarray
    """(3, h, w) float32: squared mean gradient of the earlier part of the shot, of the later part, and their product."""

    @cached_property
    def share(self) -> np.ndarray:
        """(h, w): how much of its energy a pixel's mean gradient holds; 1 where nothing ever changes."""
        return self.strength**2 / np.maximum(self.energy, 1e-6)

    @property
    def upright(self) -> np.ndarray:
        """(h, w) bool: the edge runs up and down rather than level."""
        return self.turn[0] > 0

    def is_steady(self, where: np.ndarray) -> bool:
        """Whether what lies there, an (h, w) mask, has the same edges in the earlier and the later part of the shot."""
        earlier, later, both = (float(part[where].sum(dtype=np.float64)) for part in self.parts)
        weaker, stronger = sorted((earlier, later))
        return both >= STEADY * np.sqrt(earlier * later) and weaker >= LASTS**2 * stronger > 0

    def moved(self) -> float:
        """Share of the textured pixels whose edges came and went."""
        textured = self.energy >= TEXTURE
        return float(np.mean(self.share[textured] < MOVED)) if textured.any() else 0.0

    def lasting(self, sure: float = SURE, *, with_lines: bool = False) -> np.ndarray:
        """(h, w) bool: edges that stand still, without the borders of letterboxes and what else crosses the frame.

        sure: deviations by which a mean gradient must exceed what its own changes would leave of it by chance. Long level and
        upright lines are left out, since the scene slides along them without a change, unless `with_lines`.
        """
        changes = np.maximum(self.energy - self.strength**2, 1.0)
        mask = (self.strength >= EDGE) & (self.strength >= sure * np.sqrt(changes / min(self.pictures, INDEPENDENT)))
        for axis in (0, 1):
            filled = mask.mean(axis=1 - axis)
            beyond = np.pad(filled, 5)
            lonely = np.minimum(beyond[:-10], beyond[10:]) < _LONELY  # a texture is full of edges on both sides
            for line in np.flatnonzero((filled > _THROUGH) & lonely):
                band = slice(max(0, line - 2), line + 3)
                near = mask[band] if axis == 0 else mask[:, band].T
                near &= ~_border(near)
        return mask if with_lines else without_lines(mask)


def _border(rows: np.ndarray) -> np.ndarray:
    """(length,) bool: where a border runs in the (k, length) rows at its height; a mark may stand beside it, where it ends."""
    filled = np.pad(np.any(rows, axis=0, keepdims=True).view(np.uint8), ((0, 0), (_GAP, _GAP)))
    closed = cv2.morphologyEx(filled, cv2.MORPH_CLOSE, np.ones((1, _GAP), np.uint8))
    runs = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((1, round(_SOLID * rows.shape[1]) | 1), np.uint8))[0, _GAP:-_GAP] > 0
    return runs if runs.any() else np.ones_like(runs)  # in pieces: all of them


def without_lines(mask: np.ndarray) -> np.ndarray:
    """An (h, w) mask without its long level and upright lines, along which the scene slides without a change."""
    ink, length = mask.view(np.uint8), round(_LONG * min(mask.shape))
    lines = np.zeros(mask.shape, bool)
    for along, through in (((1, length), (_THICK, 1)), ((length, 1), (1, _THICK))):
        thick = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones(through, np.uint8))  # a row of letters that run together
        thin = cv2.subtract(ink, thick)
        lines |= np.asarray(cv2.morphologyEx(thin, cv2.MORPH_OPEN, np.ones(along, np.uint8))) > 0
    return mask & ~lines


def is_corner_mark(x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether a box, in shares of the frame, has the place and size of a logo: subtitle and logo share the frame by this rule."""
    reaches = (x0 < CORNER or x1 > 1 - CORNER) and (y0 < CORNER or y1 > 1 - CORNER)
    return reaches and x1 - x0 <= WIDEST and y1 - y0 <= TALLEST


def strokes_of(sample: Sample) -> Strokes | None:
    """The strokes of the still, if there is one that is large enough."""
    return None if sample.still is None or min(sample.still.large.shape) < SMALLEST else strokes(sample.still.large)


class OverlayStatistics:
    """Running sums of one shot."""

    of_sample: ClassVar[OfSample] = (strokes_of,)

    def __init__(self, shot: ShotInfo) -> None:
        self.shot = shot
        self.text = TextTrack()
        self._sums = GradientSums(), GradientSums()
        self._counted: np.ndarray | None = None  # blocks of the last picture that did
        self._edges: Edges | None = None
        self._lines: list[TextLine] | None = None
        self._position, self._lowest, self._highest = (np.zeros((_GRID, _GRID, 2)) for _ in range(3))
        self._motions, self._going = 0, np.zeros((_GRID, _GRID))  # pairs of pictures, and into how many of them the camera moved

    def add(self, sample: Sample) -> None:
        """See the shot's next frame."""
        if sample.picture is not None and min(sample.picture.shape[:2]) >= SMALLEST and not self._is_held(sample.rgb):
            self._add_picture(sample.picture)
        if sample.motion is not None:
            self._add_motion(sample.motion)
        if (found := sample.once(strokes_of)) is not None:
            self.text.add(found)

    def lines(self) -> list[TextLine]:
        """The lines of text that stand still, once the whole shot has been seen.

        To what the stills show come lines that busy ground hides in each of them, but whose edges last while the ground moves.
        """
        if self._lines is None:
            self._lines = list(self.text.found())
            edges = self.edges()
            if edges is not None and edges.moved() >= _MOSTLY:
                for strength in _OUTLINED:
                    for line in outlined_lines(edges.lasting() & (edges.strength >= strength)):
                        if not any(covers(other, line) or covers(line, other) for other in self._lines):
                            self._lines.append(line)
        return self._lines

    def edges(self) -> Edges | None:
        """The shot's edges, once all of it has been seen; None if there were fewer than two pictures.

        Of luma or of colour, whichever is the clearer at a pixel.
        """
        if self._edges is None:
            self._edges = self._clearest()
        return self._edges

    def _clearest(self) -> Edges | None:
        light, colour = self._sums
        if light.pictures < 2:
            return None
        strength, energy, *turn = light.means()
        size = strength.shape[::-1]
        hue, hue_energy, *hue_turn = (cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in colour.means())
        # The clearer of the two: strong, and strong at all times.
        chosen = hue**2 / np.sqrt(np.maximum(hue_energy, 1)) > strength**2 / np.sqrt(np.maximum(energy, 1))
        return Edges(
            strength=np.where(chosen, hue, strength), energy=np.where(chosen, hue_energy, energy),
            turn=np.where(chosen, hue_turn, turn).astype(np.float32), pictures=light.pictures,
            parts=np.stack([  # of the clearer one alone: in the other, what passes behind a plate changes its edges
                np.where(chosen, cv2.resize(other, size, interpolation=cv2.INTER_NEAREST), mine)
                for mine, other in zip(light.parts(), colour.parts(), strict=True)
            ]),
        )  # fmt: skip

    def without_text(self, mask: np.ndarray) -> np.ndarray:
        """A copy of an (h, w) mask, empty where lines of text stand that are no logo, and around them for outline or plate."""
        cleared = mask.copy()
        height, width = mask.shape
        for block in blocks(self._plain_text()):
            margin = _BOX * min(min(line.y1 - line.y0, (line.x1 - line.x0) * width / height) for line in block) * height
            top, left = (min(getattr(line, edge) for line in block) for edge in ("y0", "x0"))
            bottom, right = (max(getattr(line, edge) for line in block) for edge in ("y1", "x1"))
            rows = slice(max(0, int(top * height - margin)), int(bottom * height + margin) + 1)
            cleared[rows, max(0, int(left * width - margin)) : int(right * width + margin) + 1] = False
        return cleared

    def continues_text(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Whether a box, in shares of the frame, is a piece of a line of text that is no logo: as high, level, near it."""
        aspect = self.shot.height / max(1, self.shot.width)
        for line in self._plain_text():
            if (line.y1 - line.y0) * aspect > line.x1 - line.x0:  # it runs down
                height, other = line.x1 - line.x0, x1 - x0
                gap, off = max(line.y0 - y1, y0 - line.y1) * aspect, abs(x0 + x1 - line.x0 - line.x1)
            else:
                height, other = line.y1 - line.y0, y1 - y0
                gap, off = max(line.x0 - x1, x0 - line.x1) / aspect, abs(y0 + y1 - line.y0 - line.y1)
            if off <= height and gap <= _WORD * height and max(height, other) <= 1.4 * min(height, other):
                return True
        return False

    def _plain_text(self) -> list[TextLine]:
        return [line for line in self.lines() if not is_corner_mark(line.x0, line.y0, line.x1, line.y1)]

    def corner_text(self) -> list[TextLine]:
        """Lines of text that have the place and size of a logo."""
        marks = (line for line in self.lines() if is_corner_mark(line.x0, line.y0, line.x1, line.y1))
        return [line for line in marks if not self.continues_text(line.x0, line.y0, line.x1, line.y1)]

    def travel(self, x: float, y: float) -> float:
        """How far the camera moved what is seen at (x, y), in shares of the frame, in the course of the shot: frame heights."""
        row, column = (min(_GRID - 1, int(share * _GRID)) for share in (y, x))
        return float((self._highest - self._lowest)[row, column].max())

    def travelled(self, x: float, y: float) -> bool:
        """Whether the camera moved what is seen at (x, y), most of the time; in the middle of a zoom or a roll it hardly does."""
        return self._went_far(x, y) and not self.held(x, y)

    def held(self, x: float, y: float) -> bool:
        """Whether the camera moved what is seen at (x, y), but rested most of the time."""
        row, column = (min(_GRID - 1, int(share * _GRID)) for share in (y, x))
        return self._went_far(x, y) and float(self._going[row, column]) < GOING * self._motions

    def _went_far(self, x: float, y: float) -> bool:
        return self.travel(x, y) >= max(AT_REST, _PIVOT * float((self._highest - self._lowest).max()))

    def _is_held(self, small: np.ndarray) -> bool:
        blocks = cv2.resize(small, _BLOCKS, interpolation=cv2.INTER_AREA)
        if self._counted is not None and self._sums[0].pictures > 1 and cv2.norm(blocks, self._counted, cv2.NORM_INF) <= HELD:
            return True
        self._counted = blocks
        return False

    def _add_picture(self, picture: np.ndarray) -> None:
        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
        height, width = (side // 2 * 2 for side in planes.shape[:2])  # halving whole pixels is ten times as fast
        half = cv2.resize(planes[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        self._sums[0].add(cv2.extractChannel(planes, 0))
        self._sums[1].add(*cv2.split(half)[1:])

    def _add_motion(self, motion: Motion) -> None:
        height, width = motion.camera.shape[:2]
        rows, columns = (((np.arange(_GRID) + 0.5) / _GRID * side).astype(int) for side in (height, width))
        moved = motion.camera[rows[:, None], columns] / (motion.step * height)
        self._position += moved
        self._motions += 1
        self._going += np.abs(moved).max(axis=2) >= SLOWEST
        self._lowest = np.minimum(self._lowest, self._position)
        self._highest = np.maximum(self._highest, self._position)
