"""Expressions of people and animals, by a vision language model that reasons before it answers (paper 3.2: expression captioner).

The model first writes what it sees of the face, then one of seven emotions, its intensity, the features that show it and how it changes;
the schema keeps that order, since a decoder that may name the emotion first would reason towards it. The paper finds faces and classifies
them with networks of its own, whose weights are not published; here the one model does all of it. The wording is ours.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skyreels_platform.captioning.chat import ChatRequest
from skyreels_platform.captioning.prompt import TEMPERATURE, VIDEO_PART, film_of, response_format
from skyreels_platform.captioning.schema import CaptionFieldError, StructuredCaption, json_schema

VERSION = "expression-mllm-1"

EMOTIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")  # paper
INTENSITIES = ("slight", "moderate", "strong")  # our choice: the paper rates intensity and prints no scale
UNSEEN = "not_visible"
_EXPRESSIVE = ("human", "animal")
_MAX_TOKENS = 512

_TASK = (
    "Look at the face of the subject named below over the whole video. First write in `reasoning` what brows, eyes, cheeks and mouth do, "
    "early and late. Then name the emotion that these show most (`emotion`), how strong it is (`intensity`), the features that show it "
    "(`features`), and how the expression changes from beginning to end, an empty text if it does not (`change`). If the face cannot be "
    f"seen, the emotion is {UNSEEN}. Judge what is visible, not what the scene suggests. Answer with the JSON object only.\nSubject: "
)


@dataclass(frozen=True, kw_only=True)
class Expression:
    """What was seen of one face."""

    emotion: str
    """One of EMOTIONS, or not_visible."""
    intensity: str
    features: str
    change: str

    @property
    def sentence(self) -> str:
        """The caption's field `expression`; '' if the face cannot be seen."""
        if self.emotion == UNSEEN:
            return ""
        mood = "neutral" if self.emotion == "neutral" else f"{self.intensity} {self.emotion}"
        texts = (": ".join(filter(None, (mood, self.features.strip()))), self.change.strip())
        return " ".join(f"{text.rstrip('.')}." for text in texts if text)


def face_key(shot_id: str) -> str:
    """What an answer about a shot's face is about."""
    return f"{shot_id}/expression"


def subject_of(caption: StructuredCaption) -> int | None:
    """Place of the subject whose face is looked at: the main one that can have an expression."""
    places = [place for place, subject in enumerate(caption.subjects) if subject.types.type.lower() in _EXPRESSIVE]
    return min(places, key=lambda place: (not caption.subjects[place].is_main_subject, place), default=None)


def expression_request(shot_id: str, pictures: Sequence[bytes], caption: StructuredCaption, *, model: str, seed: int) -> ChatRequest | None:
    """The request about one shot's face; None if no subject has one."""
    place = subject_of(caption)
    if place is None:
        return None
    subject = caption.subjects[place]
    name = ", ".join(filter(None, (subject.types.sub_type or subject.types.type, subject.appearance[:200])))
    return ChatRequest(face_key(shot_id), {
        "model": model, "messages": [{"role": "user", "content": [VIDEO_PART, {"type": "text", "text": _TASK + name}]}],
        "temperature": TEMPERATURE, "max_tokens": _MAX_TOKENS, "seed": seed, "response_format": response_format("expression", _schema()),
    }, film_of(pictures))  # fmt: skip


def parse_expression(text: str) -> Expression:
    """Read an answer; CaptionFieldError names the field that is wrong."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise CaptionFieldError(f"not valid JSON: {error}") from error
    if not isinstance(values, dict) or set(values) != set(_schema()["required"]):
        raise CaptionFieldError(f"an expression has the keys {', '.join(_schema()['required'])}")
    for key, options in (("emotion", (*EMOTIONS, UNSEEN)), ("intensity", INTENSITIES)):
        if values[key] not in options:
            raise CaptionFieldError(f"{key} is {values[key]!r}; allowed: {', '.join(options)}")
    return Expression(**{key: str(values[key]) for key in ("emotion", "intensity", "features", "change")})


def _schema() -> dict[str, Any]:
    text = json_schema()["properties"]["environment"]  # printable characters only
    kinds = {"emotion": [*EMOTIONS, UNSEEN], "intensity": list(INTENSITIES)}
    properties = {
        key: {"type": "string", "enum": kinds[key]} if key in kinds else text
        for key in ("reasoning", "emotion", "intensity", "features", "change")
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
