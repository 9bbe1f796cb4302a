"""One shot's caption: structured fields from the recipe's captioner, a person's fields over them, fused texts, and a status."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyreels_platform.captioning import fusion, rules, vllm_client
from skyreels_platform.captioning.origin import Provenance, origin
from skyreels_platform.captioning.schema import SHOT_FIELDS, SUBJECT_FIELDS, CaptionFieldError, StructuredCaption
from skyreels_platform.captioning.vllm_client import VllmCaptioner
from skyreels_platform.recipe import CaptionSettings


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A row of the table `captions`, less its ids."""

    structured: str
    """JSON object, SkyCaptioner's schema."""
    field_provenance: str
    """JSON object: field path -> FieldProvenance (captioning.origin)."""
    t2v: str
    """Dense text; a person's free caption verbatim, if there is one."""
    i2v: str
    """Sparse text: actions, expressions, camera."""
    status: str
    """ok | empty (nothing to say about this shot) | truncated | invalid | error."""
    reason: str
    """Why it is not ok, or a remark; '' otherwise."""
    captioner: str
    """Who made the structured fields, with version."""


def caption_shot(
    frames: np.ndarray, *, shot_id: str, duration_s: float, seed: int, human: Mapping[str, Any], settings: CaptionSettings
) -> Caption:
    """Caption one shot.

    frames: (F, H, W, 3) uint8 RGB spread evenly over the shot's `duration_s` seconds; 0 seconds is a still picture. Captioners
    disagree on how many they want: rules track the camera better at 8 frames per second or more, the model takes `num_frames`.
    human: a sidecar's fields (see rules.apply_human). A bad one makes the status `invalid` and leaves the other fields alone.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; give uint8 (F, H, W, 3) with at least one frame")
    structured, fields, status, reason, captioner = _structure(frames, shot_id, duration_s, seed, settings)
    try:
        structured, fields, remark = rules.apply_human(structured, fields, human)
    except CaptionFieldError as error:
        status, remark = "invalid", f"sidecar: {error}"
    t2v, i2v = (
        fusion.fuse(structured, task, seed=seed, shot_id=shot_id, field_dropout=settings.field_dropout) for task in ("t2v", "i2v")
    )
    t2v = rules.human_text(human) or t2v
    if status == "ok" and not t2v:
        status, remark = "empty", "; ".join(filter(None, ("no field says anything about this shot", remark)))
    return Caption(
        structured=structured.to_json(), field_provenance=json.dumps(fields, sort_keys=True), t2v=t2v, i2v=i2v, status=status,
        reason="; ".join(filter(None, (reason, remark))), captioner=captioner,
    )


def _structure(
    frames: np.ndarray, shot_id: str, duration_s: float, seed: int, settings: CaptionSettings
) -> tuple[StructuredCaption, Provenance, str, str, str]:
    """(caption, provenance, status, reason, captioner) of the recipe's backend."""
    if settings.backend == "rules":
        chosen, fps = (frames, len(frames) / duration_s) if duration_s > 0 else (frames[:1], 1.0)
        return *rules.caption_by_rules(chosen, fps), "ok", "", rules.VERSION
    client = VllmCaptioner(base_url=settings.base_url, model=settings.model, num_frames=settings.num_frames)
    answer = client.caption(shot_id, frames, seed)
    version = f"{vllm_client.VERSION} {settings.model}"
    caption = answer.caption or StructuredCaption()
    source = "mllm" if answer.caption else "none"
    paths = ["subjects", *SHOT_FIELDS]
    paths += [f"subjects[{index}].{field}" for index in range(len(caption.subjects)) for field in SUBJECT_FIELDS]
    # The model gives no confidence; 0 would read as "wrong".
    fields: Provenance = {path: origin(source, version, model=settings.model) for path in paths}
    return caption, fields, answer.status, answer.reason, version
