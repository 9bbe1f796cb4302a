import pytest

from skyreels_platform.captioning.fusion import Task, fuse, thinned
from skyreels_platform.captioning.schema import StructuredCaption, Subject, SubjectTypes

CIRCLE = Subject(
    types=SubjectTypes(type="Circle", sub_type="red circle"), appearance="red", action="moves right", is_main_subject=True
)
WOMAN = Subject(
    types=SubjectTypes(type="Human", sub_type="Woman"), appearance="Long black hair", action="She turns her head.",
    expression="Calm, then smiling.", position="Centered in the frame", is_main_subject=True,
)
SHIP = Subject(
    types=SubjectTypes(type="Vehicles", sub_type="Ship"), appearance="White hull.", expression="happy", position="On the horizon."
)
SCENE = StructuredCaption(
    subjects=(SHIP, WOMAN), shot_type="medium_shot", shot_angle="eye_level", shot_position="other",
    camera_motion="the camera pans left", environment="A beach", lighting="Soft light",
)


def text(caption: StructuredCaption, task: Task, *, seed: int = 0, shot_id: str = "shot_1", field_dropout: float = 0.0) -> str:
    return fuse(thinned(caption, seed=seed, shot_id=shot_id, field_dropout=field_dropout), task)


def test_the_rendered_world_speaks_in_short_sentences() -> None:
    caption = StructuredCaption(subjects=(CIRCLE,), camera_motion="the camera pans left")
    assert text(caption, "t2v") == text(caption, "i2v") == "a red circle moves right. The camera pans left."
    assert text(caption.model_copy(update={"camera_motion": ""}), "t2v") == "a red circle moves right."


def test_dense_text_follows_the_order_of_the_code() -> None:
    assert text(SCENE, "t2v") == (
        "medium shot, eye level. the Woman turns her head. Long black hair. Calm, then smiling. Centered in the frame. "
        "a Ship. White hull. On the horizon. A beach. Soft light. The camera pans left."
    )


def test_sparse_text_has_actions_expressions_and_the_camera_only() -> None:
    assert text(SCENE, "i2v") == "the Woman turns her head. Calm, then smiling. The camera pans left."


def test_nothing_is_said_about_nothing() -> None:
    assert text(StructuredCaption(), "t2v") == text(StructuredCaption(), "i2v") == ""
    assert text(StructuredCaption(camera_motion="the camera zooms in"), "i2v") == "The camera zooms in."
    assert text(StructuredCaption(subjects=(Subject(),), environment="  "), "t2v") == ""


@pytest.mark.parametrize(("name", "sentence"), [("orange circle", "an orange circle rests."), ("ship", "a ship rests.")])
def test_articles(name: str, sentence: str) -> None:
    subject = Subject(types=SubjectTypes(sub_type=name), action="rests")
    assert text(StructuredCaption(subjects=(subject,)), "t2v") == sentence


def test_dropout_is_a_function_of_seed_and_shot_and_field() -> None:
    ids = [f"shot_{number}" for number in range(2000)]
    texts = [text(SCENE, "t2v", shot_id=shot_id, field_dropout=0.1) for shot_id in ids]
    assert texts == [text(SCENE, "t2v", shot_id=shot_id, field_dropout=0.1) for shot_id in ids]
    assert texts != [text(SCENE, "t2v", shot_id=shot_id, field_dropout=0.1, seed=1) for shot_id in ids]
    droppable = ("Long black hair.", "Centered in the frame.", "White hull.", "On the horizon.", "Soft light.")
    for sentence in droppable:
        assert sum(sentence not in text for text in texts) / len(texts) == pytest.approx(0.1, abs=0.025)
    both = sum("Long black hair." not in text and "Soft light." not in text for text in texts)
    assert both / len(texts) == pytest.approx(0.01, abs=0.01)  # fields fall independently
    assert all("turns her head." in text and "A beach." in text and "The camera" in text for text in texts)


def test_full_dropout_leaves_the_rest() -> None:
    assert text(SCENE, "t2v", field_dropout=1.0) == (
        "medium shot, eye level. the Woman turns her head. Calm, then smiling. a Ship. A beach. The camera pans left."
    )
    with pytest.raises(ValueError, match=r"field_dropout is 1\.5"):
        text(SCENE, "t2v", field_dropout=1.5)


def test_accessories_are_no_subjects_and_only_the_expressive_have_expressions() -> None:
    hat = Subject(types=SubjectTypes(type="Human", sub_type="Accessory"), appearance="A hat.")
    assert text(StructuredCaption(subjects=(hat, WOMAN)), "t2v") == text(StructuredCaption(subjects=(WOMAN,)), "t2v")
    assert "happy" not in text(SCENE, "t2v") + text(SCENE, "i2v")


def test_nothing_is_left_out_without_dropout() -> None:
    assert thinned(SCENE, seed=0, shot_id="shot_1", field_dropout=0.0) == SCENE
