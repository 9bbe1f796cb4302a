"""Pools: which shots a stage may use, and every reason why not. Scores are facts; verdicts follow from them and a recipe's
bounds.

A reason is one line that people read and programs split (`reason_kind`):

    motion 0.004 < min 0.02 (heights/s)          measured, too low
    static 1 > max 0.5 (share of pairs)          measured, too high
    sharpness unknown -> review: no edge of ...  not measured; `fail` or `review` as the bound says
"""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.errors import RecipeError
from skyreels_platform.recipe import Bound


class ScoreLike(Protocol):
    """What a verdict needs of a score: `signals.Score` has it, and so has a row of the table `scores` (see `judge_pool`)."""

    @property
    def value(self) -> float | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def reason(self) -> str: ...


class Verdict(NamedTuple):
    """The standing of one shot in one pool."""

    verdict: Literal["pass", "fail", "review"]
    reasons: list[str]
    """Every bound that the shot does not meet, in the order of the recipe; empty for `pass`."""


class _Row(NamedTuple):
    value: float | None
    unit: str
    outcome: str
    reason: str


def judge(scores: Mapping[str, ScoreLike], bounds: Mapping[str, Bound]) -> Verdict:
    """Hold one shot's scores (signal -> score) against a pool's bounds; limits themselves pass.

    One failing bound fails the shot, whatever else asks for review. `not_applicable` passes. A signal without a score counts as
    unknown. RecipeError for a bound on a signal that does not exist.
    """
    check_bounds(bounds)
    return _judge(scores, bounds)


def check_bounds(bounds: Mapping[str, Bound]) -> None:
    """RecipeError for a bound on a signal that does not exist, with the nearest name."""
    for name in bounds:
        if name not in SIGNALS:
            near = difflib.get_close_matches(name, SIGNALS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"bounds.{name}: no signal of this name; {hint}known signals: {', '.join(SIGNALS)}")


def judge_pool(
    scores: pa.Table, bounds: Mapping[str, Bound], *, shot_ids: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows `shot_id`, `verdict`, `reasons` of one pool, by shot id; `scores` has the columns of the ledger's table of that name.

    shot_ids: every shot that must get a verdict. One without any score would otherwise be missing here, and is judged as unknown.
    """
    check_bounds(bounds)
    by_shot: dict[str, dict[str, ScoreLike]] = {shot_id: {} for shot_id in shot_ids or ()}
    for shot_id in scores["shot_id"].unique().to_pylist():
        by_shot.setdefault(shot_id, {})
    wanted = scores.filter(pc.field("signal").isin(list(bounds)))
    columns = (wanted[column].to_pylist() for column in ("shot_id", "signal", "value", "unit", "outcome", "reason"))
    for shot_id, signal, *rest in zip(*columns, strict=True):
        by_shot[shot_id][signal] = _Row(*rest)
    return [{"shot_id": shot_id, **_judge(by_shot[shot_id], bounds)._asdict()} for shot_id in sorted(by_shot)]


def counts_by_reason(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Reason kind (`motion < min`) -> shots that have it, most frequent first. A shot with two reasons counts under both."""
    counts = Counter(kind for row in rows for kind in {reason_kind(reason) for reason in row["reasons"]})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def reason_kind(reason: str) -> str:
    """A reason without its numbers and texts: `motion < min`, `static > max`, `sharpness unknown`."""
    signal, second, third, *_ = reason.split(" ")
    return f"{signal} unknown" if second == "unknown" else f"{signal} {third} {'min' if third == '<' else 'max'}"


def _judge(scores: Mapping[str, ScoreLike], bounds: Mapping[str, Bound]) -> Verdict:
    findings = [finding for name, bound in bounds.items() if (finding := _finding(name, scores.get(name), bound))]
    standings = {standing for standing, _ in findings}
    verdict = "fail" if "fail" in standings else "review" if "review" in standings else "pass"
    return Verdict(verdict, [reason for _, reason in findings])


def _finding(name: str, score: ScoreLike | None, bound: Bound) -> tuple[str, str] | None:
    """(fail | review, reason), or None where the bound is met."""
    if score is not None and score.outcome == "not_applicable":
        return None
    if score is None or score.outcome != "measured" or score.value is None or not math.isfinite(score.value):
        if bound.unknown == "pass":
            return None
        return bound.unknown, f"{name} unknown -> {bound.unknown}: {_why_unknown(score)}"
    if bound.min is not None and score.value < bound.min:
        return "fail", _comparison(name, score.value, "< min", bound.min, score.unit)
    if bound.max is not None and score.value > bound.max:
        return "fail", _comparison(name, score.value, "> max", bound.max, score.unit)
    return None


def _why_unknown(score: ScoreLike | None) -> str:
    if score is None:
        return "no score"
    return score.reason or f"the score is {score.value}"


def _comparison(name: str, value: float, relation: str, limit: float, unit: str) -> str:
    shown, shown_limit = f"{value:.4g}", f"{limit:.4g}"
    if shown == shown_limit:  # rounding must not print 0.02 < 0.02
        shown, shown_limit = repr(value), repr(limit)
    return f"{name} {shown} {relation} {shown_limit} ({unit})"
