"""Previews from stored numbers: what is gained and lost, and that the columns that they are made from are never stale."""

import json
from pathlib import Path
from typing import Any

import pytest

from resources.home import open_home
from skyreels_platform.curation.pools import judge
from skyreels_platform.curation.preview import preview
from skyreels_platform.curation.signals import Score
from skyreels_platform.curation.wide import NO_CAPTION, load_wide
from skyreels_platform.errors import LedgerError, RecipeError
from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.recipe import Bound, PoolSettings

BATCH = "b000001"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def put(home: Home, table: str, partition: str, rows: list[dict[str, Any]]) -> None:
    column = TABLES[table].partition
    assert column
    home.ledger.replace(table, partition, [{"provenance": "p", column: partition, **row} for row in rows])


def store(home: Home, batch: str, shots: dict[str, tuple[float | None, float, str | None]]) -> None:
    """Shots with a luma (None: unknown), seconds and a concept (None: no caption)."""
    put(home, "shots", batch, [
        {"shot_id": shot, "source_id": "src_1", "start_s": 1.0, "end_s": 1.0 + seconds} for shot, (_, seconds, _) in shots.items()
    ])  # fmt: skip
    put(home, "scores", batch, [
        {"shot_id": shot, "signal": signal, "unit": "0 to 1", "value": value, "reason": "" if value is not None else "no picture",
         "outcome": "unknown" if value is None else "measured"}
        for shot, (luma, _, _) in shots.items() for signal, value in (("luma", luma), ("contrast", 0.5))
    ])  # fmt: skip
    put(home, "captions", batch, [
        {"shot_id": shot, "structured": json.dumps({"subjects": [{"TYPES": {"type": concept}}]})}
        for shot, (_, _, concept) in shots.items() if concept
    ])  # fmt: skip


def pool(minimum: float, **bounds: Bound) -> PoolSettings:
    return PoolSettings(bounds={"luma": Bound(min=minimum), **bounds})


# ---- what changes --------------------------------------------------------------------------------------------------------------


def test_gained_and_lost_shots_are_counted_by_reason_with_hours_and_concepts(home: Home):
    store(home, BATCH, {
        "a": (0.1, 3600.0, "Human"), "b": (0.3, 1800.0, "Human"), "c": (0.5, 7200.0, "Animal"), "d": (None, 60.0, "Animal"),
        "e": (0.9, 36.0, None),
    })  # fmt: skip
    before = pool(0.2)
    after = PoolSettings(bounds={"luma": Bound(min=0.05, max=0.45, unknown="review")})
    found = preview(home, "360p", before, after)
    assert (found.before.counts, found.after.counts) == ({"pass": 3, "fail": 2}, {"pass": 2, "review": 1, "fail": 2})
    assert (found.gained, found.lost) == (1, 2)
    assert (found.gained_by, found.lost_by) == ({"luma < min": 1}, {"luma > max": 2})
    assert found.diff == {"luma < min": {"gained": 1, "lost": 0}, "luma > max": {"gained": 0, "lost": 2}}
    assert found.before.hours == pytest.approx((1800 + 7200 + 36) / 3600)
    assert found.after.hours == pytest.approx((3600 + 1800) / 3600)
    assert found.before.concepts == {"Animal": 1, "Human": 1, NO_CAPTION: 1}
    assert found.after.concepts == {"Human": 2}
    assert found.gained_shots == [("a", ["luma 0.1 < min 0.2 (0 to 1)"])]
    assert found.lost_shots == [("c", ["luma 0.5 > max 0.45 (0 to 1)"]), ("e", ["luma 0.9 > max 0.45 (0 to 1)"])]


def test_bounds_that_change_no_verdict_change_nothing(home: Home):
    store(home, BATCH, {"a": (0.1, 1.0, "Human"), "b": (0.5, 1.0, "Human")})
    found = preview(home, "360p", pool(0.2), pool(0.4))
    assert (found.gained, found.lost, found.diff, found.before, found.gained_shots) == (0, 0, {}, found.after, [])


def test_a_preview_writes_nothing_into_the_ledger(home: Home):
    store(home, BATCH, {"a": (0.1, 1.0, "Human")})
    versions = {table: home.ledger.version(table) for table in TABLES}
    preview(home, "360p", pool(0.2), pool(0.0))
    assert {table: home.ledger.version(table) for table in TABLES} == versions


def test_the_shortest_length_holds_before_and_after(home: Home):
    store(home, BATCH, {"a": (0.5, 1.0, "Human")})
    put(home, "scores", BATCH, [
        {"shot_id": "a", "signal": name, "value": value, "outcome": "measured", "unit": "s"}
        for name, value in (("luma", 0.5), ("duration_s", 1.0))
    ])  # fmt: skip
    assert preview(home, "360p", pool(0.2), pool(0.9), min_length_s=0.5).lost == 1
    assert preview(home, "360p", pool(0.2), pool(0.9), min_length_s=1.5).lost == 0


def test_copies_are_out_unless_a_bound_allows_them(home: Home):
    store(home, BATCH, {"a": (0.5, 1.0, "Human"), "b": (0.5, 1.0, "Human"), "c": (0.5, 1.0, "Human")})
    home.ledger.merge("duplicates", [
        {"shot_id": shot, "group_id": "g", "kept_id": "a", "similarity": similarity, "provenance": "p"}
        for shot, similarity in (("a", 1.0), ("b", 0.97), ("c", 0.85))
    ])  # fmt: skip
    found = preview(home, "360p", pool(0.2, duplicate=Bound(max=1.0)), pool(0.2))
    assert (found.lost, found.lost_by) == (2, {"duplicate > max": 2})
    assert found.lost_shots[0] == ("b", ["duplicate 0.97 > max 0 (similarity): of a"])
    softer = preview(home, "360p", pool(0.2), pool(0.2, duplicate=Bound(max=0.9)))
    assert [shot.shot_id for shot in softer.gained_shots] == ["c"]


def test_at_most_so_many_shots_are_named(home: Home):
    store(home, BATCH, {f"s{number:03d}": (0.3, 1.0, "Human") for number in range(100)})
    found = preview(home, "360p", pool(0.2), pool(0.4), num_shown=5)
    assert found.lost == 100
    assert [shot.shot_id for shot in found.lost_shots] == ["s000", "s025", "s050", "s074", "s099"]


def test_wrong_names_and_missing_pools_are_refused(home: Home):
    store(home, BATCH, {"a": (0.5, 1.0, "Human")})
    with pytest.raises(RecipeError, match="did you mean 'luma'"):
        preview(home, "360p", pool(0.2), PoolSettings(bounds={"lumma": Bound(min=0.1)}))
    with pytest.raises(LedgerError, match="skyreels run --select balanced_pool"):
        preview(home, "sft_540p", pool(0.2), pool(0.3))


def test_an_empty_home_has_nothing_to_gain(home: Home):
    found = preview(home, "360p", pool(0.2), pool(0.3))
    assert (found.before.counts, found.before.hours, found.before.concepts, found.gained) == ({}, 0.0, {}, 0)


# ---- never stale ---------------------------------------------------------------------------------------------------------------


def parts(home: Home) -> dict[str, int]:
    """Files of the columns by batch, with the time that they were written."""
    root = home.store.local_path("derived/wide_scores")
    assert root
    return {path.name: path.stat().st_mtime_ns for path in root.glob("*.arrow")}


def lumas(home: Home) -> dict[str, float]:
    wide = load_wide(home)
    pieces = [value for piece in wide.pieces("luma") for value in piece.tolist()]
    return dict(zip(wide.table["shot_id"].to_pylist(), pieces, strict=True))


def test_a_changed_batch_is_made_again_and_the_others_are_left(home: Home, capfd: pytest.CaptureFixture[str]):
    store(home, "b000001", {"a": (0.1, 1.0, "Human")})
    store(home, "b000002", {"b": (0.2, 1.0, "Human")})
    assert lumas(home) == {"a": 0.1, "b": 0.2}
    assert "scores by shot: 2 of 2" in capfd.readouterr().err
    first = parts(home)
    assert lumas(home) == {"a": 0.1, "b": 0.2}
    assert capfd.readouterr().err == "", "nothing to do, nothing to show"
    store(home, "b000002", {"b": (0.3, 1.0, "Human"), "c": (0.4, 1.0, "Human")})  # the same provenance: only the content tells
    assert lumas(home) == {"a": 0.1, "b": 0.3, "c": 0.4}
    second = parts(home)
    assert len(first) == len(second) == 2, "the file of the old rows is gone"
    assert len(first.items() & second.items()) == 1, "the file of the other batch was not touched"


def test_new_captions_and_shots_count_too(home: Home):
    store(home, BATCH, {"a": (0.5, 3600.0, None)})
    assert preview(home, "360p", pool(0.2), pool(0.2)).before.concepts == {NO_CAPTION: 1}
    put(home, "captions", BATCH, [{"shot_id": "a", "structured": json.dumps({"subjects": [{"TYPES": {"type": "Plant"}}]})}])
    assert preview(home, "360p", pool(0.2), pool(0.2)).before.concepts == {"Plant": 1}
    put(home, "shots", BATCH, [{"shot_id": "b", "source_id": "src_1", "start_s": 0.0, "end_s": 7200.0}])
    found = preview(home, "360p", pool(0.2), pool(0.2))
    assert found.before.counts == {"fail": 1}, "shot a is not there any more, b has no score"
    put(home, "shots", BATCH, [])
    assert preview(home, "360p", pool(0.2), pool(0.2)).before.counts == {}


@pytest.mark.parametrize("damage", ["gone", "cut", "other layout", "no index"])
def test_damaged_columns_are_made_again(damage: str, home: Home):
    store(home, BATCH, {"a": (0.1, 1.0, "Human")})
    load_wide(home)
    root = home.store.local_path("derived/wide_scores")
    assert root
    (part,) = root.glob("*.arrow")
    if damage == "gone":
        part.unlink()
    elif damage == "cut":
        part.write_bytes(part.read_bytes()[:100])
    elif damage == "other layout":
        (root / "index.json").write_text('{"layout": -1}')
        part.write_bytes(b"")
    else:
        (root / "index.json").unlink()
    assert lumas(home) == {"a": 0.1}


def test_a_signal_that_only_some_batches_have_is_unknown_in_the_others(home: Home):
    store(home, "b000001", {"a": (0.5, 1.0, "Human")})
    store(home, "b000002", {"b": (0.5, 1.0, "Human")})
    put(home, "scores", "b000002", [
        {"shot_id": "b", "signal": name, "value": 0.5, "outcome": "measured", "unit": "0 to 1"} for name in ("luma", "motion")
    ])  # fmt: skip
    asked = PoolSettings(bounds={"motion": Bound(min=0.1)})
    found = preview(home, "360p", asked, PoolSettings(bounds={}))
    assert found.gained_shots == [("a", ["motion unknown -> fail: no score"])]
    score = Score(signal="motion", value=0.5, unit="0 to 1", version="1", outcome="measured", reason="")
    assert judge({"motion": score}, asked.bounds).verdict == "pass"
    assert found.before.counts == {"pass": 1, "fail": 1}
