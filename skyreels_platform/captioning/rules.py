"""The rule-based captioner: what can be measured becomes a field, what cannot stays empty, and every field says where it is from.

It stands where SkyCaptioner-V1 stands in production. It knows a single coloured subject, the camera's motion and extreme light;
it never guesses a shot type, an environment or an expression. Fields that a person wrote replace its own.
"""

import difflib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from skyreels_platform.captioning import camera, subjects
from skyreels_platform.captioning.camera import CameraFinding, measure_camera
from skyreels_platform.captioning.origin import Provenance
from skyreels_platform.captioning.origin import origin as _origin
from skyreels_platform.captioning.schema import SHOT_FIELDS, SUBJECT_FIELDS, StructuredCaption, Subject, SubjectTypes, parse
from skyreels_platform.captioning.subjects import SubjectFinding, describe_subject

VERSION = "rules-1"

# Our choice, of 255: only light that anyone would call dim or bright is mentioned.
_BLACK_LUMA, _DIM_LUMA, _BRIGHT_LUMA = 4.0, 40.0, 215.0
_DIM_HIGHLIGHT = 150.0  # a title card is black on the whole, but its letters are not dim
_MISSPELT = 0.8                        # similarity from which a sidecar's key is taken for a misspelt field


def caption_by_rules(frames: np.ndarray, fps: float) -> tuple[StructuredCaption, Provenance]:
    """Structured caption of `frames` (F, H, W, 3) uint8 RGB, `1 / fps` s apart, and where each field is from."""
    found_camera = measure_camera(frames, fps)
    drift = (0.0, 0.0, 0.0, 0.0)
    if found_camera.moves:
        drift = (found_camera.pan / fps, found_camera.tilt / fps, found_camera.zoom / fps, found_camera.roll / fps)
    return structure(found_camera, describe_subject(frames, drift), *_light(frames))


def structure(
    found_camera: CameraFinding, subject: SubjectFinding | None, luma: float, highlight: float
) -> tuple[StructuredCaption, Provenance]:
    """The findings as SkyCaptioner's fields. `luma` is the mean, `highlight` the 99th percentile over all pixels, 0 to 255."""
    is_dim = _BLACK_LUMA <= luma < _DIM_LUMA and highlight < _DIM_HIGHLIGHT
    lighting = "dim light" if is_dim else "bright light" if luma > _BRIGHT_LUMA else ""
    caption = StructuredCaption(
        subjects=(_subject(subject, found_camera),) if subject else (), camera_motion=found_camera.sentence, lighting=lighting
    )
    origin: Provenance = {field: _origin("none", VERSION, 0.0) for field in SHOT_FIELDS}
    if subject is None:
        origin["subjects"] = _origin("none", subjects.VERSION, 0.0, "no single saturated subject stands out")
    else:
        origin["subjects"] = _origin("rule", subjects.VERSION, subject.confidence)
        for field in SUBJECT_FIELDS:
            is_known = field in ("TYPES", "is_main_subject") or bool(getattr(caption.subjects[0], field))
            origin[f"subjects[0].{field}"] = (
                _origin("rule", subjects.VERSION, subject.confidence) if is_known else _origin("none", subjects.VERSION, 0.0)
            )
    if found_camera.known:
        origin["camera_motion"] = _origin("expert", camera.VERSION, found_camera.confidence, found_camera.remark)
    else:
        origin["camera_motion"] = _origin("none", camera.VERSION, 0.0, found_camera.reason)
    if lighting:
        origin["lighting"] = _origin("rule", VERSION, 1.0)
    return caption, origin


def apply_human(
    caption: StructuredCaption, origin: Provenance, human: Mapping[str, Any]
) -> tuple[StructuredCaption, Provenance, str]:
    """Lets a sidecar's fields win over those of experts and models. Returns also a remark on its misspelt keys, '' without any.

    `human` holds any of the schema's top-level fields, the free text `caption`, and keys of other concerns, such as a licence,
    which are none of this function's business. CaptionFieldError for a value that the schema does not allow.
    """
    fields = ("subjects", *SHOT_FIELDS)
    given = {key: human[key] for key in fields if key in human}
    parsed = parse(given, is_complete=False)
    caption = caption.model_copy(update={key: getattr(parsed, key) for key in given})
    origin = {path: entry for path, entry in origin.items() if not ("subjects" in given and path.startswith("subjects"))}
    for key in given:
        origin[key] = _origin("human", confidence=1.0)
    if "subjects" in given:
        for index in range(len(caption.subjects)):
            origin |= {f"subjects[{index}].{field}": _origin("human", confidence=1.0) for field in SUBJECT_FIELDS}
    if human_text(human):
        origin["caption"] = _origin("human", confidence=1.0)
    return caption, origin, _misspelt(human, ("caption", *fields))


def _misspelt(human: Mapping[str, Any], known: tuple[str, ...]) -> str:
    """Names keys that look like a field but are none: a person meant them."""
    near = {key: difflib.get_close_matches(key, known, n=1, cutoff=_MISSPELT) for key in human if key not in known}
    return "; ".join(f"sidecar key {key!r} ignored, did you mean {match[0]!r}?" for key, match in near.items() if match)


def human_text(human: Mapping[str, Any]) -> str:
    """A person's free caption, '' without one."""
    text = human.get("caption", "")
    return " ".join(text.split()) if isinstance(text, str) else ""


def _subject(finding: SubjectFinding, found_camera: CameraFinding) -> Subject:
    """The finding in the caption's words.

    TYPES.type is the shape: it is what the concept balance counts, and one kind for all would leave it nothing to balance. A
    moving subject has no position: it has several. Under a shaking camera only a clear direction is the subject's own motion.
    """
    is_shaken = "handheld" in found_camera.moves and not finding.is_still and (finding.is_bouncing or not finding.direction)
    return Subject(
        types=SubjectTypes(type="Shape" if finding.shape == "other" else finding.shape.capitalize(), sub_type=finding.name),
        appearance=finding.colour,
        action="" if is_shaken else finding.action,
        position=_place(finding.position) if finding.is_still else "",
        is_main_subject=True,
    )


def _place(position: str) -> str:
    """`upper left` -> `in the upper left`."""
    return f"on the {position}" if position in ("left", "right") else f"in the {position}"


def _light(frames: np.ndarray) -> tuple[float, float]:
    """Mean and 99th percentile of BT.601 luma, 0 to 255, of 8 frames spread over the shot."""
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, 8).round().astype(int))]
    luma = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[::2, ::2] for frame in chosen])
    return float(luma.mean()), float(np.percentile(luma, 99))
