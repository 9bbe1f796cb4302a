"""Finds lines of text in a still by the shape of their strokes, without a model.

Text is ink of one height: thin strokes that differ from what lies around them, several letters in a row, many strokes crossed on
the way through the row, nothing above and below. Burnt-in text also stays where it is: only ink that the still before shows at
the same place counts, so that a moving picture leaves little else. What is written is not read; other scripts work as Latin does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

SHORT = 360
"""Pixels on the short side at which strokes are looked for: text of 3 % of the height is then 11 pixels high."""
STROKE = 0.028
"""Widest stroke, share of the short side."""
INK = 80, 130
"""Levels of 255 by which a stroke must differ from its surroundings on both sides; subtitles are made to be read. The higher one
is for pictures that are full of strokes themselves."""
STAYS = 24
"""Levels by which ink may differ between stills and still be the same; codecs stir it that much."""
LOWEST, HIGHEST = 0.02, 0.17
"""Height of a line, or of two that touch, share of the short side."""
MOST_LINES = 64
"""Candidates looked at per still and direction: a page of text has fewer lines, a texture may have thousands."""
_FULL = 0.04  # share of the frame under ink from which the higher level is tried too and only the surest rows count
_GAP = 0.045  # between letters and words, share of the short side
_SIDE = 0.2  # width of the side bands, where text may run down
_AROUND = 0.12  # ink above and below over the area there
_RESTING = 0.6
_AT_REST, _SUREST = 0.9, 2.1
_SPREAD = 0.4  # of letters' heights over the line's


@dataclass(frozen=True, kw_only=True)
class _Likeness:
    """How much like text a row must be; many strokes crossed make up for letters that run together, and the other way round."""

    crossed: float
    """Strokes crossed per height of the row, at half of its height."""
    longest: float
    """Width over height, at least."""
    fill: tuple[float, float]
    tall: float
    """Median height of the letters over the row's."""
    letters: int = 4
    """At least."""


_FULL_TEXT = (_Likeness(crossed=1.6, longest=2.5, fill=(0.09, 0.75), tall=0.08),)
"""Where a picture is full of strokes."""
_COLUMN = (_Likeness(crossed=1.4, longest=2.0, fill=(0.12, 0.7), tall=0.1),)
"""Text that runs down is written in scripts of many strokes."""
_OUTLINES = (_Likeness(crossed=1.2, longest=2.5, fill=(0.15, 0.9), tall=0.05, letters=1),)
"""Letters seen by their edges run together."""
_TEXT = (
    _Likeness(crossed=1.2, longest=2.0, fill=(0.12, 0.7), tall=0.3),
    _Likeness(crossed=2.1, longest=3.0, fill=(0.09, 0.75), tall=0.08),
    _Likeness(crossed=1.6, longest=3.0, fill=(0.12, 0.7), tall=0.2, letters=20),
)  # fmt: skip
"""The last one: two lines that touch, whose letters are less than half as high as both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strokes:
    """A still's thin strokes."""

    plane: np.ndarray
    """(h, w) uint8 luma, short side at most SHORT."""
    hats: tuple[np.ndarray, np.ndarray]
    """(h, w) uint8 each: by how much strokes are lighter, and darker, than their surroundings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLine:
    """One line of text, in shares of the frame."""

    x0: float
    y0: float
    x1: float
    y1: float
    letters: int
    """Separate strokes, about the number of letters."""
    kept: float
    """Share of the ink in the box that the still before shows too."""
    lasted: float
    """Share of that ink that the still before the one before shows as well; 0 if there is none, or if the strokes of the rest of
    the picture last too, because it is at rest."""

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)


def strokes(large: np.ndarray) -> Strokes:
    """The strokes of (H, W) uint8 luma."""
    scale = min(1.0, SHORT / min(large.shape))
    height, width = (max(1, round(side * scale)) for side in large.shape)
    plane = large if scale == 1 else cv2.resize(large, (width, height), interpolation=cv2.INTER_LINEAR)
    side = max(5, round(min(plane.shape) * STROKE) | 1)
    kernel = np.ones((side, side), np.uint8)
    hats = (cv2.morphologyEx(plane, operation, kernel) for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    bright, dark = hats
    return Strokes(plane=plane, hats=(bright, dark))


def text_lines(now: Strokes, before: Strokes | None, earlier: Strokes | None = None) -> list[TextLine]:
    """Lines in `now` that `before` shows at the same place; all lines of `now` if there is none. `earlier` comes before that."""
    lines: list[TextLine] = []
    height, width = now.plane.shape
    still = None if before is None else (cv2.absdiff(now.plane, before.plane) <= STAYS).view(np.uint8)
    for number, hat in enumerate(now.hats):
        lasting = hat if before is None else cv2.min(hat, before.hats[number])
        for level in INK:
            ink = _at_least(lasting, level)
            if still is not None:
                ink &= still
            amount = cv2.countNonZero(ink)
            if amount < SHORT // 4:
                break
            every = _at_least(hat, level)
            past = np.zeros_like(ink) if earlier is None else _at_least(earlier.hats[number], level) & ink
            is_full = amount >= _FULL * height * width
            lines += _both_ways(_Ink(now=every, stays=ink, past=past), is_full=is_full)
            if not is_full:
                break
    return lines


def _at_least(plane: np.ndarray, level: int) -> np.ndarray:
    """uint8, 1 where (h, w) uint8 reaches the level."""
    return cv2.threshold(plane, level - 1, 1, cv2.THRESH_BINARY)[1]


def outlined_lines(edges: np.ndarray) -> list[TextLine]:
    """Lines of text in an (h, w) bool map of edges that stay for the whole shot."""
    plane = edges.astype(np.uint8)
    if np.count_nonzero(plane) < min(plane.shape) // 4:
        return []
    ink = _Ink(now=plane, stays=plane, past=plane)
    rows = _rows(ink, min(plane.shape), _OUTLINES, is_full=False)
    return [_line(x, y, x + w, y + h, counts, plane.shape) for (x, y, w, h), counts in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ink:
    """(h, w) uint8 maps, 0 or 1."""

    now: np.ndarray
    """Every stroke of the still."""
    stays: np.ndarray
    """Those that the still before shows."""
    past: np.ndarray
    """Those that the two before show."""

    def strip(self, left: int, right: int) -> "_Ink":
        """Columns left to right, turned so that text which runs down lies in rows."""
        now, stays, past = (np.ascontiguousarray(plane[:, left:right].T) for plane in (self.now, self.stays, self.past))
        return _Ink(now=now, stays=stays, past=past)


def _both_ways(ink: _Ink, *, is_full: bool) -> list[TextLine]:
    """Rows anywhere, columns in the side bands."""
    height, width = ink.now.shape
    short, side = min(height, width), round(_SIDE * width)
    lines: list[TextLine] = []
    for (x, y, w, h), counts in _rows(ink, short, _FULL_TEXT if is_full else _TEXT, is_full=is_full):
        lines.append(_line(x, y, x + w, y + h, counts, ink.now.shape))
    for left, right in ((0, side), (width - side, width)):
        for (y, x, h, w), counts in _rows(ink.strip(left, right), short, _COLUMN, is_full=is_full):
            lines.append(_line(left + x, y, left + x + w, y + h, counts, ink.now.shape))
    return lines if _moves(ink, lines) else [replace(line, lasted=0.0) for line in lines]


def _moves(ink: _Ink, lines: list[TextLine]) -> bool:
    """Whether the strokes outside the lines do not last; where there are hardly any, nothing speaks against the lines."""
    height, width = ink.now.shape
    ground = ink.stays.copy()
    for line in lines:
        rows, columns = (round(line.y0 * height), round(line.y1 * height)), (round(line.x0 * width), round(line.x1 * width))
        ground[slice(*rows), slice(*columns)] = 0
    amount = cv2.countNonZero(ground)
    return amount < SHORT or int(np.count_nonzero(ground & ink.past)) < _RESTING * amount


def _line(x0: int, y0: int, x1: int, y1: int, counts: tuple[int, float, float], shape: tuple[int, ...]) -> TextLine:
    height, width = shape
    letters, kept, lasted = counts
    return TextLine(x0=x0 / width, y0=y0 / height, x1=x1 / width, y1=y1 / height, letters=letters, kept=kept, lasted=lasted)


def _rows(
    ink: _Ink, short: int, likes: tuple[_Likeness, ...], *, is_full: bool
) -> Iterator[tuple[tuple[int, int, int, int], tuple[int, float, float]]]:  # fmt: skip
    """Of what looks like a row of letters: x, y, width, height; letters, kept and lasted as TextLine has them."""
    joined = cv2.morphologyEx(ink.stays, cv2.MORPH_CLOSE, np.ones((max(1, round(0.008 * short)), round(_GAP * short)), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8, ltype=cv2.CV_16U)
    widths, heights = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    fits = (heights >= LOWEST * short) & (heights <= HIGHEST * short) & (widths >= 2 * heights)
    fits[0] = False  # the ground
    candidates = np.flatnonzero(fits)
    largest_first = candidates[np.argsort(-stats[candidates, cv2.CC_STAT_AREA], kind="stable")]
    for label in largest_first[:MOST_LINES]:
        x, y, w, h = (int(value) for value in stats[label, :4])
        box = slice(y, y + h), slice(x, x + w)
        inside = ink.stays[box] & (labels[box] == label)
        margin = max(2, h // 4)
        around = np.concatenate([ink.stays[max(0, y - margin) : y, x : x + w], ink.stays[y + h : y + h + margin, x : x + w]])
        crossed = _crossed(inside)
        stays = max(1, np.count_nonzero(ink.stays[box]))
        kept = stays / max(1, np.count_nonzero(ink.now[box]))
        if is_full and kept > _AT_REST and crossed < _SUREST:  # a texture at rest, all of whose strokes stay
            continue
        letters = _letters(inside, crossed, likes)
        if letters and np.count_nonzero(around) <= _AROUND * around.size:
            yield (x, y, w, h), (letters, kept, np.count_nonzero(ink.past[box]) / stays)


def _crossed(inside: np.ndarray) -> float:
    """Strokes that a level line crosses in (h, w) 0/1 ink, per height of the row."""
    height, width = inside.shape
    middle = inside[height // 4 : height - height // 4]
    return np.count_nonzero(middle[:, 1:] != middle[:, :-1]) / 2 / middle.shape[0] * height / width


def _letters(inside: np.ndarray, crossed: float, likes: tuple[_Likeness, ...]) -> int:
    """How many letters a row of (h, w) 0/1 ink has; 0 if it is not like text."""
    height, width = inside.shape
    fill = np.count_nonzero(inside) / inside.size
    like = [
        kind for kind in likes
        if crossed >= kind.crossed and width >= kind.longest * height and kind.fill[0] <= fill <= kind.fill[1]
    ]  # fmt: skip
    if not like:
        return 0
    tall = _letter_heights(inside) / height
    if not tall.size or np.std(tall) > _SPREAD:
        return 0
    middle = float(np.median(tall))
    return int(tall.size) if any(tall.size >= kind.letters and middle >= kind.tall for kind in like) else 0


def _letter_heights(inside: np.ndarray) -> np.ndarray:
    """Heights in pixels of the separate strokes that are more than specks."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8, ltype=cv2.CV_16U)
    return stats[1:, cv2.CC_STAT_HEIGHT][stats[1:, cv2.CC_STAT_AREA] >= max(3, 0.02 * inside.shape[0] ** 2)].astype(np.float64)
