"""SkyCaptioner-V1's structured caption as pydantic models: its exact keys and options, parsing, and a JSON schema.

Two readings of the same keys. A model's answer is `complete`: every key is there and every option is one of the published ones.
Rules and people know only some fields; for them the empty string (and a missing key) means "nobody said", which no model may say.

Texts hold printable characters only. Constrained decoders get a narrower pattern, ASCII without quote and backslash: without one
they may emit raw control characters, and some apply it between the quotes without JSON's escapes.
"""

import difflib
import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from skyreels_platform.errors import SourceError

ShotType = Literal["", "long_shot", "full_shot", "medium_shot", "close_up", "extreme_close_up", "other"]
ShotAngle = Literal["", "eye_level", "high_angle", "low_angle", "other"]
ShotPosition = Literal[
    "", "front_view", "back_view", "side_view", "over_the_shoulder", "overhead_view", "point_of_view", "aerial_view",
    "overlooking_view", "other",
]
SHOT_TYPES, SHOT_ANGLES, SHOT_POSITIONS = (get_args(options)[1:] for options in (ShotType, ShotAngle, ShotPosition))
OPTIONS = {"shot_type": SHOT_TYPES, "shot_angle": SHOT_ANGLES, "shot_position": SHOT_POSITIONS}
SHOT_FIELDS = ("shot_type", "shot_angle", "shot_position", "camera_motion", "environment", "lighting")
SUBJECT_TEXTS = ("appearance", "action", "expression", "position")
SUBJECT_FIELDS = ("TYPES", *SUBJECT_TEXTS, "is_main_subject")
UNKNOWN = "Unknown"

MAX_TEXT = 1200
"""Characters of one field; the longest published example has about 600."""
MAX_SUBJECTS = 12
_DECODER_PATTERN = r"^[ !#-\[\]-~]*$"

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_TEXT, pattern=r"^[^\x00-\x1f\x7f]*$")]


class CaptionFieldError(SourceError):
    """A field of a structured caption with a value that the schema does not allow."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class SubjectTypes(_Part):
    """What a subject is."""

    type: Text = ""
    """Broad kind, e.g. Human, Animal, Vehicles: what the concept balance counts."""
    sub_type: Text = ""
    """Narrow kind, e.g. Woman; also the subject's name in a fused caption."""


class Subject(_Part):
    """One subject of a shot. Texts are '' where nobody said anything."""

    types: SubjectTypes = Field(default=SubjectTypes(), validation_alias="TYPES", serialization_alias="TYPES")
    appearance: Text = ""
    action: Text = ""
    expression: Text = ""
    """Only of humans and animals."""
    position: Text = ""
    is_main_subject: bool = False


class StructuredCaption(_Part):
    """The structured caption of one shot."""

    subjects: Annotated[tuple[Subject, ...], Field(strict=False, max_length=MAX_SUBJECTS)] = ()  # JSON has lists only
    shot_type: ShotType = ""
    shot_angle: ShotAngle = ""
    shot_position: ShotPosition = ""
    camera_motion: Text = ""
    """Free text; '' is a static camera (or, in a caption of rules, an unknown one: the provenance tells)."""
    environment: Text = ""
    lighting: Text = ""

    def to_dict(self) -> dict[str, Any]:
        """The captioner's JSON object, keys in its order."""
        return self.model_dump(mode="json", by_alias=True)

    def to_json(self) -> str:
        """The same as text; equal captions give equal text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def parse(value: str | Mapping[str, Any], *, is_complete: bool) -> StructuredCaption:
    """Reads a structured caption from JSON text or an object; raises CaptionFieldError naming field, value and what is allowed.

    `is_complete`: a model's answer, in which no key may be missing and no option empty.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise CaptionFieldError(f"not valid JSON: {error}") from error
    try:
        caption = StructuredCaption.model_validate(value, by_name=False, by_alias=True)
    except ValidationError as error:
        raise CaptionFieldError(_explain(error.errors()[0])) from error
    if is_complete:
        _check_complete("the caption", caption)
        for index, subject in enumerate(caption.subjects):
            _check_complete(f"subjects[{index}]", subject)
            _check_complete(f"subjects[{index}].TYPES", subject.types)
        for key, options in OPTIONS.items():
            if not getattr(caption, key):
                raise CaptionFieldError(f"{key} is ''; allowed: {', '.join(options)}")
    return caption


@cache
def json_schema() -> dict[str, Any]:
    """JSON schema of a complete answer, for constrained decoding: no references, every key required, texts of safe characters.

    One object for all callers (pydantic takes 10 ms to make it): do not change it.
    """
    schema = StructuredCaption.model_json_schema(by_alias=True)
    return _for_decoder(schema, schema["$defs"])


def concept_of(structured: Mapping[str, Any]) -> str:
    """What the concept balance counts a shot as: the main subject's TYPES.type, `Unknown` without one (paper 3.1, figure 5).

    `structured` is the JSON object of a caption; its first subject with a type stands in for a missing main one.
    """
    subjects = sorted(structured.get("subjects", []), key=lambda subject: not subject.get("is_main_subject"))
    return next((subject["TYPES"]["type"] for subject in subjects if subject.get("TYPES", {}).get("type")), UNKNOWN)


def _for_decoder(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        part = definitions[part["$ref"].rpartition("/")[2]]
    if "properties" in part:
        properties = {key: _for_decoder(value, definitions) for key, value in part["properties"].items()}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    if part.get("type") == "array":
        return {"type": "array", "maxItems": part["maxItems"], "items": _for_decoder(part["items"], definitions)}
    if "enum" in part:
        return {"type": "string", "enum": [option for option in part["enum"] if option]}
    return {"type": "string", "pattern": _DECODER_PATTERN} if part.get("type") == "string" else {"type": part["type"]}


def _check_complete(place: str, part: _Part) -> None:
    for name, field in type(part).model_fields.items():
        if name not in part.model_fields_set:
            raise CaptionFieldError(f"{place} lacks the key {field.serialization_alias or name!r}; needed: {', '.join(_keys(type(part)))}")


def _keys(part: type[BaseModel]) -> list[str]:
    return [field.serialization_alias or name for name, field in part.model_fields.items()]


def _explain(issue: Any) -> str:
    """One sentence for one pydantic error: place, value, what is allowed."""
    location, kind, value = issue["loc"], issue["type"], issue["input"]
    if kind == "extra_forbidden":
        known = _keys(_part_at(location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"{_place(location[:-1])} has the unknown key {location[-1]!r}; {remedy}"
    place = _place(location)
    if kind == "string_too_long":
        return f"{place} has {len(value)} characters; at most {MAX_TEXT} are allowed"
    if kind == "too_long":
        return f"{place} has {len(value)} entries; at most {MAX_SUBJECTS} are allowed"
    if kind == "literal_error":
        return f"{place} is {_shown(value)}; allowed: {', '.join(OPTIONS[location[-1]])}"
    remedies = {
        "string_type": "give a text", "string_pattern_mismatch": "only printable characters are allowed",
        "bool_type": "allowed: true, false", "tuple_type": "give a list of objects",
    }  # fmt: skip
    return f"{place} is {_shown(value)}; {remedies.get(kind) or 'give an object with the keys ' + ', '.join(_keys(_part_at(location)))}"


def _part_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    if "TYPES" in location:
        return SubjectTypes
    return Subject if location else StructuredCaption


def _place(location: tuple[int | str, ...]) -> str:
    """`("subjects", 0, "action")` -> `subjects[0].action`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".") or "the caption"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
