"""From a structured caption to the two training texts, by template: dense for T2V, sparse for I2V (paper 3.2, order of the code).

A pure function of fields; `thinned` leaves fields out as a function of seed and shot id. The same caption always gives the same text.
Upstream's field dropout is unseeded and also meets captions that are only shown; here it makes training texts and nothing else.
"""

import hashlib
import re
from typing import Literal

from skyreels_platform.captioning.schema import StructuredCaption, Subject

VERSION = "fusion-template-2"

Task = Literal["t2v", "i2v"]

_EXPRESSIVE = ("human", "animal")  # code: only these have an expression
_ACCESSORY = ("human", "accessory")  # code: what somebody wears is no subject of its own
_STARTS_A_SENTENCE = re.compile(r"(the|a|an|he|she|it|they|his|her|its|their|this|that|there)\b", re.IGNORECASE)
_PRONOUNS = ("they", "he", "she", "it")


def fuse(caption: StructuredCaption, task: Task) -> str:
    """The text; '' when no field says anything. I2V has actions, expressions and the camera: the first picture shows the rest."""
    sentences = []
    if task == "t2v":
        sentences.append(_shot_sentence(caption))
    for subject in spoken_of(caption, task):
        if task == "t2v":
            sentences += [_action_sentence(subject), _news(subject.appearance, name_of(subject)), subject.expression, subject.position]
        else:
            sentences += [_action_sentence(subject), subject.expression]
    if task == "t2v":
        sentences += [caption.environment, caption.lighting]
    return " ".join(filter(None, (*map(closed, sentences), camera_sentence(caption.camera_motion))))


def thinned(caption: StructuredCaption, *, seed: int, shot_id: str, field_dropout: float) -> StructuredCaption:
    """The caption with a share of appearance and position (per subject) and lighting left out (code), for training texts.

    field_dropout: 0..1. Each field's draw is a hash of (seed, shot_id, field).
    """
    if not 0 <= field_dropout <= 1:
        raise ValueError(f"field_dropout is {field_dropout}; give a share between 0 and 1")

    def kept(field: str, text: str) -> str:
        return "" if _draw(seed, shot_id, field) < field_dropout else text

    subjects = tuple(
        subject.model_copy(update={key: kept(f"subjects[{index}].{key}", getattr(subject, key)) for key in ("appearance", "position")})
        for index, subject in enumerate(caption.subjects)
    )
    return caption.model_copy(update={"subjects": subjects, "lighting": kept("lighting", caption.lighting)})


def spoken_of(caption: StructuredCaption, task: Task) -> list[Subject]:
    """The subjects that a text of this task speaks of, the main one first, expressions of the expressive alone (code)."""
    found = []
    for subject in sorted(caption.subjects, key=lambda subject: not subject.is_main_subject):
        kind = subject.types.type.lower()
        if (kind, subject.types.sub_type.lower()) == _ACCESSORY:
            continue
        if kind not in _EXPRESSIVE:
            subject = subject.model_copy(update={"expression": ""})
        if task == "t2v" or subject.action or subject.expression:
            found.append(subject)
    return found


def camera_sentence(camera_motion: str) -> str:
    """`the camera pans left` -> `The camera pans left.`; '' for a static camera."""
    text = closed(camera_motion)
    return text[:1].upper() + text[1:]


def _draw(seed: int, shot_id: str, field: str) -> float:
    """A number in [0, 1) that depends on its arguments only."""
    digest = hashlib.sha256(f"{seed}/{shot_id}/{field}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _shot_sentence(caption: StructuredCaption) -> str:
    """`medium shot, eye level, side view`; what is `other` or unknown says nothing."""
    values = (caption.shot_type, caption.shot_angle, caption.shot_position)
    return ", ".join(value.replace("_", " ") for value in values if value not in ("", "other"))


def name_of(subject: Subject) -> str:
    return (subject.types.sub_type or subject.types.type).strip()


def _action_sentence(subject: Subject) -> str:
    """`a red circle moves right`. An action that is a sentence of its own stays one, its pronoun replaced by the name."""
    name, action = name_of(subject), subject.action.strip()
    if not action:
        return f"{_article(name)} {name}" if name else ""
    if not _STARTS_A_SENTENCE.match(action):
        return f"{_article(name)} {name} {action}" if name else action
    first, _, rest = action.partition(" ")
    if name and first.lower() in _PRONOUNS and rest:
        return f"the {name} {rest}"
    return action


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


def _news(text: str, name: str) -> str:
    """The text, unless the name says it all: `red` adds nothing to `red circle`."""
    return "" if set(_words(text)) <= set(_words(name)) else text


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def closed(text: str) -> str:
    """The text as a closed sentence; '' stays ''."""
    text = " ".join(text.split()).rstrip(" ,;:")
    return text if not text or text[-1] in ".!?" else text + "."
