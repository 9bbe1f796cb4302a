"""One shot's caption: structured fields from the recipe's captioner, a person's fields over them, fused texts, and a status."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyreels_platform.captioning import fusion, rules
from skyreels_platform.captioning.answers import Answer
from skyreels_platform.captioning.camera import CameraExpert
from skyreels_platform.captioning.experts import Said, replace_fields
from skyreels_platform.captioning.experts.expression import UNSEEN, parse_expression, subject_of
from skyreels_platform.captioning.experts.expression import VERSION as EXPRESSION_VERSION
from skyreels_platform.captioning.origin import Provenance, origin
from skyreels_platform.captioning.prompt import PROMPT_VERSION
from skyreels_platform.captioning.schema import SHOT_FIELDS, SUBJECT_FIELDS, CaptionFieldError, StructuredCaption, parse
from skyreels_platform.recipe import TRAINED, CaptionSettings


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
    t2v_train: str
    """The dense text with a share of fields left out, for data sets; a person's free caption verbatim."""
    status: str
    """ok | empty (nothing to say about this shot) | invalid (a sidecar) | truncated | repeated | refused | error (the captioner)."""
    reason: str
    """Why it is not ok, or a remark; '' otherwise."""
    captioner: str
    """Who made the structured fields, with version."""


def caption_shot(
    frames: np.ndarray, *, shot_id: str, duration_s: float, seed: int, human: Mapping[str, Any], settings: CaptionSettings,
    answer: Answer | None = None, expression: Answer | None = None,
) -> Caption:  # fmt: skip
    """Caption one shot.

    frames: (F, H, W, 3) uint8 RGB spread evenly over the shot's `duration_s` seconds; 0 seconds is a still picture.
    human: a sidecar's fields (see rules.apply_human). A bad one makes the status `invalid` and leaves the other fields alone.
    answer: a captioner's; it goes before what rules find. None is an error of the shot for the backend `vllm`.
    expression: what was said about the face, if it was asked about.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; give uint8 (F, H, W, 3) with at least one frame")
    if settings.backend == "rules" and answer is None:
        chosen, fps = (frames, len(frames) / duration_s) if duration_s > 0 else (frames[:1], 1.0)
        structured, fields = rules.caption_by_rules(chosen, fps)
        status, reason, captioner = "ok", "", rules.VERSION
    else:
        structured, fields, status, reason, captioner = _answered(answer, shot_id, answer.model if answer else settings.captioner.model)
    if status == "ok":
        structured, fields = _with_experts(structured, fields, frames, duration_s, settings, expression)
    try:
        structured, fields, remark = rules.apply_human(structured, fields, human)
    except CaptionFieldError as error:
        status, remark = "invalid", f"sidecar: {error}"
    thin = fusion.thinned(structured, seed=seed, shot_id=shot_id, field_dropout=settings.field_dropout)
    words = rules.human_text(human)
    t2v = words or fusion.fuse(structured, "t2v")
    if status == "ok" and not t2v:
        status, remark = "empty", "; ".join(filter(None, ("no field says anything about this shot", remark)))
    return Caption(
        structured=structured.to_json(), field_provenance=json.dumps(fields, sort_keys=True), t2v=t2v, i2v=fusion.fuse(structured, "i2v"),
        t2v_train=words or fusion.fuse(thin, "t2v"), status=status, reason="; ".join(filter(None, (reason, remark))), captioner=captioner,
    )  # fmt: skip


def _with_experts(
    caption: StructuredCaption, fields: Provenance, frames: np.ndarray, duration_s: float, settings: CaptionSettings,
    expression: Answer | None,
) -> tuple[StructuredCaption, Provenance]:  # fmt: skip
    """The caption with the sub-experts' fields that the settings ask for."""
    is_measured = fields["camera_motion"]["source"] != "mllm"
    if settings.camera_expert and not is_measured and duration_s > 0:
        caption, fields = replace_fields(caption, fields, [CameraExpert(len(frames) / duration_s)], frames)
    emotion: Said | None = None
    version = ""
    if settings.shot_expert not in ("", TRAINED):
        from skyreels_platform.captioning.experts.shots import load_expert  # needs torch

        expert = load_expert(settings.shot_expert)
        caption, fields = replace_fields(caption, fields, [expert], frames)
        emotion, version = expert.all_said(frames).get("emotion"), expert.version
    place = subject_of(caption)
    if place is None:
        return caption, fields
    name = f"subjects[{place}].expression"
    if expression is not None and expression.status == "success":
        seen = parse_expression(expression.text)
        differs = emotion is not None and emotion.value != seen.emotion
        remark = f"the classifier says {emotion.value} ({emotion.confidence:.2f})" if emotion and differs else ""
        caption = _with_expression(caption, place, seen.sentence)
        fields = {**fields, name: origin("expert", EXPRESSION_VERSION, reason=remark, model=expression.model)}
    elif emotion is not None:
        caption = _with_expression(caption, place, "" if emotion.value == UNSEEN else f"{emotion.value}.")
        fields = {**fields, name: origin("expert", version, emotion.confidence)}
    return caption, fields


def _with_expression(caption: StructuredCaption, place: int, text: str) -> StructuredCaption:
    subject = caption.subjects[place].model_copy(update={"expression": text})
    return caption.model_copy(update={"subjects": (*caption.subjects[:place], subject, *caption.subjects[place + 1 :])})


def _answered(answer: Answer | None, shot_id: str, model: str) -> tuple[StructuredCaption, Provenance, str, str, str]:
    """(caption, provenance, status, reason, captioner) of a model's answer, verified once more."""
    version = f"{PROMPT_VERSION if answer is None or answer.num_asked else 'import-1'} {model}"
    caption, status, reason = StructuredCaption(), "error", "the captioner was not asked"
    if answer is not None and answer.key != shot_id:
        reason = f"an answer about {answer.key} was handed in"
    elif answer is not None and answer.status != "success":
        status, reason = answer.status, answer.reason
    elif answer is not None:
        caption, status, reason = parse(answer.text, is_complete=True), "ok", ""
    # The model gives no confidence; 0 would read as "wrong".
    entry = origin("mllm", version, model=model) if status == "ok" else origin("none", version, 0.0, reason[:200], model=model)
    return caption, fields_of(caption, entry), status, reason, version


def fields_of(caption: StructuredCaption, entry: Mapping[str, Any]) -> Provenance:
    """The same provenance for every field of a caption."""
    paths = ["subjects", *SHOT_FIELDS]
    paths += [f"subjects[{index}].{field}" for index in range(len(caption.subjects)) for field in SUBJECT_FIELDS]
    return {path: dict(entry) for path in paths}
