"""Bars: letterbox, pillarbox, windowbox, and blurred fill beside a narrow picture."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.bar_edges import BarEdges
from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.side_fill import SideFill

CERTAIN = 0.6
"""Share of a side along which the edge must lie for a bar, with another opposite it at any depth."""
TOGETHER = 0.5, 0.4
"""The mean of the shares of dark bars of one colour on opposite sides, or all around, and the least of them: where half of a dark picture
is as dark as its bars, half of every edge is seen, but hardly a scene has straight dark edges on opposite sides."""
ALONE = 0.8
"""The same for a bar without one opposite it: a night sky over a straight roof has such an edge too, but hardly so long a one."""
SUPPORTED = 0.3
"""The same for a bar with an equal one opposite it: dark pictures show little of their edge."""
AT_ONCE = 0.35
"""Share of the edge that one still must show: what moves straight over an even ground leaves an edge too, but never at once."""
AT_ONCE_LIT, AT_ONCE_OPPOSITE = 0.75, 0.6
"""The same for a bar that is not dark: a square that crosses a plain wall shows up to half of such an edge in one still. And for the
fainter of two of one colour on opposite sides, if both show so much of it on average."""
DARKEST = 40.0
"""Levels of 255 up to which a single bar is believed; a bright one needs a bar opposite it, or a flat sky would be a bar."""
SMALLEST_PICTURE = 0.25
"""Share of the frame inside a windowbox; a title on black is not one."""


class Letterbox(Signal):
    """Share of the picture that bars take.

    A bar is an area along a side that has one colour in every still, except for subtitles or a logo in it, and ends in a straight
    edge. The edge counts wherever the picture beyond it ever differed from the bar, so that a dark scene shows its bars as soon
    as something lights up near them; a dark scene without bars has no straight edge. Bars of any colour are found; also a blurred
    copy of the picture beside it. Positions are exact to about a pixel of the stills (two of a 1080p source).
    Source: paper 3.1 names border detection; definition our choice.
    """

    name, unit, version = "letterbox", "share of frame", "3"

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._sides = [BarEdges() for _ in range(4)]  # top, bottom, left, right
        self._fills = [SideFill(), SideFill()]  # beside the picture, above and below it
        self._num_stills, self._even, self._size = 0, True, (0, 0)

    def add(self, sample: Sample) -> None:
        if sample.still is None:
            return
        luma = sample.still.large
        turned = cv2.transpose(luma)
        self._num_stills += 1
        self._size = luma.shape[1], luma.shape[0]
        self._even = self._even and int(luma.max()) - int(luma.min()) < 16
        for side, view in zip(self._sides, (luma, luma[::-1], turned, turned[::-1]), strict=True):
            if side.possible:
                side.add(view)
        self._fills[0].add(luma)
        self._fills[1].add(turned)

    def result(self) -> Score:
        if not self._num_stills:
            return self.unknown("no still could be measured")
        if self._even:
            return self.unknown("every still is one even colour: bars and picture cannot be told apart")
        x0, y0, x1, y1 = self._picture()
        return self.measured(1 - (x1 - x0) * (y1 - y0))

    def regions(self) -> list[Region]:
        if not self._num_stills or self._even:
            return []
        x0, y0, x1, y1 = self._picture()
        bars = ((0.0, 0.0, 1.0, y0), (0.0, y1, 1.0, 1.0), (0.0, y0, x0, y1), (x1, y0, 1.0, y1))
        return [
            Region(kind=self.name, x0=left, y0=top, x1=right, y1=bottom)
            for left, top, right, bottom in bars if right > left and bottom > top
        ]

    def _picture(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the picture, shares of the frame."""
        width, height = self._size
        for top, bottom, left, right in (self._window(), (*self._pair(0, 0, width), 0, 0), (0, 0, *self._pair(2, 0, height))):
            if top or bottom or left or right:
                return left / width, top / height, 1 - right / width, 1 - bottom / height
        beside, above = self._fills[0].picture(self._num_stills), self._fills[1].picture(self._num_stills)
        if beside is not None:
            return beside[0] / width, 0.0, beside[1] / width, 1.0
        if above is not None:
            return 0.0, above[0] / height, 1.0, above[1] / height
        return 0.0, 0.0, 1.0, 1.0

    def _window(self) -> tuple[int, int, int, int]:
        """Depths of bars on all four sides (top, bottom, left, right), or zeros."""
        nothing = 0, 0, 0, 0
        if not all(side.possible for side in self._sides):
            return nothing
        across, down = self._sides[0].active(), self._sides[2].active()
        if across is None or down is None or not across.any() or not down.any():
            return nothing
        spans = [(int(np.flatnonzero(active)[0]), int(np.flatnonzero(active)[-1]) + 1) for active in (across, down)]
        (left, right), (top, bottom) = spans
        if (right - left) * (bottom - top) < SMALLEST_PICTURE * len(across) * len(down):
            return nothing
        found = [side.edge(*spans[number // 2]) for number, side in enumerate(self._sides)]
        certain = all(
            depth and support >= CERTAIN and at_once >= _at_once(side)
            for (depth, support, at_once), side in zip(found, self._sides, strict=True)
        )
        if certain or _are_dark_bars(self._sides, found):
            return found[0][0], found[1][0], found[2][0], found[3][0]
        return nothing

    def _pair(self, first: int, start: int, stop: int) -> tuple[int, int]:
        """Depths of the bars on sides `first` and `first + 1`, 0 for none."""
        sides = self._sides[first:first + 2]
        found = [side.edge(start, stop) for side in sides]
        alike = abs(sides[0].colour - sides[1].colour) <= 8
        equal = alike and abs(found[0][0] - found[1][0]) <= max(2, 0.01 * max(self._size))
        # Whatever crosses the picture leaves an edge on one side, or at another depth on the other.
        seen = [
            bool(depth) and at_once >= (AT_ONCE if equal else _at_once(side))
            for (depth, _, at_once), side in zip(found, sides, strict=True)
        ]
        certain = [ok and support >= CERTAIN for ok, (_, support, _) in zip(seen, found, strict=True)]
        supports, shown = ([side[part] for side in found] for part in (1, 2))
        opposite = all(depth for depth, _, _ in found) and min(supports) >= CERTAIN and min(shown) >= AT_ONCE_OPPOSITE
        both = all(certain) or (opposite and sum(shown) >= 2 * AT_ONCE_LIT)
        supported = all(depth and support >= SUPPORTED for depth, support, _ in found)
        if (both and alike) or _are_dark_bars(sides, found) or (equal and supported and any(seen)):
            return found[0][0], found[1][0]
        first_depth, second_depth = (
            depth if ok and support >= ALONE and side.colour <= DARKEST else 0
            for (depth, support, _), ok, side in zip(found, certain, sides, strict=True)
        )
        return first_depth, second_depth


def _are_dark_bars(sides: list[BarEdges], found: list[tuple[int, float, float]]) -> bool:
    """Whether the edges found on these sides are those of dark bars of one colour, although part of the picture is as dark."""
    colours = [side.colour for side in sides]
    supports = [support for depth, support, at_once in found if depth and at_once >= AT_ONCE]
    return (
        max(colours) <= DARKEST and max(colours) - min(colours) <= 8 and len(supports) == len(sides)
        and sum(supports) >= TOGETHER[0] * len(sides) and min(supports) >= TOGETHER[1]
    )  # fmt: skip


def _at_once(side: BarEdges) -> float:
    return AT_ONCE if side.colour <= DARKEST else AT_ONCE_LIT
