"""`skyreels backfill`: what is stale and why, what it will cost, and that a preview starts nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from resources.home import open_home
from resources.vectors import open_vectors
from skyreels_platform.captioning.batches import Beside, captions_provenance
from skyreels_platform.cli.backfill import make_plan, run_backfill, select_batches
from skyreels_platform.curation.backlog import Backlog, backlog
from skyreels_platform.curation.batches import score_provenance, shots_provenance
from skyreels_platform.curation.costs import measured_rates
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.errors import SkyreelsError
from skyreels_platform.home import Home
from skyreels_platform.ledger.ids import shot_id
from skyreels_platform.recipe import Recipe, load_recipe
from tests.micro import render_footage, skyreels

ASSETS = ("source_videos", "shots", "scores", "captions")
NUM_FRAMES = 100


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("laptop")


@pytest.fixture
def home(tmp_path: Path, recipe: Recipe) -> Home:
    """Two batches of two sources with two shots each, everything up to date and measured at 0.01 core-seconds a frame."""
    home = open_home(str(tmp_path / "home"))
    for batch in ("b000001", "b000002"):
        fill(home, batch, recipe)
    return home


def fill(home: Home, batch: str, recipe: Recipe) -> None:
    sources = [
        {"source_id": f"src_{batch}_{i}", "batch": batch, "uri": f"/footage/{batch}/{i}.mp4", "name": f"{i}.mp4", "media": "video",
         "status": "ready", "num_frames": NUM_FRAMES, "human_caption": "{}", "provenance": f"of {batch} {i}"}
        for i in range(2)
    ]  # fmt: skip
    shots: dict[str, list[dict[str, Any]]] = {}
    for source in sources:
        own = shots_provenance(source, recipe.shots)
        shots[source["source_id"]] = [
            {"shot_id": shot_id(source["source_id"], start, start + 50), "source_id": source["source_id"], "batch": batch,
             "start_frame": start, "end_frame": start + 50, "provenance": own}
            for start in (0, 50)
        ]  # fmt: skip
    every = [shot for group in shots.values() for shot in group]
    scores = [
        {"shot_id": shot["shot_id"], "batch": batch, "signal": name, "value": 1.0, "outcome": "measured",
         "provenance": score_provenance(name, SIGNALS[name].version, shot["provenance"])}
        for shot in every for name in SIGNALS
    ]  # fmt: skip
    captions = [
        {"shot_id": shot["shot_id"], "batch": batch, "status": "ok",
         "provenance": captions_provenance(source, shots, recipe.captions, recipe.seed, Beside())}
        for source in sources for shot in shots[source["source_id"]]
    ]  # fmt: skip
    files = [
        {"batch": batch, "uri": source["uri"], "size_bytes": 1, "modified": "m", "status": "ready", "provenance": "p"} for source in sources
    ]
    for table, rows in {"files": files, "sources": sources, "shots": every, "scores": scores, "captions": captions}.items():
        home.ledger.replace(table, batch, rows)
    home.ledger.merge("work", [
        {"source_id": source["source_id"], "step": step, "batch": batch, "num_decodes": 1, "num_frames": NUM_FRAMES,
         "wall_s": 1.0, "core_s": NUM_FRAMES * 0.01, "provenance": "p"}
        for source in sources for step in ("shots", "scores")
    ])  # fmt: skip


def plan(home: Home, recipe: Recipe, batch: str = "b000001", assets: tuple[str, ...] = ASSETS) -> dict[str, Backlog]:
    entries = backlog(home, open_vectors(f"{home.uri}/vectors"), batch, assets, recipe, measured_rates(home.ledger))
    return {entry.asset: entry for entry in entries}


def forget_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs in this process sets these for good."""
    for name in ("SKYREELS_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")


def num_stale(found: dict[str, Backlog]) -> dict[str, int]:
    return {asset: entry.num_stale for asset, entry in found.items()}


def test_an_up_to_date_batch_has_no_backlog(home: Home, recipe: Recipe):
    found = plan(home, recipe)
    assert num_stale(found) == dict.fromkeys(ASSETS, 0)
    assert all(entry.cost.core_s == 0 and entry.num_stale_rows == 0 for entry in found.values())
    assert {asset: entry.num_sources for asset, entry in found.items()} == dict.fromkeys(ASSETS, 2)


def test_a_changed_signal_is_recomputed_alone(home: Home, recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SIGNALS["sharpness"], "version", "changed")
    found = plan(home, recipe)
    assert num_stale(found) == {"source_videos": 0, "shots": 0, "scores": 2, "captions": 0}
    scores = found["scores"]
    assert scores.signals == {"sharpness": 2}
    assert scores.num_stale_rows == 4, "one row of each shot"
    assert scores.cost.core_s == pytest.approx(2 * NUM_FRAMES * 0.01)
    assert scores.longest_s == pytest.approx(NUM_FRAMES * 0.01)


def test_a_new_signal_makes_no_row_again(home: Home, recipe: Recipe):
    rows = home.ledger.rows("scores", {"batch": "b000001"}).to_pylist()
    home.ledger.replace("scores", "b000001", [row for row in rows if row["signal"] != "motion"])
    found = plan(home, recipe)["scores"]
    assert (found.signals, found.num_stale, found.num_stale_rows) == ({"motion": 2}, 2, 0)


def test_changed_shot_settings_make_everything_of_the_shots_again(home: Home, recipe: Recipe):
    changed = recipe.model_copy(update={"shots": recipe.shots.model_copy(update={"min_length_s": 0.123})})
    found = plan(home, changed)
    assert num_stale(found) == {"source_videos": 0, "shots": 2, "scores": 0, "captions": 2}
    assert (found["shots"].num_stale_rows, found["captions"].num_stale_rows) == (4, 4)
    assert found["scores"].note == "2 sources are measured while their shots are cut"
    assert num_stale(plan(home, changed, assets=("scores",))) == {"scores": 0}, "of the shots that are there"


def test_one_new_sidecar_makes_one_caption_stale(home: Home, recipe: Recipe):
    rows = home.ledger.rows("sources", {"batch": "b000001"}).to_pylist()
    rows[0]["human_caption"] = '{"caption":"A dog."}'
    home.ledger.replace("sources", "b000001", rows)
    assert num_stale(plan(home, recipe)) == {"source_videos": 0, "shots": 0, "scores": 0, "captions": 1}
    assert num_stale(plan(home, recipe, "b000002"))["captions"] == 0


def test_unread_files_are_counted_and_what_follows_is_not_guessed(home: Home, recipe: Recipe):
    home.ledger.replace("files", "b000003", [
        {"batch": "b000003", "uri": "/footage/new.mp4", "size_bytes": 5, "modified": "m", "status": "listed", "provenance": "p"}
    ])  # fmt: skip
    found = plan(home, recipe, "b000003")
    assert num_stale(found) == {"source_videos": 1, "shots": 0, "scores": 0, "captions": 0}
    assert "1 files were never read" in found["source_videos"].note


def test_batches_are_chosen_by_range_list_or_all():
    known = ["b000001", "b000002", "b000004"]
    assert select_batches("b000001...b000004", known) == known
    assert select_batches("b000002", known) == ["b000002"]
    assert select_batches("b000004, b000001", known) == ["b000001", "b000004"]
    assert select_batches("*", known) == known
    with pytest.raises(SkyreelsError, match=r"no batch 'b000003'; there are: b000001...b000004"):
        select_batches("b000001...b000003", known)
    with pytest.raises(SkyreelsError, match=r"write b000001...b000004"):
        select_batches("b000004...b000001", known)
    with pytest.raises(SkyreelsError, match="there are none"):
        select_batches("*", [])


def test_a_preview_prints_the_plan_and_starts_nothing(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    rows = home.ledger.rows("scores", {"batch": "b000002"}).to_pylist()
    stale = [row | {"provenance": "older"} if row["signal"] == "sharpness" else row for row in rows]
    home.ledger.replace("scores", "b000002", stale)
    options = ("--select", "key:shots or key:scores", "--batches", "b000001...b000002", "--preview", "--home", home.uri)
    printed = json.loads(skyreels("backfill", *options, "--json").stdout)
    assert printed["batches"] == ["b000001", "b000002"]
    assert printed["assets"] == ["shots", "scores"]
    assert [entry["num_stale"] for entry in printed["backlog"]] == [0, 0, 0, 2]
    total = printed["total"]
    assert (total["num_stale"], total["num_stale_rows"], total["is_measured"]) == (2, 4, True)
    assert total["core_s"] == pytest.approx(2 * NUM_FRAMES * 0.01)
    assert total["wall_s"] == pytest.approx(total["core_s"] / min(2, printed["workers"]["num_workers"]))
    forget_environment(monkeypatch)
    run_backfill("key:shots or key:scores", "*", True, home.uri, None, False)
    text = capsys.readouterr().out
    assert "b000002 scores: recomputes sharpness in 2 sources, and no other signal" in text
    assert "2 sources to work on, 2.0 (2.0 to 2.0) core-seconds" in text
    assert home.ledger.rows("scores", {"batch": "b000002"}).to_pylist() == sorted(stale, key=lambda row: (row["shot_id"], row["signal"]))
    assert not (Path(home.uri) / "dagster" / "storage").exists(), "not even an instance"


def test_a_backfill_makes_stale_batches_one_after_another(tmp_path: Path):
    from skyreels_platform.footage import list_footage
    from skyreels_platform.ingest import register_batch

    home = open_home(str(tmp_path / "home"))
    for film in render_footage(tmp_path / "films"):
        register_batch(home.ledger, list_footage([film], open_store=home.open_store))
    options = ("--select", "source_videos", "--batches", "*", "--home", home.uri)
    done = skyreels("backfill", *options, "--json")
    assert json.loads(done.stdout)["made"] == ["b000001", "b000002"]
    assert "2 of 2 batches were made" in done.stderr
    assert home.ledger.rows("sources")["status"].to_pylist() == ["ready", "ready"]
    assert make_plan(home, ["b000001", "b000002"], ["source_videos"], [], "laptop")["total"]["num_stale"] == 0


def test_what_cannot_be_backfilled_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch):
    forget_environment(monkeypatch)
    with pytest.raises(SkyreelsError, match=r"'pool_256p' has no asset that is made per batch; .* skyreels run --select 'pool_256p'"):
        run_backfill("pool_256p", "*", True, home.uri, None, False)
