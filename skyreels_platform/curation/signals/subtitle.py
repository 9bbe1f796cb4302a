"""Burnt-in subtitles."""

from skyreels_platform.curation.signals.base import Region, Score, Signal
from skyreels_platform.curation.signals.overlay_statistics import CUT, OverlayStatistics, is_corner_mark
from skyreels_platform.curation.signals.text_lines import TextLine

BANDS: dict[str, tuple[float, float, float, float]] = {
    "top": (0.0, 0.0, 1.0, 0.2), "bottom": (0.0, 0.6, 1.0, 1.0), "left": (0.0, 0.0, 0.2, 1.0), "right": (0.8, 0.0, 1.0, 1.0),
}  # fmt: skip
"""Where subtitles stand: left, top, right, bottom in shares of the frame (paper: top 20 %, bottom 40 %, sides 20 %)."""
_MARGIN = 0.15  # of a line's height: outline, shadow and box around the letters


class Subtitle(Signal):
    """Largest share of the frame that text standing still covers in one of the bands: top, bottom, left, right.

    Text is found by its strokes and must stand in two successive stills, about half a second apart; it may change in the course
    of the shot. A single picture is judged by the strokes alone. Text with the place and size of a logo is left to `logo`, text
    in the middle of the frame (titles) to `overlay_text`. 0 means that no text was found.
    Source: paper (subtitle bands of the crop; found by a text detector there); method our choice.
    """

    name, unit, version = "subtitle", "share of frame", "3"
    shared = OverlayStatistics

    def result(self) -> Score:
        state: OverlayStatistics = self.shared_state
        if not state.text.stills:
            return self.unknown("no frame could be seen in enough detail")
        shares = dict.fromkeys(BANDS, 0.0)
        for band, line in self._lines():
            shares[band] += line.area
        return self.measured(max(shares.values()))

    def regions(self) -> list[Region]:
        found = []
        for _, line in self._lines():
            margin = _MARGIN * min(line.y1 - line.y0, line.x1 - line.x0)
            x0, y0 = max(0.0, line.x0 - margin), max(0.0, line.y0 - margin)
            found.append(Region(kind=self.name, x0=x0, y0=y0, x1=min(1.0, line.x1 + margin), y1=min(1.0, line.y1 + margin)))
        return found

    def _lines(self) -> list[tuple[str, TextLine]]:
        state: OverlayStatistics = self.shared_state
        found = []
        for line in state.lines():
            band = _band(line)
            if min(line.y0, 1 - line.y1) < CUT:  # a trunk or a pole that the frame cuts off
                continue
            if band and not is_corner_mark(line.x0, line.y0, line.x1, line.y1):
                found.append((band, line))
        return found


def _band(line: TextLine) -> str | None:
    """The band that holds the line's middle; top and bottom go before the sides."""
    x, y = (line.x0 + line.x1) / 2, (line.y0 + line.y1) / 2
    return next((name for name, (x0, y0, x1, y1) in BANDS.items() if x0 <= x <= x1 and y0 <= y <= y1), None)
