import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from skyreels_platform.captioning.origin import origin
from skyreels_platform.captioning.schema import CaptionFieldError, concept_of, json_schema, parse
from skyreels_platform.errors import SkyreelsError

# The keys, their order and the option lists as published with the model.
PUBLISHED: dict[str, Any] = {
    "subjects": [
        {
            "TYPES": {"type": "Human", "sub_type": "Woman"}, "appearance": "Long black hair.", "action": "She turns her head.",
            "expression": "Calm.", "position": "Centered in the frame.", "is_main_subject": True,
        },
        {
            "TYPES": {"type": "Plant", "sub_type": "Tree"}, "appearance": "Tall.", "action": "", "expression": "",
            "position": "Behind her.", "is_main_subject": False,
        },
    ],
    "shot_type": "medium_shot", "shot_angle": "eye_level", "shot_position": "front_view", "camera_motion": "",
    "environment": "A park.", "lighting": "Soft daylight.",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(PUBLISHED))
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = copy
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


def test_a_published_caption_survives_both_ways() -> None:
    caption = parse(json.dumps(PUBLISHED), is_complete=True)
    assert caption.subjects[0].types.sub_type == "Woman"
    assert list(json.loads(caption.to_json()).items()) == list(PUBLISHED.items())
    assert parse(caption.to_json(), is_complete=True) == caption


def test_a_partial_caption_has_empty_fields() -> None:
    caption = parse({"subjects": [{"action": "runs"}], "lighting": " dim "}, is_complete=False)
    assert (caption.shot_type, caption.lighting, caption.subjects[0].action) == ("", "dim", "runs")
    assert parse(caption.to_json(), is_complete=False) == caption
    with pytest.raises(CaptionFieldError, match=r"shot_type is ''; allowed: long_shot"):
        parse({**PUBLISHED, "shot_type": ""}, is_complete=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (changed("shot_type", "wide"), r"shot_type is 'wide'; allowed: long_shot, full_shot, medium_shot"),
        (changed("shot_angle", 3), r"shot_angle is 3; allowed: eye_level"),
        (changed("shot_position", ["side_view"]), r"shot_position is \['side_view'\]; allowed: front_view"),
        (changed("lighting", None), r"the caption lacks the key 'lighting'"),
        (changed("subjects.1.action", None), r"subjects\[1\] lacks the key 'action'"),
        (changed("subjects.0.is_main_subject", "yes"), r"subjects\[0\]\.is_main_subject is 'yes'; allowed: true, false"),
        (changed("subjects.0.TYPES.type", 1), r"subjects\[0\]\.TYPES\.type is 1; give a text"),
        (changed("subjects", {"a": 1}), r"subjects is \{'a': 1\}; give a list"),
        (changed("subjects.0", "a dog"), r"subjects\[0\] is 'a dog'; give an object"),
        (changed("camera_moton", "x"), r"unknown key 'camera_moton'; did you mean 'camera_motion'"),
        (changed("environment", "a\nb"), r"environment is 'a\\nb'; only printable characters"),
        (changed("environment", "x" * 1201), r"environment has 1201 characters; at most 1200"),
        ([], r"the caption is \[\]; give an object"),
        ("{\"subjects\": [", r"not valid JSON"),
    ],
)
def test_says_which_field_is_wrong_and_what_is_allowed(value: Any, message: str) -> None:
    with pytest.raises(SkyreelsError, match=message):
        parse(value, is_complete=True)


def test_the_decoders_schema_asks_for_what_the_parser_accepts() -> None:
    """The schema is walked by hand: every key required, no other allowed, options equal, texts of safe characters."""
    schema = json_schema()
    assert list(schema["properties"]) == schema["required"] == list(PUBLISHED)
    subject = schema["properties"]["subjects"]["items"]
    assert list(subject["properties"]) == subject["required"] == list(PUBLISHED["subjects"][0])
    assert schema["additionalProperties"] is subject["additionalProperties"] is False
    for option in schema["properties"]["shot_position"]["enum"]:
        parse({**PUBLISHED, "shot_position": option}, is_complete=True)
    pattern = re.compile(schema["properties"]["environment"]["pattern"])
    safe = "".join(character for character in map(chr, range(256)) if pattern.fullmatch(character))
    assert safe == "".join(character for character in map(chr, range(32, 127)) if character not in '"\\')
    assert pattern.match("")


def test_concepts_follow_the_main_subject() -> None:
    assert concept_of(PUBLISHED) == "Human"
    swapped = changed("subjects.0.is_main_subject", False)
    swapped["subjects"][1]["is_main_subject"] = True
    assert concept_of(swapped) == "Plant"
    assert concept_of({**PUBLISHED, "subjects": []}) == concept_of({}) == "Unknown"
    assert concept_of(changed("subjects.0.TYPES.type", "")) == "Plant"


def test_a_fields_provenance_is_checked() -> None:
    assert origin("mllm", "SkyCaptioner-V1/1", model="Skywork/SkyCaptioner-V1") == {
        "source": "mllm", "model": "Skywork/SkyCaptioner-V1", "version": "SkyCaptioner-V1/1", "confidence": None,
    }  # fmt: skip
    assert origin("none", "camera-2", 0.0, "dark")["reason"] == "dark"
    assert origin("expert", "camera-2", 0.5)["model"] == "camera"
    with pytest.raises(ValidationError):
        origin("guess")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        origin("expert", "camera-2", 1.5)
