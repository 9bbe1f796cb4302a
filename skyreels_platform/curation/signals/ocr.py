"""Text found by a trained detector (RapidOCR): the stills of a shot that are looked at, and the boxes in them.

Reading is dear, a tenth of a second and more per still: it is off unless `use_ocr(True)` says otherwise, three stills of a shot
are looked at, and what is written in the boxes is read only for those who ask. The detector is made once per process, when the
first shot needs it. The package carries its models; nothing is downloaded.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import OfSample, Sample, ShotInfo, Still
from skyreels_platform.errors import MissingExtraError

OFF = "OCR is off"
LONG_SIDE = 640
"""Pixels on the long side at which text is looked for."""
STILLS = 3
"""Stills of a shot that are looked at, first and last among them (our choice: at most one second per shot)."""
_KEPT = 5  # stills kept while the shot streams: the spacing doubles whenever there is one more
_LARGEST = 0.3  # shorter side of a line of text; the detector takes some whole pictures for one
_CHANGED = 12  # levels of 255

_enabled = False


def use_ocr(enabled: bool) -> None:
    """Switch reading on or off for the shots that this process measures from now on; a recipe's decision."""
    global _enabled
    _enabled = enabled


@dataclass(frozen=True, kw_only=True, slots=True)
class TextBox:
    """One line of text in one still, in shares of the frame."""

    x0: float
    y0: float
    x1: float
    y1: float
    area: float
    """Of the slanted quadrilateral; share of the frame."""


class OcrReader:
    """Finds and reads text in pictures. MissingExtraError if the package is not installed."""

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise MissingExtraError("rapidocr", "ocr", "the signals text_area and overlay_text") from error
        threads = "EngineConfig.onnxruntime.{}_op_num_threads"
        self._engine: Any = RapidOCR(params={
            "Global.use_cls": False, "Global.log_level": "error", "Det.limit_type": "max", "Det.limit_side_len": LONG_SIDE,
            threads.format("intra"): 1, threads.format("inter"): 1,
        })  # fmt: skip

    def boxes(self, image: np.ndarray) -> list[TextBox]:
        """The lines of text in (H, W, 3) uint8 RGB; none is read."""
        found = self._engine(_bgr(image), use_det=True, use_cls=False, use_rec=False).boxes
        height, width = image.shape[:2]
        boxes = [] if found is None else [_box(corners, height, width) for corners in np.asarray(found, np.float64)]
        return [box for box in boxes if min(box.x1 - box.x0, box.y1 - box.y0) <= _LARGEST]

    def texts(self, image: np.ndarray) -> list[tuple[TextBox, str, float]]:
        """The lines of text, what is written in each, and how sure that is, 0 to 1."""
        found = self._engine(_bgr(image), use_det=True, use_cls=False, use_rec=True)
        if found.boxes is None or found.txts is None:
            return []
        height, width = image.shape[:2]
        boxes = [_box(corners, height, width) for corners in np.asarray(found.boxes, np.float64)]
        return list(zip(boxes, found.txts, (float(score) for score in found.scores), strict=True))


@lru_cache(maxsize=1)
def reader() -> OcrReader:
    """This process's reader, made at the first call."""
    return OcrReader()


@dataclass(frozen=True, kw_only=True)
class SeenText:
    """What the stills of a shot show."""

    boxes: list[list[TextBox]]
    """Per still, in order."""
    moved: list[float]
    """Per pair of successive stills: share of the frame, text apart, that looks different."""


class OcrStills:
    """The stills of one shot that are to be looked at, evenly spread however long the shot; nothing while reading is off."""

    of_sample: ClassVar[OfSample] = ()

    def __init__(self, shot: ShotInfo) -> None:
        self.shot = shot
        self.enabled = _enabled
        self._kept: list[tuple[int, Still, np.ndarray]] = []
        self._seen, self._every = 0, 1
        self._text: SeenText | None = None

    def add(self, sample: Sample) -> None:
        """See the shot's next frame."""
        if not self.enabled or sample.still is None:
            return
        if self._seen % self._every == 0:
            self._kept.append((self._seen, sample.still, sample.grey))
            if len(self._kept) > _KEPT:
                self._every *= 2
                self._kept = [kept for kept in self._kept if kept[0] % self._every == 0]
        self._seen += 1

    def text(self) -> SeenText | str:
        """The text in the shot's stills, looked for at the first call; or why it is not known."""
        if not self.enabled:
            return OFF
        if self._text is None:
            if not self._kept:
                return "no frame could be seen in detail"
            try:
                engine = reader()
            except MissingExtraError as error:
                return str(error)
            last = len(self._kept) - 1
            chosen = [self._kept[place] for place in sorted({0, (last + 1) // 2, last})][:STILLS]
            boxes = [engine.boxes(_reduced(still.rgb())) for _, still, _ in chosen]
            moved = [
                _difference(chosen[k][2], chosen[k + 1][2], boxes[k] + boxes[k + 1]) for k in range(len(chosen) - 1)
            ]  # fmt: skip
            self._text = SeenText(boxes=boxes, moved=moved)
            self._kept.clear()
        return self._text


def _bgr(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., ::-1])


def _reduced(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return image
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def _box(corners: np.ndarray, height: int, width: int) -> TextBox:
    """A box from (4, 2) corners in pixels."""
    shares = np.clip(corners / (width, height), 0, 1)
    x, y = shares[:, 0], shares[:, 1]
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2  # the shoelace formula
    return TextBox(x0=float(x.min()), y0=float(y.min()), x1=float(x.max()), y1=float(y.max()), area=area)


def _difference(before: np.ndarray, after: np.ndarray, text: list[TextBox]) -> float:
    """Share of two small frames, (h, w) uint8, that differs, where neither shows text."""
    height, width = before.shape
    ground = np.ones(before.shape, bool)
    for box in text:
        ground[int(box.y0 * height) : int(box.y1 * height) + 1, int(box.x0 * width) : int(box.x1 * width) + 1] = False
    return float(np.mean(cv2.absdiff(before, after)[ground] > _CHANGED)) if ground.any() else 0.0
