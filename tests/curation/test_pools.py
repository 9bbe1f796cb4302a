"""Verdicts: every kind of bound passed and failed, every reason listed, unknown handled as the bound says."""

import math
import random
import re

import numpy as np
import pyarrow as pa
import pytest

from skyreels_platform.curation.pools import (
    DUPLICATE,
    copy_score,
    counts_by_reason,
    judge,
    judge_pool,
    judge_wide,
    reason_kind,
)
from skyreels_platform.curation.signals import SIGNALS, Score
from skyreels_platform.curation.wide import WideScores, wide_of_scores
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


# ---- many shots at once --------------------------------------------------------------------------------------------------------


def _random_score(dice: random.Random, signal: str) -> Score | None:
    """Any score that the ledger can hold; values lie on and beside the limits that `_random_bound` draws."""
    outcome = dice.choice(["measured"] * 6 + ["unknown", "not_applicable", "none"])
    if outcome == "none":
        return None
    value = dice.choice([0.0, 0.1, 0.2, 0.3, 0.30000001, 1e-9, -1.5, 1e6, math.inf, -math.inf, None, dice.random()])
    return _score(signal, value if outcome == "measured" else None, outcome, dice.choice(["", "no edge", "a 'quoted' \u00e4 reason"]))


def _random_bound(dice: random.Random) -> Bound:
    limits = sorted(dice.choices([0.0, 0.1, 0.2, 0.3, 1.0, dice.random()], k=2))
    kind = dice.choice(["min", "max", "both"])
    return Bound(
        min=limits[0] if kind != "max" else None, max=limits[1] if kind != "min" else None, unknown=dice.choice(["fail", "pass", "review"])
    )


@pytest.mark.parametrize("seed", range(25))
def test_judging_many_shots_at_once_equals_judging_each(seed: int):
    dice = random.Random(seed)
    names = dice.sample(list(SIGNALS), k=min(len(SIGNALS), dice.randint(1, 8)))
    shots = {
        f"shot_{number:02d}": {name: score for name in names if (score := _random_score(dice, name))}
        for number in range(dice.choice([0, 1, 40]))
    }
    bounds = {name: _random_bound(dice) for name in dice.sample(names, k=dice.randint(0, len(names)))}
    if dice.random() < 0.7:
        bounds[DUPLICATE] = Bound(max=dice.choice([0.0, 0.9, 0.97]))
    copies = {shot: (dice.choice([0.85, 0.97]), "shot_kept") for shot in shots if dice.random() < 0.3}
    rows = [(shot, score) for shot, scores in shots.items() for score in scores.values()]
    dice.shuffle(rows)
    wide = _with_copies(wide_of_scores(_table(rows), list(shots)), copies)
    judged = judge_wide(wide, bounds)
    each = {
        shot: judge({**scores, **({DUPLICATE: copy_score(*copies[shot])} if shot in copies else {})}, bounds)
        for shot, scores in shots.items()
    }
    found = judged.table().to_pylist()
    assert found == [{"shot_id": shot, "verdict": each[shot].verdict, "reasons": each[shot].reasons} for shot in sorted(shots)]
    assert judged.by_reason() == counts_by_reason(found)
    assert sum(judged.counts.values()) == len(shots)


def _with_copies(wide: WideScores, copies: dict[str, tuple[float, str]]) -> WideScores:
    columns = {
        "shot_id": pa.array(list(copies), pa.string()), "kept_id": pa.array([kept for _, kept in copies.values()], pa.string()),
        "similarity": pa.array([similarity for similarity, _ in copies.values()], pa.float64()),
    }  # fmt: skip
    return WideScores(table=wide.table, units=wide.units, copies=pa.table(columns), provenance=wide.provenance)


def test_a_copy_has_a_reason_that_names_what_is_kept():
    score = copy_score(0.97, "shot_0f")
    assert judge({DUPLICATE: score}, {DUPLICATE: Bound(max=0.9)}) == ("fail", ["duplicate 0.97 > max 0.9 (similarity): of shot_0f"])
    assert judge({DUPLICATE: score}, {DUPLICATE: Bound(max=0.98)}).verdict == "pass"
    assert judge({}, {DUPLICATE: Bound(max=0.9)}).verdict == "pass", "a shot without the score is no copy"
    assert reason_kind("duplicate 0.97 > max 0.9 (similarity): of shot_0f") == "duplicate > max"


def test_reasons_are_counted_among_the_wanted_shots_alone():
    rows = [(f"shot_{number}", _score("motion", 0.001 * number)) for number in range(5)]
    judged = judge_wide(wide_of_scores(_table(rows)), {"motion": Bound(min=0.0025)})
    assert judged.by_reason() == {"motion < min": 3}
    assert judged.by_reason(np.array([False, True, False, True, True])) == {"motion < min": 1}
    assert judged.reasons(np.array([2, 4])) == [["motion 0.002 < min 0.0025 (heights/s)"], []]
