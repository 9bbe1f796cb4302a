"""Drawn pictures and screens, and what captions say of them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from skyreels_platform.captioning.schema import StructuredCaption
from skyreels_platform.curation.observe import measure
from skyreels_platform.curation.signals.synthetic import Synthetic, named_kind, with_caption
from skyreels_platform.curation.wide import widen
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe


def _cartoon(number: int) -> np.ndarray:
    """Flat fills with dark outlines, as in cel animation."""
    image = np.full((360, 640, 3), (120, 190, 230), np.uint8)
    cv2.rectangle(image, (0, 240), (640, 360), (90, 170, 80), -1)
    for x, colour in ((120 + 6 * number, (220, 60, 60)), (420 - 4 * number, (240, 200, 60))):
        cv2.circle(image, (x, 200), 80, colour, -1, cv2.LINE_AA)
        cv2.circle(image, (x, 200), 80, (30, 30, 30), 3, cv2.LINE_AA)
        cv2.rectangle(image, (x - 60, 270), (x + 60, 350), (60, 60, 160), -1)
    return image


def _caption(**texts: Any) -> dict:
    return json.loads(StructuredCaption(**texts).to_json())


def test_flat_fills_with_hard_edges_are_drawn_also_after_a_codec(bench, tmp_path: Path):
    path = tmp_path / "cartoon.mp4"
    write_video(path, [_cartoon(number) for number in range(24)], 24, crf=23)
    ((scores, _),) = measure(path, probe(path), [bench.span(0, 24)], kinds=[Synthetic])
    assert scores[0].value is not None
    assert scores[0].value > 0.7


def test_soft_shading_says_nothing(bench):
    score = bench.measured([bench.rgb(bench.noise(360, 640, 6.0))] * 12, kinds=[Synthetic])[0]["synthetic"]
    assert score.outcome == "unknown"
    assert "footage, or drawn so well" in score.reason


def test_black_says_nothing(bench):
    score = bench.measured([bench.flat(2, 360)] * 12, kinds=[Synthetic])[0]["synthetic"]
    assert score.outcome == "unknown"
    assert "between black and white" in score.reason


@pytest.mark.parametrize("name", ["mdn_crystal.mp4", "intel_asl_book.mkv", "intel_car.mp4", "mpy_chaplin.mp4"])
def test_no_footage_is_called_drawn(bench, footage: Path, name: str):
    path = footage / "videos" / name
    ((scores, _),) = measure(path, probe(path), [bench.span(0, 60)], kinds=[Synthetic])
    assert scores[0].outcome == "unknown"


@pytest.mark.parametrize(("text", "kind"), [
    ("A cartoon fox in a forest.", "cartoon (animation)"),
    ("CCTV footage of a car park at night", "cctv footage (surveillance)"),
    ("Screen recordings of a spreadsheet", "screen recording (screen)"),
    ("An animated conversation in a cafe", None),
    ("A street; it is not a cartoon", None),
    ("", None),
])  # fmt: skip
def test_what_a_caption_says_of_its_source(text: str, kind: str | None):
    assert named_kind(_caption(environment=text)) == kind


def test_a_caption_goes_before_the_pixels_and_the_same_in_stored_scores_as_for_one_file():
    caption = _caption(environment="A cartoon fox in a forest.")
    unknown = Synthetic.unknown("softly shaded")
    judged = with_caption({"synthetic": unknown}, caption)["synthetic"]
    assert (judged.value, judged.outcome, judged.reason) == (1.0, "measured", "the caption says cartoon (animation)")
    shots = pa.table({"shot_id": ["a", "b"], "start_s": [0.0, 1.0], "end_s": [1.0, 2.0], "provenance": ["p", "p"]})
    scores = pa.table({
        "shot_id": ["a", "b", "a"], "signal": ["synthetic", "synthetic", "luma"], "value": pa.array([None, None, 0.5], pa.float64()),
        "unit": ["confidence"] * 3, "outcome": ["unknown", "unknown", "measured"], "reason": ["softly shaded", "softly shaded", ""],
        "provenance": ["s"] * 3,
    })  # fmt: skip
    captions = pa.table({"shot_id": ["a", "b"], "structured": [json.dumps(caption), json.dumps(_caption(environment="A fox."))]})
    wide = widen(shots, scores, captions)
    first, second = wide["score.synthetic"].to_pylist()
    assert first == 1.0
    assert np.isnan(second)
    assert [json.loads(note)["synthetic"] for note in wide["notes"].to_pylist()] == [judged.reason, "softly shaded"]
    assert wide["score.luma"].to_pylist()[0] == 0.5
    without = widen(shots, scores, captions.slice(0, 0))
    assert without.schema.metadata != wide.schema.metadata, "verdicts follow what captions say"
