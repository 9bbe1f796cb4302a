"""What the captioner is asked about one shot: pictures spread over all of it, the task, and the schema that the answer must follow.

The pictures are the ones that the decode kept, JPEGs of at most 256 px on the short side, as they are: nothing is decoded, squashed or
scaled here. Upstream squashes frames to 360 x 420, which turns circles into ellipses, and its 16 frames leave out the last 6 % of a
shot. They go as one video of JPEGs (a `video/jpeg` data URL, which vLLM reads as a video of 2 fps, as upstream declares it). The wording of
the task is ours.
"""

import binascii
from collections.abc import Sequence
from typing import Any

from skyreels_platform.captioning.chat import FILM, ChatRequest
from skyreels_platform.captioning.schema import OPTIONS, json_schema

PROMPT_VERSION = "skycaptioner-prompt-2"
"""Raise it when the same shot would be asked about otherwise."""

TEMPERATURE, MAX_TOKENS = 0.05, 2048  # code

INSTRUCTION = (
    "Describe this video as one JSON object.\n"
    "subjects: a list with one object per subject. TYPES: type (broad kind, such as Human, Animal, Vehicles, Plant, Scenery, "
    "Architecture, Sport, Food) and sub_type (narrow kind, such as Woman). appearance: what it looks like. action: what it does "
    "over the whole video; only for the main subject. expression: facial expression over time; only for humans and animals. "
    "position: where it is in the picture. is_main_subject: true or false.\n"
    + "".join(f"{key}: one of {', '.join(values)}.\n" for key, values in OPTIONS.items())
    + "camera_motion: how the camera moves, an empty text if it does not.\n"
    "environment: where it takes place. lighting: the light and its mood.\n"
    "Use an empty text for what cannot be seen. Answer with the JSON object only."
)


def caption_request(shot_id: str, pictures: Sequence[bytes], *, model: str, seed: int, max_tokens: int = MAX_TOKENS) -> ChatRequest:
    """The request for one shot's structured caption. `pictures`: JPEGs in order of time, at least one."""
    return ChatRequest(shot_id, {
        "model": model,
        "messages": [{"role": "user", "content": [VIDEO_PART, {"type": "text", "text": INSTRUCTION}]}],
        "temperature": TEMPERATURE, "max_tokens": max_tokens, "seed": seed, "response_format": response_format("caption", json_schema()),
    }, film_of(pictures))  # fmt: skip


VIDEO_PART = {"type": "video_url", "video_url": {"url": FILM}}
"""The request's film as a part of a chat message."""


def film_of(pictures: Sequence[bytes]) -> bytes:
    """JPEGs as the data URL of a video."""
    if not pictures:
        raise ValueError("no pictures; a shot without any is not asked about")
    return b"data:video/jpeg;base64," + b",".join(binascii.b2a_base64(picture, newline=False) for picture in pictures)


def response_format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """What makes the decoder follow a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def spread(times_s: Sequence[float], duration_s: float, number: int) -> list[int]:
    """Which of the pictures at `times_s` (ascending, from the shot's start) to show: up to `number`, uniform over the whole shot.

    The first and the last picture are always among them; nearer ones stand in for moments that no picture was kept of.
    """
    if len(times_s) <= number:
        return list(range(len(times_s)))
    end_s = max(duration_s, times_s[-1])
    wanted = [end_s * index / max(1, number - 1) for index in range(number)]
    return sorted({min(range(len(times_s)), key=lambda place: abs(times_s[place] - moment)) for moment in wanted})
