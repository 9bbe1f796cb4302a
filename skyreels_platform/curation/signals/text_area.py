"""How much of the picture is text, of whatever kind."""

from skyreels_platform.curation.signals.base import Score, Signal
from skyreels_platform.curation.signals.ocr import OcrStills


class TextArea(Signal):
    """Share of the frame that lines of text cover, mean over the stills looked at: subtitles, titles, signs, pages.

    Text is found by RapidOCR's detector in at most three stills of the shot; small print below about 2 % of the frame's height is
    missed. Unknown while OCR is off.
    Source: paper (OCR filter on the area of text, from its second stage on); detector and numbers our choice.
    """

    name, unit, version = "text_area", "share of frame", "1"
    shared = OcrStills

    def result(self) -> Score:
        text = self.shared_state.text()
        if isinstance(text, str):
            return self.unknown(text)
        shares = [min(1.0, sum(box.area for box in boxes)) for boxes in text.boxes]
        return self.measured(sum(shares) / len(shares))
