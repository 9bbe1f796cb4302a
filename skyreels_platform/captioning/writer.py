"""A language model that makes texts of a structured caption's fields (paper 3.2: Qwen2.5-32B-Instruct), and richer prompts of short ones.

The rules for fields are those of the template: the same subjects, the same order, and the camera's sentence never goes through the
model but is appended to what it says. The wording of both tasks is ours. A request is a pure function of fields, task, seed and
version, and its answer is kept by the request's hash.
"""

import json
import re
from typing import Any

from skyreels_platform.captioning.chat import ChatRequest
from skyreels_platform.captioning.fusion import Task, camera_sentence, closed, name_of, spoken_of
from skyreels_platform.captioning.schema import CaptionFieldError, StructuredCaption

VERSION = "fusion-llm-1"
ENHANCER_VERSION = "enhancer-1"
"""Raise them when the same fields or prompt would be put in other words to the model."""

_TEMPERATURE, _MAX_TOKENS = 0.1, 512  # code
_ENHANCED_TOKENS = 512  # our choice; code 2048, and upstream warns that long prompts over-saturate
_LONGEST = 4000  # characters
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_COMMON = (
    "Call each subject by its name; where the action speaks of it by a pronoun, keep to one name for one subject. Leave out"
    " of an action whatever only describes the surroundings. Add nothing that the fields do not say, change no meaning, "
    "pass over empty fields. Answer with the text alone, in one paragraph."
)
_DENSE = (
    "Below are fields that describe a video. Write them as one flowing description, in this order: the kind of shot, its "
    "angle and position; what happens; then for each subject its action, its appearance, its expression and its position; "
    "then environment and lighting. "
    + _COMMON
)
_SPARSE = (
    "Below are the subjects of a video that starts from a given picture. Write one or two sentences that say what each "
    "subject does and how its expression changes, and nothing about how anything looks. "
    + _COMMON
)
_ENHANCE = (
    "You turn a short wish for a video into a full description of one shot. Begin with the kind of shot. Then say, in this "
    "order: the subject or subjects with what can be seen of them; what moves and how; where things are and what surrounds "
    "them; light and mood; how the camera moves. If the subject stands still, let the camera move. Keep everything that the"
    " wish names, contradict nothing, add no text or writing to the picture. At most 120 words, one paragraph, present "
    "tense, only the description.\n"
    "Example. Wish: a fox in snow. Description: A medium shot shows a red fox with a thick winter coat trotting through "
    "deep, untouched snow. Its paws throw up small clouds of powder and its ears turn towards a sound. Bare birches stand "
    "behind it, their trunks blurred by falling flakes. Low morning sun lends the snow a pale golden edge and long blue "
    "shadows. The camera follows the fox from the side at its own pace."
)


def fusion_request(caption: StructuredCaption, task: Task, *, key: str, model: str, seed: int) -> ChatRequest | None:
    """The request for the text of one task; None if no field but the camera's says anything."""
    subjects = [
        {"name": name_of(subject), **{field: getattr(subject, field) for field in _fields(task) if getattr(subject, field)}}
        for subject in spoken_of(caption, task)
    ]
    fields: dict[str, Any] = {"num_subjects": len(subjects), "subjects": subjects} if subjects else {}
    if task == "t2v":
        shot = {field: getattr(caption, field) for field in ("shot_type", "shot_angle", "shot_position", "environment", "lighting")}
        fields |= {field: text.replace("_", " ") if field.startswith("shot_") else text
                   for field, text in shot.items() if text not in ("", "other")}  # fmt: skip
    if not fields:
        return None
    told = f"{_DENSE if task == 't2v' else _SPARSE}\n\n{json.dumps(fields, ensure_ascii=False)}"
    return ChatRequest(key, {
        "model": model, "messages": [{"role": "system", "content": told}, {"role": "user", "content": "Write the description."}],
        "temperature": _TEMPERATURE, "max_tokens": _MAX_TOKENS, "seed": seed, "stop": ["\n\n"],
    })  # fmt: skip


def with_camera(text: str, caption: StructuredCaption) -> str:
    """The model's text with the camera's sentence after it."""
    return " ".join(filter(None, (closed(text), camera_sentence(caption.camera_motion))))


def enhance_request(prompt: str, *, model: str, seed: int) -> ChatRequest:
    """The request for a richer prompt. ValueError for an empty one."""
    if not prompt.strip():
        raise ValueError("an empty prompt cannot be enhanced; say what the film shows")
    messages = [{"role": "system", "content": _ENHANCE}, {"role": "user", "content": f"Wish: {prompt.strip()}\nDescription:"}]
    return ChatRequest("prompt", {
        "model": model, "messages": messages, "temperature": _TEMPERATURE, "max_tokens": _ENHANCED_TOKENS, "seed": seed,
    })  # fmt: skip


def check_text(text: str) -> None:
    """CaptionFieldError unless `text` is a plain text of a sane length."""
    if not text.strip():
        raise CaptionFieldError("the model said nothing")
    if text.lstrip().startswith(("{", "[", "```")):
        raise CaptionFieldError(f"the model answered with code instead of a text: {text[:60]!r}")
    if len(text) > _LONGEST:
        raise CaptionFieldError(f"the text has {len(text)} characters; at most {_LONGEST} are allowed")
    if _CONTROL.search(text):
        raise CaptionFieldError("the text has control characters")


def _fields(task: Task) -> tuple[str, ...]:
    return ("action", "appearance", "expression", "position") if task == "t2v" else ("action", "expression")
