"""Text found by OCR: how much of the picture it takes, and whether it is laid over it."""

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from skyreels_platform.curation.signals import ocr
from skyreels_platform.curation.signals.ocr import OcrStills
from skyreels_platform.curation.signals.overlay_text import OverlayText
from skyreels_platform.curation.signals.text_area import TextArea
from skyreels_platform.media.sample_overlays import draw_overlays
from tests.curation.signals.overlay_shots import drawn_shot, measure, texture_clip


@pytest.fixture
def reading() -> Iterator[None]:
    ocr.use_ocr(True)
    yield
    ocr.use_ocr(False)


def test_it_is_off_unless_asked_for() -> None:
    for kind in (TextArea, OverlayText):
        score = measure(kind, *drawn_shot(texture_clip(8))).result()
        assert (score.outcome, score.reason) == ("unknown", "OCR is off")


@pytest.mark.usefixtures("reading")
def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    ocr.reader.cache_clear()
    score = measure(TextArea, *drawn_shot(texture_clip(8))).result()
    ocr.reader.cache_clear()
    assert score.outcome == "unknown"
    assert "'rapidocr', which is not installed" in score.reason
    assert "[ocr]" in score.reason


@pytest.mark.usefixtures("reading")
def test_a_subtitle_is_text_laid_over_and_a_sign_in_the_scene_is_not() -> None:
    clean, subtitled, signed = (texture_clip(seed=seed) for seed in range(3))
    (truth,) = draw_overlays(subtitled, ["subtitle"], seed=1, fps=16)
    draw_overlays(signed, ["scene_text"], seed=12, fps=16)
    values = []
    for clip in (clean, subtitled, signed):
        info, samples = drawn_shot(clip)
        area, overlay = measure(TextArea, info, samples), OverlayText(info)
        overlay.shared_state = area.shared_state
        values.append([signal.result().value for signal in (area, overlay)])
    assert values[0] == [0, 0]
    x0, y0, x1, y1 = truth.box
    assert 0.5 * (x1 - x0) * (y1 - y0) < values[1][0] < 2 * (x1 - x0) * (y1 - y0)
    assert values[1][1] == 1
    assert values[2][0] > 0
    assert values[2][1] == 0


@pytest.mark.usefixtures("reading")
def test_text_in_a_picture_at_rest_stays_open() -> None:
    clip = texture_clip(pan=0, seed=1)
    draw_overlays(clip, ["subtitle"], seed=1, fps=16)
    score = measure(OverlayText, *drawn_shot(clip)).result()
    assert score.outcome == "unknown"
    assert "does not move" in score.reason


@pytest.mark.usefixtures("reading")
def test_a_long_shot_costs_no_more_than_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[tuple[int, ...]] = []
    monkeypatch.setattr(ocr, "reader", lambda: _Blind(looked_at))
    info, samples = drawn_shot(texture_clip(9))
    state = OcrStills(info)
    for _ in range(200):
        state.add(samples[0])
    state.text()
    state.text()
    assert len(looked_at) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("reading")
def test_reading_takes_a_second_per_shot_at_most() -> None:
    clip = texture_clip(48, size=(1280, 719))
    draw_overlays(clip, ["subtitle", "watermark"], seed=1, fps=16)
    info, samples = drawn_shot(clip)
    ocr.reader().boxes(np.zeros((64, 64, 3), np.uint8))
    state = OcrStills(info)
    for sample in samples:
        state.add(sample)
    started = time.process_time()
    state.text()
    assert time.process_time() - started < 1


@pytest.mark.usefixtures("reading")
def test_what_is_written_can_be_read() -> None:
    clip = texture_clip(1, seed=1)
    (truth,) = draw_overlays(clip, ["subtitle"], seed=1, fps=16)
    read = " ".join(text for _, text, _ in ocr.reader().texts(clip[0]))
    assert _letters(read) == _letters(truth.text)


class _Blind:
    def __init__(self, looked_at: list[tuple[int, ...]]) -> None:
        self._looked_at = looked_at

    def boxes(self, image: np.ndarray) -> list[ocr.TextBox]:
        self._looked_at.append(image.shape)
        return []


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
