"""Text laid over the picture, told from text in the scene."""

from skyreels_platform.curation.signals.base import Score, Signal
from skyreels_platform.curation.signals.ocr import OcrStills, TextBox

MOVES = 0.03
"""Share of the frame that must look different from one still to the next before the picture counts as moving."""
_STILL = 0.02  # shares of the frame by which a text's place may differ
_SIZE = 1.3  # ratio of heights, or widths, of the same text, at most


class OverlayText(Signal):
    """Share of the lines of text that stand still on the screen while the picture moves.

    A line is followed to the next still: it stands when it keeps its height, its level and one of its ends or its middle (so a
    subtitle that gives way to the next one counts); it moves, as signs in the scene do, when one of its size is seen elsewhere;
    and does not count when it is gone. 0 without text. Unknown while OCR is off, for text in a picture that does not move, and
    for text that is never seen twice.
    Source: paper names an OCR filter; telling overlays by their stillness is our choice.
    """

    name, unit, version = "overlay_text", "share of text", "1"
    video_only = True
    still = "one picture cannot tell text laid over it from text in the scene"
    shared = OcrStills

    def result(self) -> Score:
        text = self.shared_state.text()
        if isinstance(text, str):
            return self.unknown(text)
        if not any(text.boxes):
            return self.measured(0.0)
        if not text.moved:
            return self.unknown("one still only: nothing to compare its text with")
        moving = [pair for pair, share in enumerate(text.moved) if share >= MOVES]
        if not moving:
            return self.unknown("the picture does not move: text laid over it cannot be told from text in the scene")
        lines = [(box, text.boxes[pair + 1]) for pair in moving for box in text.boxes[pair]]
        standing = sum(any(_stands(box, other) for other in after) for box, after in lines)
        seen_again = sum(any(_stands(box, other) or _alike(box, other) for other in after) for box, after in lines)
        if not seen_again:
            return self.unknown("no line of text is seen in two stills")
        return self.measured(standing / seen_again)


def _stands(one: TextBox, other: TextBox) -> bool:
    level = abs(one.y0 + one.y1 - other.y0 - other.y1) / 2 <= _STILL
    ends = ((one.x0, other.x0), (one.x1, other.x1), ((one.x0 + one.x1) / 2, (other.x0 + other.x1) / 2))
    same_height = _ratio(one.y1 - one.y0, other.y1 - other.y0) <= _SIZE
    return level and same_height and any(abs(first - second) <= _STILL for first, second in ends)


def _alike(one: TextBox, other: TextBox) -> bool:
    return _ratio(one.y1 - one.y0, other.y1 - other.y0) <= _SIZE and _ratio(one.x1 - one.x0, other.x1 - other.x0) <= _SIZE


def _ratio(one: float, other: float) -> float:
    return max(one, other) / max(min(one, other), 1e-6)
