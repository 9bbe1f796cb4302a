import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyreels_platform.captioning import camera
from skyreels_platform.captioning.answers import Answer
from skyreels_platform.captioning.caption import Caption, caption_shot
from skyreels_platform.captioning.schema import SHOT_FIELDS, SUBJECT_FIELDS, concept_of, parse
from skyreels_platform.captioning.subjects import describe_subject
from skyreels_platform.recipe import CaptionSettings
from tests.captioning.drawing import camera_film, draw, film, texture
from tests.captioning.endpoint import valid

RULES = CaptionSettings(backend="rules", field_dropout=0.0)


def caption(
    frames: np.ndarray, human: dict[str, Any] | None = None, duration_s: float = 1.0, settings: CaptionSettings = RULES
) -> Caption:
    return caption_shot(frames, shot_id="shot_1", duration_s=duration_s, seed=0, human=human or {}, settings=settings)


def under_a_panning_camera() -> np.ndarray:
    """A blue square that stands in a world while the camera pans right: on screen it slides left."""
    frames = camera_film(texture(8), pan=0.1, num_frames=32, subject=False)
    places = [(160 * (0.6 - 0.1 * index / 16), 60.0) for index in range(len(frames))]
    return np.stack([draw(frame, "square", (40, 75, 220), place, 36.0) for frame, place in zip(frames, places, strict=True)])


def test_a_rendered_shot() -> None:
    result = caption(film("circle", "red", start=(0.3, 0.5), step=(0.02, 0.0)))
    assert result.t2v == result.i2v == "a red circle moves right."
    assert (result.status, result.reason) == ("ok", "")
    structured = json.loads(result.structured)
    assert structured["subjects"][0]["TYPES"] == {"type": "Circle", "sub_type": "red circle"}
    assert concept_of(structured) == "Circle"
    assert parse(result.structured, is_complete=False).to_json() == result.structured


def test_subject_and_camera_are_told_apart() -> None:
    result = caption(under_a_panning_camera(), duration_s=2.0)
    assert result.t2v == "a blue square stands still. in the centre. The camera pans right."
    assert result.i2v == "a blue square stands still. The camera pans right."


def test_every_field_says_where_it_is_from() -> None:
    result = caption(under_a_panning_camera(), duration_s=2.0)
    origin = json.loads(result.field_provenance)
    assert set(origin) == {"subjects", *SHOT_FIELDS, *(f"subjects[0].{field}" for field in SUBJECT_FIELDS)}
    assert {field for field, entry in origin.items() if entry["source"] == "expert"} == {"camera_motion"}
    said = {field for field, entry in origin.items() if entry["source"] == "rule"}
    assert said == {"subjects", *(f"subjects[0].{field}" for field in SUBJECT_FIELDS if field != "expression")}
    structured = json.loads(result.structured)
    for field in SHOT_FIELDS:
        if origin[field]["source"] == "none":
            assert structured[field] == ""
            assert origin[field]["confidence"] == 0
    assert all(0 < origin[field]["confidence"] <= 1 and origin[field]["version"] for field in (*said, "camera_motion"))
    assert origin["camera_motion"]["model"] == camera.VERSION.rpartition("-")[0]


def test_static_and_unknown_cameras_are_told_apart_by_provenance() -> None:
    static = caption(camera_film(texture(2), subject=False), duration_s=2.0)
    unknown = caption(film("circle", "red"))
    assert json.loads(static.structured)["camera_motion"] == json.loads(unknown.structured)["camera_motion"] == ""
    assert json.loads(static.field_provenance)["camera_motion"]["source"] == "expert"
    entry = json.loads(unknown.field_provenance)["camera_motion"]
    assert (entry["source"], "texture" in entry["reason"]) == ("none", True)


def test_nothing_to_say_is_a_status() -> None:
    result = caption(np.full((16, 64, 64, 3), 120, np.uint8))
    assert (result.t2v, result.i2v, result.status) == ("", "", "empty")
    assert result.reason == "no field says anything about this shot"
    assert concept_of(json.loads(result.structured)) == "Unknown"


@pytest.mark.parametrize(("level", "lighting"), [(0, ""), (25, "dim light"), (120, ""), (230, "bright light")])
def test_extreme_light_is_mentioned(level: int, lighting: str) -> None:
    result = caption(np.full((16, 64, 64, 3), level, np.uint8))
    assert json.loads(result.structured)["lighting"] == lighting
    assert json.loads(result.field_provenance)["lighting"]["source"] == ("rule" if lighting else "none")


def test_a_title_card_is_not_dim() -> None:
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    frames[:, 28:36, 10:54] = 240
    assert json.loads(caption(frames).structured)["lighting"] == ""


def test_a_single_picture_has_no_camera() -> None:
    result = caption(film("triangle", "green", num_frames=4), duration_s=0.0)
    assert result.t2v.startswith("a green triangle")
    assert "single picture" in json.loads(result.field_provenance)["camera_motion"]["reason"]


def test_human_fields_win_and_are_marked() -> None:
    human = {
        "subjects": [{"TYPES": {"type": "Animal", "sub_type": "cat"}, "action": "sleeps", "is_main_subject": True}],
        "camera_motion": "the camera is on a shelf", "shot_type": "close_up", "licence": "CC0-1.0",
    }
    result = caption(film("circle", "red", start=(0.3, 0.5), step=(0.02, 0.0)), human)
    assert result.t2v == "close up. a cat sleeps. The camera is on a shelf."
    assert (result.status, result.reason) == ("ok", "")
    origin = json.loads(result.field_provenance)
    humans = {field for field, entry in origin.items() if entry["source"] == "human"}
    assert humans >= {"subjects", "subjects[0].TYPES", "subjects[0].action", "camera_motion", "shot_type"}
    assert origin["environment"]["source"] == "none"
    assert concept_of(json.loads(result.structured)) == "Animal"


def test_a_human_caption_replaces_the_dense_text_word_for_word() -> None:
    result = caption(film("circle", "red", start=(0.3, 0.5), step=(0.02, 0.0)), {"caption": "The ball\n rolls away"})
    assert (result.t2v, result.i2v) == ("The ball rolls away", "a red circle moves right.")
    assert json.loads(result.field_provenance)["caption"]["source"] == "human"
    assert caption(np.full((16, 64, 64, 3), 120, np.uint8), {"caption": "Fog."}).status == "ok"


def test_a_bad_human_field_is_named_and_costs_nothing_else() -> None:
    result = caption(film("circle", "red", start=(0.3, 0.5), step=(0.02, 0.0)), {"shot_type": "wide"})
    assert result.status == "invalid"
    assert result.reason.startswith("sidecar: shot_type is 'wide'; allowed: long_shot")
    assert result.t2v == "a red circle moves right."


def test_a_misspelt_human_field_is_pointed_out() -> None:
    result = caption(film("circle", "red"), {"camera_moton": "x", "title": "Balls"})
    assert (result.status, result.reason) == ("ok", "sidecar key 'camera_moton' ignored, did you mean 'camera_motion'?")


def test_the_same_shot_gets_the_same_row() -> None:
    frames = under_a_panning_camera()
    assert caption(frames, duration_s=2.0) == caption(frames.copy(), duration_s=2.0)


VLLM = CaptionSettings(backend="vllm", field_dropout=1.0)
ANSWER = Answer(
    key="shot_1", request_hash="h", status="success", reason="", text=json.dumps(valid("A yard.")), num_asked=1,
    model="Skywork/SkyCaptioner-V1",
)  # fmt: skip


def answered(answer: Answer | None, human: dict[str, Any] | None = None) -> Caption:
    frames = film("circle", "red", num_frames=2)
    return caption_shot(frames, shot_id="shot_1", duration_s=1.0, seed=0, human=human or {}, settings=VLLM, answer=answer)


def test_a_models_answer_becomes_a_caption_with_the_model_in_every_field() -> None:
    result = answered(ANSWER)
    assert (result.status, result.reason) == ("ok", "")
    assert parse(result.structured, is_complete=True).environment == "A yard."
    assert result.t2v == "full shot, eye level, side view. The cat runs. Gray. Centre. A yard. Daylight."
    assert result.t2v_train == "full shot, eye level, side view. The cat runs. A yard.", "dropout thins the training text alone"
    assert result.i2v == "The cat runs."
    origin = json.loads(result.field_provenance)
    assert set(origin) == {"subjects", *SHOT_FIELDS, *(f"subjects[0].{field}" for field in SUBJECT_FIELDS)}
    assert {(entry["source"], entry["model"]) for entry in origin.values()} == {("mllm", "Skywork/SkyCaptioner-V1")}


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (None, "error", "the captioner was not asked"),
        (replace(ANSWER, key="shot_2"), "error", "an answer about shot_2 was handed in"),
        (replace(ANSWER, status="truncated", reason="cut off", text=""), "truncated", "cut off"),
        (replace(ANSWER, status="refused", reason="will not", text=""), "refused", "will not"),
    ],
)
def test_a_shot_without_an_answer_is_a_row_with_a_reason(answer: Answer | None, status: str, reason: str) -> None:
    result = answered(answer, {"environment": "A void."})
    assert (result.status, result.reason, result.t2v) == (status, reason, "A void.")
    origin = json.loads(result.field_provenance)
    assert (origin["environment"]["source"], origin["lighting"]["source"]) == ("human", "none")
    assert "SkyCaptioner-V1" in result.captioner


@pytest.mark.parametrize(("shape", "kind"), [((0, 8, 8, 3), np.uint8), ((8, 8, 3), np.uint8), ((2, 8, 8, 3), np.float32)])
def test_refuses_what_is_no_film(shape: tuple[int, ...], kind: type) -> None:
    frames = np.zeros(shape, kind)
    with pytest.raises(ValueError, match=r"give uint8 \(F, H, W, 3\)"):
        caption(frames)


def test_real_footage_is_not_taken_for_coloured_shapes(footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every 32 frames of real films, cuts included: the subject expert should mostly say nothing."""
    import av
    names = []
    for path in sorted((footage / "videos").iterdir()):
        with av.open(os.fspath(path)) as container:
            stream = container.streams.video[0]
            scale = 160 / max(stream.width, stream.height)
            width, height = round(stream.width * scale), round(stream.height * scale)
            first = itertools.islice(container.decode(stream), 96)
            frames = [frame.to_ndarray(format="rgb24", width=width, height=height) for frame in first]
        spans = [np.stack(frames[start : start + 32 : 4]) for start in range(0, len(frames) - 31, 32)]
        names += [finding and finding.name for finding in map(describe_subject, spans)]
    claimed = [name for name in names if name]
    with capsys.disabled():
        print(f"\nsubjects claimed in {len(claimed)} of {len(names)} spans of real footage: {sorted(set(claimed))}")
    assert len(claimed) <= 0.05 * len(names)
