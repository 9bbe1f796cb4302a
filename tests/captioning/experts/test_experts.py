"""Shot classifier, expressions and active learning on pictures and labels whose truth is known."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from skyreels_platform.captioning.experts import Said, replace_fields
from skyreels_platform.captioning.experts.active import pick, uncertainty
from skyreels_platform.captioning.experts.expression import Expression, expression_request, parse_expression, subject_of
from skyreels_platform.captioning.experts.shots import ShotExpert, pixels
from skyreels_platform.captioning.origin import origin
from skyreels_platform.captioning.schema import CaptionFieldError, StructuredCaption, Subject, SubjectTypes

SIZES = {"close_up": 0.42, "medium_shot": 0.24, "long_shot": 0.08}
"""Shot type -> radius of the drawn head, of the picture's height."""


def shot(kind: str, seed: int) -> np.ndarray:
    """Four frames of a head with eyes on shoulders, before a noisy ground."""
    rng = np.random.default_rng([seed, len(kind)])
    frames = []
    ground = rng.integers(60, 180, 3)
    centre = np.array([rng.uniform(0.3, 0.7) * 128, rng.uniform(0.35, 0.55) * 96])
    for _ in range(4):
        frame = np.clip(rng.normal(ground, 12, (96, 128, 3)), 0, 255).astype(np.uint8)
        radius = 96 * SIZES[kind] * rng.uniform(0.85, 1.15)
        x, y = centre + rng.normal(0, 1, 2)
        cv2.ellipse(frame, (int(x), int(y + 2.2 * radius)), (int(1.8 * radius), int(1.4 * radius)), 0, 0, 360, (40, 50, 90), -1)
        cv2.circle(frame, (int(x), int(y)), int(radius), (225, 180, 150), -1)
        for side in (-0.35, 0.35):
            cv2.circle(frame, (int(x + side * radius), int(y - 0.1 * radius)), max(1, int(0.12 * radius)), (20, 20, 20), -1)
        frames.append(frame)
    return np.stack(frames)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
    """Vectors and labels of 90 shots to learn from and 90 to be judged by."""
    expert = ShotExpert()
    labels = [kind for kind in SIZES for _ in range(60)]
    vectors = np.stack([expert.vector(shot(kind, seed)) for seed, kind in enumerate(labels)])
    first = np.arange(len(labels)) % 2 == 0
    return vectors[first], labels[::2], vectors[~first], labels[1::2]


def accuracy(expert: ShotExpert, vectors: np.ndarray, labels: list[str]) -> float:
    from skyreels_platform.captioning.schema import SHOT_TYPES

    found = [SHOT_TYPES[place] for place in expert.probabilities("shot_type", vectors).argmax(axis=1)]
    return float(np.mean([one == other for one, other in zip(found, labels, strict=True)]))


def test_shot_types_are_learned_coarse_then_fine(drawn: Any, tmp_path: Path) -> None:
    vectors, labels, held_out, truth = drawn
    expert = ShotExpert()
    assert expert.look(shot("close_up", 1)) == {}, "untrained, it says nothing"
    blurred = ["medium_shot" if label != "long_shot" else label for label in labels]  # coarse labels do not tell two kinds apart
    expert.train("shot_type", vectors, blurred, seed=0)
    coarse = accuracy(expert, held_out, truth)
    expert.train("shot_type", vectors, labels, seed=0, fine=True)
    fine = accuracy(expert, held_out, truth)
    assert fine >= 0.65, "90 shots, chance is 1/3"
    assert fine >= coarse + 0.2
    said = [expert.look(shot(kind, 1000 + number)) for kind in SIZES for number in range(5)]
    assert 3 <= sum(bool(entry) for entry in said) <= 15, "where it is not sure it says nothing"
    assert all(0.6 <= entry["shot_type"].confidence <= 1 for entry in said if entry)
    expert.save(tmp_path)
    again = ShotExpert.load(tmp_path)
    assert again.version == expert.version != ShotExpert().version
    np.testing.assert_array_equal(again.probabilities("shot_type", held_out), expert.probabilities("shot_type", held_out))


def test_a_label_that_the_schema_does_not_have_is_refused() -> None:
    expert = ShotExpert()
    with pytest.raises(ValueError, match="label 'wide'; allowed: long_shot"):
        expert.train("shot_type", np.zeros((1, 4)), ["wide"], seed=0)
    with pytest.raises(ValueError, match="no field 'mood'"):
        expert.train("mood", np.zeros((1, 4)), ["x"], seed=0)


def test_features_have_one_vector_per_frame_and_see_the_difference() -> None:
    frames = shot("close_up", 3)
    found = pixels(frames)
    assert found.shape == (4, 432)
    assert np.isfinite(found).all()
    assert np.abs(found - pixels(frames[:, ::-1])).max() > 0.1


class Sure:
    version = "sure-1"

    def look(self, frames: np.ndarray) -> dict[str, Said]:
        return {"shot_type": Said(value="close_up", confidence=0.9)}


def test_an_expert_replaces_its_fields_and_says_so() -> None:
    caption = StructuredCaption(shot_type="long_shot", shot_angle="eye_level")
    fields = {key: origin("mllm", "m-1") for key in ("shot_type", "shot_angle")}
    found, told = replace_fields(caption, fields, [Sure()], np.zeros((1, 8, 8, 3), np.uint8))
    assert (found.shot_type, found.shot_angle) == ("close_up", "eye_level")
    assert told["shot_type"] == {"source": "expert", "model": "sure", "version": "sure-1", "confidence": 0.9}
    assert told["shot_angle"]["source"] == "mllm"
    assert caption.shot_type == "long_shot"


def test_the_doubtful_of_every_class_are_picked() -> None:
    sure, doubt, coin = [0.9, 0.05, 0.05], [0.5, 0.4, 0.1], [0.45, 0.45, 0.1]
    probabilities = np.array([sure, doubt, coin, sure[::-1], [0.1, 0.3, 0.6], [0.05, 0.85, 0.1]])
    assert uncertainty(probabilities).round(2).tolist() == [0.15, 0.9, 1.0, 0.15, 0.7, 0.25]
    ids = list("abcdef")
    assert pick(ids, probabilities, 3) == ["c", "f", "e"], "one of each class, the most doubtful first"
    assert pick(ids, probabilities, 5) == ["c", "f", "e", "b", "d"]
    assert sorted(pick(ids, probabilities, 99)) == ids
    with pytest.raises(ValueError, match="5 ids for 6 predictions"):
        pick(ids[:5], probabilities, 1)


ANSWER = {
    "reasoning": "Brows rise, the mouth opens.", "emotion": "surprise", "intensity": "strong", "features": "raised brows, open mouth.",
    "change": "It gives way to a smile",
}  # fmt: skip


def test_an_expression_is_asked_for_with_reasons_first() -> None:
    woman = Subject(types=SubjectTypes(type="Human", sub_type="Woman"), appearance="Black hair.", is_main_subject=True)
    caption = StructuredCaption(subjects=(Subject(types=SubjectTypes(type="Plant")), woman))
    assert subject_of(caption) == 1
    request = expression_request("shot_1", [b"jpeg"], caption, model="m", seed=0)
    assert request is not None
    assert request.key == "shot_1/expression"
    video, text = request.body["messages"][0]["content"]
    assert video["type"] == "video_url"
    assert text["text"].endswith("Subject: Woman, Black hair.")
    schema = request.body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"])[:2] == ["reasoning", "emotion"]
    assert len(schema["properties"]["emotion"]["enum"]) == 7 + 1
    assert expression_request("shot_1", [b"jpeg"], StructuredCaption(), model="m", seed=0) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "strong surprise: raised brows, open mouth. It gives way to a smile."),
        ({"emotion": "neutral", "features": "", "change": ""}, "neutral."),
        ({"emotion": "not_visible"}, ""),
    ],
)
def test_an_expressions_sentence(change: dict[str, str], sentence: str) -> None:
    found = parse_expression(json.dumps({**ANSWER, **change}))
    assert isinstance(found, Expression)
    assert found.sentence == sentence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({**ANSWER, "emotion": "joy"}), "emotion is 'joy'; allowed: neutral, anger"),
        (json.dumps({"emotion": "anger"}), "an expression has the keys reasoning"),
        ("[1]", "an expression has the keys"),
        ("{", "not valid JSON"),
    ],
)
def test_an_answer_that_is_no_expression_is_refused(text: str, message: str) -> None:
    with pytest.raises(CaptionFieldError, match=message):
        parse_expression(text)
