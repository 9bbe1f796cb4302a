"""From a structured caption to the two training texts, by template: dense for T2V, sparse for I2V (paper 3.2, order of the code).

A pure function of fields, seed and shot id: the same caption always gives the same text. Upstream lets a 32B model do this, with
an unseeded field dropout and '-' where it failed; here an empty caption is an empty text. Like upstream, the camera's sentence
never goes through the template: it is appended after the text.
"""

import hashlib
import re
from typing import Literal

from skyreels_platform.captioning.schema import StructuredCaption, Subject

VERSION = "fusion-template-1"

_EXPRESSIVE = ("human", "animal")  # code: only these have an expression
_STARTS_A_SENTENCE = re.compile(r"(the|a|an|he|she|it|they|his|her|its|their|this|that|there)\b", re.IGNORECASE)
_PRONOUNS = ("they", "he", "she", "it")


def fuse(caption: StructuredCaption, task: Literal["t2v", "i2v"], *, seed: int, shot_id: str, field_dropout: float) -> str:
    """The training text; '' when no field says anything.

    `field_dropout` (0..1) is the share of appearance and position (per subject) and lighting fields that T2V leaves out, drawn by
    hashing (seed, shot_id, field). I2V never has these fields: the first picture shows them.
    """
    if not 0 <= field_dropout <= 1:
        raise ValueError(f"field_dropout is {field_dropout}; give a share between 0 and 1")

    def kept(field: str, text: str) -> str:
        return "" if _draw(seed, shot_id, field) < field_dropout else text

    order = sorted(enumerate(caption.subjects), key=lambda item: not item[1].is_main_subject)
    sentences = []
    if task == "t2v":
        sentences.append(_shot_sentence(caption))
        for index, subject in order:
            appearance = kept(f"subjects[{index}].appearance", subject.appearance)
            position = kept(f"subjects[{index}].position", subject.position)
            sentences += [_action_sentence(subject), _news(appearance, _name(subject)), _expression(subject), position]
        sentences += [caption.environment, kept("lighting", caption.lighting)]
    else:
        for _, subject in order:
            if subject.action or _expression(subject):
                sentences += [_action_sentence(subject), _expression(subject)]
    return " ".join(filter(None, (*map(_closed, sentences), camera_sentence(caption.camera_motion))))


def camera_sentence(camera_motion: str) -> str:
    """`the camera pans left` -> `The camera pans left.`; '' for a static camera."""
    text = _closed(camera_motion)
    return text[:1].upper() + text[1:]


def _draw(seed: int, shot_id: str, field: str) -> float:
    """A number in [0, 1) that depends on its arguments only."""
    digest = hashlib.sha256(f"{seed}/{shot_id}/{field}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _shot_sentence(caption: StructuredCaption) -> str:
    """`medium shot, eye level, side view`; what is `other` or unknown says nothing."""
    values = (caption.shot_type, caption.shot_angle, caption.shot_position)
    return ", ".join(value.replace("_", " ") for value in values if value not in ("", "other"))


def _name(subject: Subject) -> str:
    return (subject.types.sub_type or subject.types.type).strip()


def _action_sentence(subject: Subject) -> str:
    """`a red circle moves right`. An action that is a sentence of its own stays one, its pronoun replaced by the name."""
    name, action = _name(subject), subject.action.strip()
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


def _expression(subject: Subject) -> str:
    return subject.expression if subject.types.type.lower() in _EXPRESSIVE else ""


def _news(text: str, name: str) -> str:
    """The text, unless the name says it all: `red` adds nothing to `red circle`."""
    return "" if set(_words(text)) <= set(_words(name)) else text


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def _closed(text: str) -> str:
    """The text as a closed sentence; '' stays ''."""
    text = " ".join(text.split()).rstrip(" ,;:")
    return text if not text or text[-1] in ".!?" else text + "."
