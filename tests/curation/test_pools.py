"""Verdicts: every kind of bound passed and failed, every reason listed, unknown handled as the bound says."""

import re

import pyarrow as pa
import pytest

from skyreels_platform.curation.pools import counts_by_reason, judge, judge_pool, reason_kind
from skyreels_platform.curation.signals import SIGNALS, Score
from skyreels_platform.errors import RecipeError
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.recipe import Bound


def _score(signal: str, value: float | None, outcome: str = "measured", reason: str = "") -> Score:
    return Score(signal=signal, value=value, unit=SIGNALS[signal].unit, version="1", outcome=outcome, reason=reason)  # type: ignore[arg-type]


def _scores(**values: float) -> dict[str, Score]:
    return {name: _score(name, value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("bound", "value", "verdict", "reasons"),
    [
        (Bound(min=0.02), 0.03, "pass", []),
        (Bound(min=0.02), 0.02, "pass", []),
        (Bound(min=0.02), 0.004, "fail", ["motion 0.004 < min 0.02 (heights/s)"]),
        (Bound(max=1.5), 1.2, "pass", []),
        (Bound(max=1.5), 1.5, "pass", []),
        (Bound(max=1.5), 2, "fail", ["motion 2 > max 1.5 (heights/s)"]),
        (Bound(min=0.02, max=1.5), 0.5, "pass", []),
        (Bound(min=0.02, max=1.5), 0.01, "fail", ["motion 0.01 < min 0.02 (heights/s)"]),
        (Bound(min=0.02, max=1.5), 1.75, "fail", ["motion 1.75 > max 1.5 (heights/s)"]),
        (Bound(min=0.02), 0.0199999, "fail", ["motion 0.0199999 < min 0.02 (heights/s)"]),
        (Bound(min=0.02), float("nan"), "fail", ["motion unknown -> fail: the score is nan"]),
    ],
)
def test_bounds(bound, value, verdict, reasons):
    assert judge(_scores(motion=value), {"motion": bound}) == (verdict, reasons)


@pytest.mark.parametrize(
    ("unknown", "verdict", "reasons"),
    [
        ("fail", "fail", ["sharpness unknown -> fail: no edge"]),
        ("review", "review", ["sharpness unknown -> review: no edge"]),
        ("pass", "pass", []),
    ],
)
def test_unknown_is_handled_as_the_bound_says(unknown, verdict, reasons):
    bounds = {"sharpness": Bound(min=10, unknown=unknown)}
    assert judge({"sharpness": _score("sharpness", None, "unknown", "no edge")}, bounds) == (verdict, reasons)
    missing = [reason.replace("no edge", "no score") for reason in reasons]
    assert judge({}, bounds) == (verdict, missing)


def test_not_applicable_passes():
    assert judge({"motion": _score("motion", None, "not_applicable", "an image")}, {"motion": Bound(min=0.02)}).verdict == "pass"


def test_every_reason_is_listed_and_fail_outweighs_review():
    bounds = {
        "luma": Bound(min=0.1), "sharpness": Bound(min=10, unknown="review"), "static": Bound(max=0.5), "black": Bound(max=0.1),
    }
    verdict = judge(_scores(luma=0.05, static=1, black=0), bounds)
    assert verdict.verdict == "fail"
    assert verdict.reasons == [
        "luma 0.05 < min 0.1 (0 to 1)", "sharpness unknown -> review: no score", "static 1 > max 0.5 (share of pairs)",
    ]
    assert judge(_scores(luma=0.5, static=0, black=0), bounds).verdict == "review"


def test_no_bounds_pass_everything():
    assert judge({}, {}) == ("pass", [])


def test_unknown_signal_names_the_nearest():
    with pytest.raises(RecipeError, match=r"bounds\.sharpnes: .*did you mean 'sharpness'\?.*known signals: black, white, static"):
        judge({}, {"sharpnes": Bound(min=1)})
    with pytest.raises(RecipeError, match=r"bounds\.zzz: no signal of this name; known signals"):
        judge_pool(_table([]), {"zzz": Bound(min=1)})


@pytest.mark.parametrize("name", list(SIGNALS))
def test_reasons_can_be_parsed_for_every_signal(name):
    low, high = (judge(_scores(**{name: value}), {name: Bound(min=1, max=2)}).reasons for value in (0.25, 3))
    unknown = judge({}, {name: Bound(min=1)}).reasons
    assert [reason_kind(reason) for reason in low + high + unknown] == [f"{name} < min", f"{name} > max", f"{name} unknown"]
    pattern = re.compile(r"(?P<signal>\w+) (?P<value>\S+) (?P<relation>[<>]) (?P<kind>min|max) (?P<limit>\S+) \((?P<unit>.*)\)")
    parts = [match.groupdict() for match in map(pattern.fullmatch, low + high) if match]
    assert [(float(part["value"]), part["kind"], float(part["limit"]), part["unit"]) for part in parts] == [
        (0.25, "min", 1, SIGNALS[name].unit), (3, "max", 2, SIGNALS[name].unit),
    ]


def _table(scores: list[tuple[str, Score]]) -> pa.Table:
    rows = [
        {"shot_id": shot_id, "batch": "b000001", "signal": score.signal, "value": score.value, "unit": score.unit,
         "version": score.version, "outcome": score.outcome, "reason": score.reason, "provenance": "0" * 16}
        for shot_id, score in scores
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["scores"].schema)


BOUNDS = {"motion": Bound(min=0.02), "static": Bound(max=0.5, unknown="review")}


def test_a_pool_is_judged_from_the_ledger():
    table = _table([
        ("shot_c", _score("motion", 0.0)), ("shot_c", _score("static", 1.0)),
        ("shot_a", _score("static", 0.0)), ("shot_a", _score("motion", 0.3)), ("shot_a", _score("luma", 0.0)),
        ("shot_b", _score("motion", 0.3)), ("shot_b", _score("static", None, "unknown", "one frame only")),
        ("shot_d", _score("luma", 0.4)),
    ])
    rows = judge_pool(table, BOUNDS, shot_ids=["shot_e", "shot_a"])
    assert rows == [
        {"shot_id": "shot_a", "verdict": "pass", "reasons": []},
        {"shot_id": "shot_b", "verdict": "review", "reasons": ["static unknown -> review: one frame only"]},
        {"shot_id": "shot_c", "verdict": "fail",
         "reasons": ["motion 0 < min 0.02 (heights/s)", "static 1 > max 0.5 (share of pairs)"]},
        # scored, but not on what is asked for; and never scored at all
        {"shot_id": "shot_d", "verdict": "fail",
         "reasons": ["motion unknown -> fail: no score", "static unknown -> review: no score"]},
        {"shot_id": "shot_e", "verdict": "fail",
         "reasons": ["motion unknown -> fail: no score", "static unknown -> review: no score"]},
    ]
    assert counts_by_reason(rows) == {"static unknown": 3, "motion unknown": 2, "motion < min": 1, "static > max": 1}


def test_a_pool_agrees_with_single_verdicts():
    shots = {f"shot_{k:03d}": _scores(motion=0.001 * k, static=k / 50) for k in range(50)}
    table = _table([(shot_id, score) for shot_id, scores in shots.items() for score in scores.values()])
    assert judge_pool(table, BOUNDS) == [
        {"shot_id": shot_id, "verdict": judge(scores, BOUNDS).verdict, "reasons": judge(scores, BOUNDS).reasons}
        for shot_id, scores in shots.items()
    ]


def test_an_empty_pool():
    assert judge_pool(_table([]), BOUNDS) == []
    assert counts_by_reason([]) == {}
