"""Pools, balance and gates from stored rows: what passes, what does not, and that a repeat writes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from resources.home import open_home
from skyreels_platform.curation.pool_versions import bounds_in_force, commit, committed, revert
from skyreels_platform.curation.standing import (
    QUALITY,
    balance_stage,
    captions_gate,
    concept_counts,
    judge_stage,
    set_gate,
    shots_gate,
)
from skyreels_platform.errors import LedgerError
from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.recipe import BalanceSettings, Bound, PoolSettings

BATCH = "b000001"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def put(home: Home, table: str, partition: str, rows: list[dict[str, Any]]) -> None:
    column = TABLES[table].partition
    assert column
    home.ledger.replace(table, partition, [{"provenance": "p", column: partition, **row} for row in rows])


def scored(home: Home, **lumas: float) -> None:
    """Shots of one second with a luma each, sharper in the order of their names."""
    put(home, "shots", BATCH, [{"shot_id": shot, "source_id": "src_1"} for shot in lumas])
    rows = [{"shot_id": shot, "signal": "luma", "value": value, "outcome": "measured", "unit": "0 to 1"} for shot, value in lumas.items()]
    rows += [{"shot_id": shot, "signal": "duration_s", "value": 1.0, "outcome": "measured"} for shot in lumas]
    rows += [{"shot_id": shot, "signal": QUALITY, "value": float(number), "outcome": "measured"} for number, shot in enumerate(lumas)]
    put(home, "scores", BATCH, rows)


def pool(minimum: float) -> PoolSettings:
    return PoolSettings(bounds={"luma": Bound(min=minimum), "duration_s": Bound(min=0.1)})


# ---- pools ---------------------------------------------------------------------------------------------------------------------


def test_a_pool_judges_stored_scores_and_a_repeat_writes_nothing(home: Home):
    scored(home, a=0.5, b=0.1, c=0.3)
    result = judge_stage(home, "256p", pool(0.2))
    assert (result.counts, sum(result.reasons.values())) == ({"pass": 2, "fail": 1}, 1)
    version = home.ledger.version("verdicts")
    assert judge_stage(home, "256p", pool(0.2)) == result
    assert home.ledger.version("verdicts") == version


def test_another_threshold_is_another_version_of_its_stage_alone(home: Home):
    scored(home, a=0.5, b=0.1, c=0.3)
    first = judge_stage(home, "256p", pool(0.2))
    judge_stage(home, "360p", pool(0.2))
    stricter = judge_stage(home, "256p", pool(0.4))
    assert stricter.counts == {"pass": 1, "fail": 2}
    assert stricter.data_version != first.data_version
    assert [row["verdict"] for row in home.ledger.rows("verdicts", {"stage": "360p"}).to_pylist()] == ["pass", "fail", "pass"]
    (failed,) = home.ledger.rows("verdicts", {"stage": "256p", "shot_id": "c"}).to_pylist()
    assert failed["reasons"] == ["luma 0.3 < min 0.4 (0 to 1)"]


def test_a_threshold_that_changes_no_verdict_keeps_the_data_version(home: Home):
    scored(home, a=0.5, b=0.1)
    assert judge_stage(home, "256p", pool(0.2)).data_version == judge_stage(home, "256p", pool(0.3)).data_version


@pytest.mark.parametrize("bounds", [{}, {"duration_s": Bound(min=0.1)}, {"duration_s": Bound(max=9.0)}], ids=str)
def test_a_shot_below_the_shortest_length_fails_every_pool(bounds: dict[str, Bound], home: Home):
    scored(home, a=0.5)
    settings = PoolSettings(bounds=bounds)
    assert judge_stage(home, "360p", settings, min_length_s=1.0).counts == {"pass": 1}
    assert judge_stage(home, "360p", settings, min_length_s=1.5).counts == {"fail": 1}
    (row,) = home.ledger.rows("verdicts", {"stage": "360p"}).to_pylist()
    assert row["reasons"][0].startswith("duration_s 1 < min 1.5")


def test_a_shot_that_was_scored_again_is_judged_again(home: Home):
    scored(home, a=0.5)
    assert judge_stage(home, "256p", pool(0.2)).counts == {"pass": 1}
    scored(home, a=0.1)
    assert judge_stage(home, "256p", pool(0.2)).counts == {"fail": 1}


def test_copies_fail_and_the_kept_shot_passes(home: Home):
    scored(home, a=0.5, b=0.5)
    home.ledger.merge("duplicates", [
        {"shot_id": shot, "group_id": "g", "kept_id": "b", "similarity": similarity, "provenance": "p"}
        for shot, similarity in (("a", 0.97), ("b", 1.0))
    ])  # fmt: skip
    result = judge_stage(home, "256p", pool(0.2))
    assert (result.counts, result.reasons) == ({"pass": 1, "fail": 1}, {"duplicate > max": 1})
    (row,) = home.ledger.rows("verdicts", {"verdict": "fail"}).to_pylist()
    assert (row["shot_id"], row["reasons"]) == ("a", ["duplicate 0.97 > max 0 (similarity): of b"])


def test_the_sft_pool_judges_what_the_balanced_pool_keeps(home: Home):
    scored(home, a=0.5, b=0.5, c=0.3, d=0.1)
    with pytest.raises(LedgerError, match="balanced_pool"):
        judge_stage(home, "sft_540p", pool(0.4))
    captioned(home, dict.fromkeys("abcd", "Human"))
    judge_stage(home, "540p", pool(0.2))
    balance_stage(home, "540p", BalanceSettings(shares={"Human": 1.0}, min_keep=1.0))
    result = judge_stage(home, "sft_540p", pool(0.4))
    assert result.counts == {"pass": 2, "fail": 1}
    rows = home.ledger.rows("verdicts", {"stage": "sft_540p"}).to_pylist()
    assert [(row["shot_id"], row["verdict"]) for row in rows] == [("a", "pass"), ("b", "pass"), ("c", "fail")]


# ---- committed bounds ----------------------------------------------------------------------------------------------------------


def committed_pool(home: Home, stage: str, settings: PoolSettings, note: str = "") -> str:
    diff = {"luma < min": {"gained": 0, "lost": 1}}
    return commit(home.ledger, stage, settings, diff=diff, num_pass=1, gained=0, lost=1, recipe_hash="r", note=note)


def test_committed_bounds_stand_in_place_of_the_recipes_for_their_stage(home: Home):
    scored(home, a=0.5, b=0.3)
    assert judge_stage(home, "256p", pool(0.2)).pool_version is None
    version = committed_pool(home, "256p", pool(0.4), "too dark")
    result = judge_stage(home, "256p", pool(0.2))
    assert (result.counts, result.pool_version) == ({"pass": 1, "fail": 1}, version)
    assert judge_stage(home, "360p", pool(0.2)).counts == {"pass": 2}
    in_force = bounds_in_force(home.ledger, "256p", pool(0.2))
    assert (in_force.settings, in_force.note) == (pool(0.4), "too dark")
    (row,) = home.ledger.rows("pool_versions").to_pylist()
    assert (row["num_pass"], row["gained"], row["lost"]) == (1, 0, 1)
    assert json.loads(row["diff"]) == {"luma < min": {"gained": 0, "lost": 1}}


def test_reverting_goes_back_to_the_recipe_and_keeps_the_commit(home: Home):
    scored(home, a=0.5, b=0.3)
    version = committed_pool(home, "256p", pool(0.4))
    assert revert(home.ledger, "256p") == version
    assert judge_stage(home, "256p", pool(0.2)).counts == {"pass": 2}
    assert revert(home.ledger, "256p") is None
    assert (committed(home.ledger), home.ledger.rows("pool_versions").num_rows) == ({}, 1)


def test_a_later_commit_takes_the_place_of_an_earlier_one(home: Home):
    first, second = committed_pool(home, "256p", pool(0.3)), committed_pool(home, "256p", pool(0.4))
    assert first != second
    assert committed(home.ledger) == {"256p": second}
    assert bounds_in_force(home.ledger, "256p", pool(0.2)).settings == pool(0.4)
    assert home.ledger.rows("pool_versions").num_rows == 2


def test_a_pointer_to_bounds_that_are_gone_is_refused(home: Home):
    home.ledger.merge("current", [{"name": "bounds_256p", "ref": "pool_gone", "provenance": "p"}])
    with pytest.raises(LedgerError, match=r"pool_gone.*--revert"):
        bounds_in_force(home.ledger, "256p", pool(0.2))


# ---- balance -------------------------------------------------------------------------------------------------------------------


def captioned(home: Home, concepts: dict[str, str], status: str = "ok") -> None:
    put(home, "captions", BATCH, [
        {"shot_id": shot, "structured": json.dumps({"subjects": [{"TYPES": {"type": concept, "sub_type": ""}, "is_main_subject": True}]}),
         "t2v": f"a {concept}", "status": status}
        for shot, concept in concepts.items()
    ])  # fmt: skip


def test_balance_keeps_the_best_of_a_concept_that_is_too_frequent(home: Home):
    shots = "abcdefgh"
    scored(home, **dict.fromkeys(shots, 0.5))
    captioned(home, {shot: "Human" if shot < "g" else "Animal" for shot in shots})
    judge_stage(home, "540p", pool(0.2))
    settings = BalanceSettings(shares={"Human": 0.5, "Animal": 0.5}, min_keep=0.3)
    result, version = balance_stage(home, "540p", settings)
    verdicts = {row["shot_id"]: row for row in home.ledger.rows("verdicts", {"stage": "balanced"}).to_pylist()}
    kept = {shot for shot, row in verdicts.items() if row["verdict"] == "pass"}
    assert kept == {"d", "e", "f", "g", "h"} == set(result.kept), "the sharpest three of six humans, and both animals"
    assert all(verdicts[shot]["reasons"][0].startswith("Human: best 3 of 6") for shot in "abc")
    assert balance_stage(home, "540p", settings) == (result, version)
    assert concept_counts(home, "balanced") == {"Human": 3, "Animal": 2}
    assert concept_counts(home, "540p") == {"Human": 6, "Animal": 2}


def test_balance_takes_only_what_passed_the_pool(home: Home):
    scored(home, a=0.5, b=0.1)
    captioned(home, {"a": "Human", "b": "Human"})
    judge_stage(home, "540p", pool(0.2))
    result, _ = balance_stage(home, "540p", BalanceSettings(shares={"Human": 1.0}, min_keep=1.0))
    assert (result.kept, result.dropped) == (("a",), {})


# ---- gates ---------------------------------------------------------------------------------------------------------------------


def sources(home: Home, *names: str, status: str = "ready") -> None:
    put(home, "sources", BATCH, [{"source_id": name, "status": status} for name in names])


def cut(home: Home, *names: str) -> None:
    put(home, "shots", BATCH, [{"shot_id": f"shot_of_{name}", "source_id": name} for name in names])


def failed(home: Home, *names: str) -> None:
    put(home, "failures", f"{BATCH}/shots", [{"source_id": name, "batch": BATCH, "step": "shots", "reason": "r"} for name in names])


def test_shots_gate_passes_when_every_source_is_accounted_for(home: Home):
    sources(home, "src_a", "src_b")
    cut(home, "src_a")
    failed(home, "src_b")
    assert shots_gate(home, BATCH) == (True, "1 sources cut")


def test_shots_gate_names_a_source_that_was_lost(home: Home):
    sources(home, "src_a", "src_b")
    cut(home, "src_a")
    passed, reason = shots_gate(home, BATCH)
    assert not passed
    assert "src_b" in reason


def test_shots_gate_fails_when_nothing_could_be_cut(home: Home):
    sources(home, "src_a", "src_b")
    failed(home, "src_a", "src_b")
    assert shots_gate(home, BATCH) == (False, "none of 2 sources could be cut")


def test_shots_gate_asks_nothing_of_a_batch_of_refused_files(home: Home):
    sources(home, "src_a", status="refused")
    assert shots_gate(home, BATCH) == (True, "no source of this batch is ready")


@pytest.mark.parametrize(
    ("sound", "status", "passes"), [(2, "ok", True), (2, "empty", True), (1, "ok", False), (4, "failed", False), (0, "ok", False)]
)
def test_captions_gate(sound: int, status: str, passes: bool, home: Home):
    cut(home, "a", "b", "c", "d")
    captioned(home, {f"shot_of_{name}": "Human" for name in "abcd"[:sound]}, status)
    passed, reason = captions_gate(home, BATCH)
    assert passed is passes
    assert f"{sound if status != 'failed' else 0} of 4 shots" in reason
    assert ("asks for 50%" in reason) is not passes


def test_a_gate_keeps_the_standing_of_others(home: Home):
    set_gate(home, BATCH, "captions_sound", passed=False, reason="r")
    set_gate(home, BATCH, "no_source_lost", passed=True, reason="")
    set_gate(home, BATCH, "captions_sound", passed=True, reason="now")
    rows = home.ledger.rows("gates", {"batch": BATCH}, ["gate", "passed", "reason"]).to_pylist()
    assert rows == [
        {"gate": "captions_sound", "passed": True, "reason": "now"}, {"gate": "no_source_lost", "passed": True, "reason": ""},
    ]  # fmt: skip
