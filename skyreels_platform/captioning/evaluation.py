"""How well a captioner does, field by field, against captions that people wrote.

Options and flags are right or wrong. Free texts are scored by the words that both use (F1); the paper's column for them is people's
judgement on 1,000 clips, so those two columns say different things and only ours may be compared from run to run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from skyreels_platform.captioning.schema import OPTIONS, SHOT_FIELDS, SUBJECT_TEXTS, StructuredCaption, Subject

PAPER = {
    "shot_type": 0.937, "shot_angle": 0.898, "shot_position": 0.831, "camera_motion": 0.853, "expression": 0.688, "type": 0.825,
    "sub_type": 0.754, "appearance": 0.593, "action": 0.688, "position": 0.575, "is_main_subject": 0.809, "environment": 0.705,
    "lighting": 0.765,
}  # fmt: skip
"""SkyCaptioner-V1, evaluated by people (paper, table of captioners); their average is 76.3 %."""
PAPER_AVERAGE = 0.763
EXACT = (*OPTIONS, "type", "sub_type", "is_main_subject")


@dataclass(frozen=True, kw_only=True)
class FieldScore:
    """One field over all clips in which people filled it in."""

    field: str
    score: float
    """0..1: share right for exact fields, mean F1 of words for the others."""
    num: int
    paper: float
    """The published captioner's, as reference."""
    is_exact: bool


def score_fields(said: Mapping[str, StructuredCaption], true: Mapping[str, StructuredCaption]) -> list[FieldScore]:
    """Scores of all fields that anybody filled in. A clip that the captioner has no caption of counts as empty: 0 in every field."""
    found: dict[str, list[float]] = {field: [] for field in PAPER}
    for key, truth in true.items():
        guess = said.get(key, StructuredCaption())
        for field in SHOT_FIELDS:
            if wanted := getattr(truth, field):
                found[field].append(_score(field, getattr(guess, field), wanted))
        for subject in truth.subjects:
            match = _matching(subject, guess)
            pairs = {"type": (match.types.type, subject.types.type), "sub_type": (match.types.sub_type, subject.types.sub_type)}
            pairs |= {field: (getattr(match, field), getattr(subject, field)) for field in SUBJECT_TEXTS}
            for field, (given, wanted) in pairs.items():
                if wanted:
                    found[field].append(_score(field, given, wanted))
            found["is_main_subject"].append(float(match.is_main_subject == subject.is_main_subject and match != Subject()))
    return [
        FieldScore(field=field, score=fmean(scores), num=len(scores), paper=PAPER[field], is_exact=field in EXACT)
        for field, scores in found.items() if scores
    ]  # fmt: skip


def _score(field: str, given: str, wanted: str) -> float:
    if field in EXACT:
        return float(given.strip().lower() == wanted.strip().lower())
    one, other = (re.findall(r"[\w'-]+", text.lower()) for text in (given, wanted))
    common = sum(min(one.count(word), other.count(word)) for word in set(one))
    return 2 * common / (len(one) + len(other)) if common else 0.0


def _matching(subject: Subject, guess: StructuredCaption) -> Subject:
    """The guessed subject that is most like a true one: by type, then by words; an empty one if there is none."""

    def likeness(other: Subject) -> tuple[bool, bool, float]:
        same = _score("sub_type", other.types.sub_type, subject.types.sub_type), _score("type", other.types.type, subject.types.type)
        return bool(same[1]), bool(same[0]), _score("appearance", other.appearance, subject.appearance)

    return max(guess.subjects, key=likeness, default=Subject())
