"""SkyCaptioner-V1's structured caption: its exact keys and options, as frozen values, with parsing and a JSON schema.

Two readings of the same keys. A model's answer is `complete`: every key is there and every option is one of the published ones.
Rules and people know only some fields; for them the empty string (and a missing key) means "nobody said", which no model may say.

Texts hold printable characters only. Constrained decoders get a narrower pattern, ASCII without quote and backslash: without one
they may emit raw control characters, and some apply it between the quotes without JSON's escapes.
"""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skyreels_platform.errors import SourceError

SHOT_TYPES = ("long_shot", "full_shot", "medium_shot", "close_up", "extreme_close_up", "other")
SHOT_ANGLES = ("eye_level", "high_angle", "low_angle", "other")
SHOT_POSITIONS = (
    "front_view", "back_view", "side_view", "over_the_shoulder", "overhead_view", "point_of_view", "aerial_view",
    "overlooking_view", "other",
)
OPTIONS = {"shot_type": SHOT_TYPES, "shot_angle": SHOT_ANGLES, "shot_position": SHOT_POSITIONS}
SHOT_FIELDS = ("shot_type", "shot_angle", "shot_position", "camera_motion", "environment", "lighting")
SUBJECT_TEXTS = ("appearance", "action", "expression", "position")
UNKNOWN = "Unknown"

_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")
_DECODER_PATTERN = r"^[ !#-\[\]-~]*$"
_MAX_TEXT = 1200       # characters; the longest published example has about 600
_MAX_SUBJECTS = 12


class CaptionFieldError(SourceError):
    """A field of a structured caption with a value that the schema does not allow."""


@dataclass(frozen=True, kw_only=True)
class SubjectTypes:
    """What a subject is."""

    type: str = ""
    """Broad kind, e.g. Human, Animal, Vehicles: what the concept balance counts."""
    sub_type: str = ""
    """Narrow kind, e.g. Woman; also the subject's name in a fused caption."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One subject of a shot. Texts are '' where nobody said anything."""

    types: SubjectTypes = SubjectTypes()
    """JSON key `TYPES`."""
    appearance: str = ""
    action: str = ""
    expression: str = ""
    """Only of humans and animals."""
    position: str = ""
    is_main_subject: bool = False


@dataclass(frozen=True, kw_only=True)
class StructuredCaption:
    """The structured caption of one shot."""

    subjects: tuple[Subject, ...] = ()
    shot_type: str = ""
    """One of SHOT_TYPES or ''."""
    shot_angle: str = ""
    """One of SHOT_ANGLES or ''."""
    shot_position: str = ""
    """One of SHOT_POSITIONS or ''."""
    camera_motion: str = ""
    """Free text; '' is a static camera (or, in a caption of rules, an unknown one: the provenance tells)."""
    environment: str = ""
    lighting: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The captioner's JSON object, keys in its order."""
        subjects = [
            {
                "TYPES": {"type": subject.types.type, "sub_type": subject.types.sub_type},
                **{key: getattr(subject, key) for key in SUBJECT_TEXTS},
                "is_main_subject": subject.is_main_subject,
            }
            for subject in self.subjects
        ]
        return {"subjects": subjects, **{key: getattr(self, key) for key in SHOT_FIELDS}}

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
    known = ("subjects", *SHOT_FIELDS)
    item = _object("the caption", value, known, known if is_complete else ())
    subjects = item.get("subjects", [])
    if not isinstance(subjects, list):
        raise CaptionFieldError(f"subjects is {_shown(subjects)}; give a list of objects")
    if len(subjects) > _MAX_SUBJECTS:
        raise CaptionFieldError(f"subjects has {len(subjects)} entries; at most {_MAX_SUBJECTS} are allowed")
    texts = {
        key: _option(key, item[key], is_complete) if key in OPTIONS else _text(key, item[key])
        for key in SHOT_FIELDS
        if key in item
    }
    return StructuredCaption(
        subjects=tuple(_subject(f"subjects[{index}]", subject, is_complete) for index, subject in enumerate(subjects)), **texts
    )


def json_schema() -> dict[str, Any]:
    """JSON schema of a complete answer, for constrained decoding."""
    text = {"type": "string", "pattern": _DECODER_PATTERN}
    subject = {
        "TYPES": _schema_object({"type": text, "sub_type": text}),
        **dict.fromkeys(SUBJECT_TEXTS, text),
        "is_main_subject": {"type": "boolean"},
    }
    shot = {key: {"type": "string", "enum": list(OPTIONS[key])} if key in OPTIONS else text for key in SHOT_FIELDS}
    return _schema_object({"subjects": {"type": "array", "maxItems": _MAX_SUBJECTS, "items": _schema_object(subject)}, **shot})


def concept_of(structured: Mapping[str, Any]) -> str:
    """What the concept balance counts a shot as: the main subject's TYPES.type, `Unknown` without one (paper 3.1, figure 5).

    `structured` is the JSON object of a caption; its first subject with a type stands in for a missing main one.
    """
    subjects = sorted(structured.get("subjects", []), key=lambda subject: not subject.get("is_main_subject"))
    return next((subject["TYPES"]["type"] for subject in subjects if subject.get("TYPES", {}).get("type")), UNKNOWN)


def _schema_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _subject(place: str, value: Any, is_complete: bool) -> Subject:
    known = ("TYPES", *SUBJECT_TEXTS, "is_main_subject")
    item = _object(place, value, known, known if is_complete else ())
    is_main = item.get("is_main_subject", False)
    if not isinstance(is_main, bool):
        raise CaptionFieldError(f"{place}.is_main_subject is {_shown(is_main)}; allowed: true, false")
    names = ("type", "sub_type")
    types = _object(f"{place}.TYPES", item.get("TYPES", {}), names, names if is_complete else ())
    return Subject(
        types=SubjectTypes(**{key: _text(f"{place}.TYPES.{key}", text) for key, text in types.items()}),
        is_main_subject=is_main,
        **{key: _text(f"{place}.{key}", item[key]) for key in SUBJECT_TEXTS if key in item},
    )


def _object(place: str, value: Any, known: tuple[str, ...], required: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CaptionFieldError(f"{place} is {_shown(value)}; give an object with the keys {', '.join(known)}")
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise CaptionFieldError(f"{place} has the unknown key {key!r}; {remedy}")
    missing = [key for key in required if key not in value]
    if missing:
        raise CaptionFieldError(f"{place} lacks the key {missing[0]!r}; needed: {', '.join(required)}")
    return value


def _option(place: str, value: Any, is_complete: bool) -> str:
    allowed = OPTIONS[place] if is_complete else ("", *OPTIONS[place])
    if value not in allowed:
        raise CaptionFieldError(f"{place} is {_shown(value)}; allowed: {', '.join(OPTIONS[place])}")
    return value


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise CaptionFieldError(f"{place} is {_shown(value)}; give a text")
    if len(value) > _MAX_TEXT:
        raise CaptionFieldError(f"{place} has {len(value)} characters; at most {_MAX_TEXT} are allowed")
    if not _PRINTABLE.fullmatch(value):
        raise CaptionFieldError(f"{place} is {_shown(value)}; only printable characters are allowed")
    return value.strip()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
