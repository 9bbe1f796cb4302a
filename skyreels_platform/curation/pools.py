"""Pools: which shots a stage may use, and every reason why not. Scores are facts; verdicts follow from them and a recipe's
bounds.

A reason is one line that people read and programs split (`reason_kind`):

    motion 0.004 < min 0.02 (heights/s)                  measured, too low
    static 1 > max 0.5 (share of pairs)                  measured, too high
    sharpness unknown -> review: no edge of ...          not measured; `fail` or `review` as the bound says
    duplicate 0.97 > max 0 (similarity): of shot_0f...   a copy; what follows a colon is the score's own remark

`judge` holds one shot against bounds, `judge_wide` any number of them in array operations; they agree to the letter.
"""

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.curation.wide import DUPLICATE, WideScores, wide_of_scores
from skyreels_platform.errors import RecipeError
from skyreels_platform.recipe import Bound

NO_COPIES = Bound(max=0.0)
"""Bound on `duplicate` where a recipe names none: whatever the ledger's table `duplicates` lists as a copy is out (our choice)."""
VERDICTS = ("pass", "review", "fail")
"""By code, from the best to the worst."""
_SIMILARITY = "similarity"  # unit of `duplicate`


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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The shots that do not meet one bound in one way."""

    signal: str
    kind: str
    """As `reason_kind` gives it: `motion < min`."""
    verdict: Literal["fail", "review"]
    limit: float | None
    """None where the signal is unknown."""
    is_found: np.ndarray
    """(rows,) bool."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The standing of many shots in one pool."""

    wide: WideScores
    findings: list[Finding]
    """In the order of the bounds."""

    @cached_property
    def codes(self) -> np.ndarray:
        """(rows,) uint8: index in VERDICTS."""
        is_in = {verdict: np.zeros(len(self.wide), bool) for verdict in VERDICTS}
        for finding in self.findings:
            np.logical_or(is_in[finding.verdict], finding.is_found, out=is_in[finding.verdict])
        return np.where(is_in["fail"], np.uint8(2), is_in["review"].astype(np.uint8))

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> shots, only those that occur."""
        counts = np.bincount(self.codes, minlength=len(VERDICTS)).tolist()
        return {verdict: count for verdict, count in zip(VERDICTS, counts, strict=True) if count}

    def by_reason(self, is_wanted: np.ndarray | None = None) -> dict[str, int]:
        """Reason kind -> shots that have it (among the wanted rows, a mask), most frequent first."""
        counts: Counter[str] = Counter()
        for finding in self.findings:
            found = finding.is_found if is_wanted is None else finding.is_found & is_wanted
            counts[finding.kind] += int(np.count_nonzero(found))
        return _most_first(counts)

    def reasons(self, rows: np.ndarray) -> list[list[str]]:
        """Every reason of these rows, as `judge` words them."""
        reasons: list[list[str]] = [[] for _ in rows]
        notes = self.wide.notes(rows)
        for finding in self.findings:
            places = np.flatnonzero(finding.is_found[rows])
            if len(places):
                remarks = [notes[place].get(finding.signal, "") for place in places]
                for place, text in zip(places.tolist(), _texts(self.wide, finding, rows[places], remarks), strict=True):
                    reasons[place].append(text)
        return reasons

    def table(self) -> pa.Table:
        """`shot_id`, `verdict`, `reasons` of every row."""
        rows = np.flatnonzero(self.codes)
        lengths = np.zeros(len(self.wide) + 1, np.int64)
        reasons = self.reasons(rows)
        lengths[rows + 1] = [len(texts) for texts in reasons]
        flat = pa.array([text for texts in reasons for text in texts], pa.string())
        return pa.table({
            "shot_id": self.wide.table["shot_id"],
            "verdict": pa.DictionaryArray.from_arrays(self.codes.astype(np.int8), list(VERDICTS)).cast(pa.string()),
            "reasons": pa.ListArray.from_arrays(pa.array(np.cumsum(lengths).astype(np.int32)), flat),
        })  # fmt: skip


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
        if name not in SIGNALS and name != DUPLICATE:
            known = [*SIGNALS, DUPLICATE]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"bounds.{name}: no signal of this name; {hint}known signals: {', '.join(known)}")


def copy_score(similarity: float, kept_id: str) -> ScoreLike:
    """The score `duplicate` of one shot that repeats another; shots that are no copies have none."""
    return _Row(similarity, _SIMILARITY, "measured", f"of {kept_id}")


Found = dict[tuple[str, Bound], list[Finding]]


def judge_wide(wide: WideScores, bounds: Mapping[str, Bound], found: Found | None = None) -> Judged:
    """Hold every row against a pool's bounds. `found` remembers between calls on the same rows what a signal's bound finds."""
    check_bounds(bounds)
    found = {} if found is None else found
    for pair in bounds.items():
        if pair not in found:
            found[pair] = _findings(wide, *pair)
    return Judged(wide=wide, findings=[finding for pair in bounds.items() for finding in found[pair]])


def judge_pool(
    scores: pa.Table, bounds: Mapping[str, Bound], *, shot_ids: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows `shot_id`, `verdict`, `reasons` of one pool, by shot id; `scores` has the columns of the ledger's table of that name.

    shot_ids: every shot that must get a verdict. One without any score would otherwise be missing here, and is judged as unknown.
    """
    return judge_wide(wide_of_scores(scores, shot_ids or ()), bounds).table().to_pylist()


def counts_by_reason(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Reason kind (`motion < min`) -> shots that have it, most frequent first. A shot with two reasons counts under both."""
    counts = Counter(kind for row in rows for kind in {reason_kind(reason) for reason in row["reasons"]})
    return _most_first(counts)


def reason_kind(reason: str) -> str:
    """A reason without its numbers and texts: `motion < min`, `static > max`, `sharpness unknown`."""
    signal, second, third, *_ = reason.split(" ")
    return f"{signal} unknown" if second == "unknown" else f"{signal} {third} {'min' if third == '<' else 'max'}"


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(((kind, count) for kind, count in counts.items() if count), key=lambda item: (-item[1], item[0])))


def _findings(wide: WideScores, name: str, bound: Bound) -> list[Finding]:
    """What one bound finds; every row is in one finding at most. Comparisons with NaN (unknown) are false."""
    tests: list[tuple[str, Literal["fail", "review"], float | None, Callable[[np.ndarray], np.ndarray]]] = []
    low, high = bound.min, bound.max
    if bound.unknown != "pass":
        tests.append(("unknown", bound.unknown, None, np.isnan))
    if low is not None:
        tests.append(("< min", "fail", low, lambda piece: piece < low))
    if high is not None:
        tests.append(("> max", "fail", high, lambda piece: (piece > high) & (piece < np.inf)))
    found = [np.zeros(len(wide), bool) for _ in tests]
    start = 0
    for piece in wide.pieces(name):
        for (*_, test), is_found in zip(tests, found, strict=True):
            is_found[start : start + len(piece)] = test(piece)
        start += len(piece)
    return [
        Finding(signal=name, kind=f"{name} {kind}", verdict=verdict, limit=limit, is_found=is_found)
        for (kind, verdict, limit, _), is_found in zip(tests, found, strict=True)
    ]


def _texts(wide: WideScores, finding: Finding, rows: np.ndarray, remarks: list[str]) -> list[str]:
    """The reasons of the rows of one finding; `remarks` are what their scores say beside the number."""
    unit = wide.units.get(finding.signal)
    if finding.signal == DUPLICATE:
        unit, remarks = _SIMILARITY, [f"of {kept_id}" for kept_id in wide.kept_ids(rows)]
    if finding.limit is None:
        return [_unknown(finding.signal, finding.verdict, remark or "no score") for remark in remarks]
    relation = finding.kind.removeprefix(f"{finding.signal} ")
    pairs = zip(wide.values(finding.signal, rows), remarks, strict=True)
    return [_comparison(finding.signal, value, relation, finding.limit, unit, remark) for value, remark in pairs]


def _judge(scores: Mapping[str, ScoreLike], bounds: Mapping[str, Bound]) -> Verdict:
    findings = [finding for name, bound in bounds.items() if (finding := _finding(name, scores.get(name), bound))]
    standings = {standing for standing, _ in findings}
    verdict = "fail" if "fail" in standings else "review" if "review" in standings else "pass"
    return Verdict(verdict, [reason for _, reason in findings])


def _finding(name: str, score: ScoreLike | None, bound: Bound) -> tuple[str, str] | None:
    """(fail | review, reason), or None where the bound is met."""
    if (score is not None and score.outcome == "not_applicable") or (score is None and name == DUPLICATE):
        return None
    if score is None or score.outcome != "measured" or score.value is None or not math.isfinite(score.value):
        return None if bound.unknown == "pass" else (bound.unknown, _unknown(name, bound.unknown, _why_unknown(score)))
    if bound.min is not None and score.value < bound.min:
        return "fail", _comparison(name, score.value, "< min", bound.min, score.unit, score.reason)
    if bound.max is not None and score.value > bound.max:
        return "fail", _comparison(name, score.value, "> max", bound.max, score.unit, score.reason)
    return None


def _why_unknown(score: ScoreLike | None) -> str:
    if score is None:
        return "no score"
    return score.reason or f"the score is {score.value}"


def _unknown(name: str, verdict: str, why: str) -> str:
    return f"{name} unknown -> {verdict}: {why}"


def _comparison(name: str, value: float, relation: str, limit: float, unit: str | None, remark: str | None) -> str:
    shown, shown_limit = f"{value:.4g}", f"{limit:.4g}"
    if shown == shown_limit:  # rounding must not print 0.02 < 0.02
        shown, shown_limit = repr(value), repr(limit)
    text = f"{name} {shown} {relation} {shown_limit} ({unit or ''})"
    return f"{text}: {remark}" if remark else text
