"""Each kind of fault with the incident, the restart or the error that it must lead to; ranks that count steps stand in for training."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import find_checkpoints
from model.guard import supervisor_id
from model.heartbeat import Heartbeat, next_attempt, read_ranks
from model.journal import LOSSES, read_lines
from model.spec import TrainSpec
from skyreels_platform.errors import TrainingError
from skyreels_platform.recipe import LaunchSettings
from skyreels_platform.training import supervisor
from skyreels_platform.training.ranks import Slot
from skyreels_platform.training.supervisor import incidents_of, train_supervised
from tests.micro import processes_of
from tests.model.tiny_run import make_spec
from tests.training.fake_ranks import NUM_STEPS

LAUNCH = LaunchSettings(num_ranks=2, zero_stage=1, accelerator="cpu", dtype="float32", grace_s=1.0, hang_floor_s=2.0,
                        start_timeout_s=30.0, max_restarts=4, restart_wait_s=0.05)  # fmt: skip


def fake_command(spec_path: Path, launch: LaunchSettings, slots: list[Slot], attempt: int) -> list[str]:
    places = ",".join(str(slot) for slot in slots)
    return [sys.executable, "-m", "tests.training.fake_ranks", str(spec_path.parent), str(attempt), places]


class Run:
    """A run folder and what is to go wrong in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: TrainSpec = make_spec(folder, folder / "latents", num_steps=NUM_STEPS, batch_size=4)

    def train(self, *faults: dict[str, Any], launch: LaunchSettings = LAUNCH, on_poll: Callable[[], None] = lambda: None) -> None:
        (self.folder / "faults.json").write_text(json.dumps(faults))
        train_supervised(self.folder / "spec.json", self.spec, launch, env={}, on_poll=on_poll)

    def incidents(self, *keys: str) -> list[tuple[Any, ...]]:
        return [tuple(incident[key] for key in keys) for incident in incidents_of(self.folder)]

    def is_whole(self) -> bool:
        steps = [line["step"] for line in read_lines(self.folder / LOSSES)]
        return steps == list(range(NUM_STEPS)) and find_checkpoints(self.folder)[-1].step == NUM_STEPS


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(supervisor, "deepspeed_command", fake_command)
    return Run(tmp_path / "run")


def test_a_run_without_faults_writes_no_incident(run: Run):
    run.train()
    assert run.is_whole()
    assert incidents_of(run.folder) == []


@pytest.mark.parametrize(
    ("what", "rank", "kind"),
    [("die", 1, "dead_rank"), ("stop", 1, "hung_rank"), ("compute for ever", 0, "stuck"), ("poison", 1, "non_finite"),
     *(pytest.param(*case, marks=pytest.mark.slow) for case in (
         ("die", 0, "dead_rank"), ("lose a peer", 0, "failed_rank"), ("kill the launcher", 0, "launcher")))],
)  # fmt: skip
def test_a_fault_is_named_and_the_run_goes_on_from_its_checkpoint(what: str, rank: int, kind: str, run: Run):
    run.train({"attempt": 1, "rank": rank, "step": 6, "do": what})
    assert run.is_whole()
    (incident,) = incidents_of(run.folder)
    assert (incident["kind"], incident["step"]) == (kind, 6)
    assert incident["rank"] == (rank if kind in ("dead_rank", "hung_rank", "failed_rank") else None)
    assert incident["action"] == "restarted from step 4 with 2 ranks"
    assert 0.1 < incident["seconds_lost"] < 20
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", incident["time"])
    assert processes_of(run.folder) == {}


def test_a_slot_that_fails_twice_is_left_out_and_the_rest_goes_on(run: Run):
    run.train({"slot": "localhost:0", "step": 5, "do": "die"})
    assert run.is_whole()
    assert run.incidents("kind", "rank", "action") == [
        ("dead_rank", 0, "restarted from step 4 with 2 ranks"),
        ("dead_rank", 0, "restarted from step 4 with 1 ranks instead of 2"),
    ]
    assert [state["rank"] for state in read_ranks(run.folder)] == [0]


def test_a_crash_loop_at_one_step_ends_with_the_log(run: Run):
    with pytest.raises(TrainingError, match=r"(?s)dead_rank at step 6: .*failed 3 times in a row.*incidents.jsonl.*die at step 6"):
        run.train({"step": 6, "rank": 0, "do": "die"}, launch=LAUNCH.model_copy(update={"num_ranks": 1}))
    assert not run.is_whole()
    assert processes_of(run.folder) == {}


@pytest.mark.slow
def test_an_error_of_a_ranks_own_is_not_tried_a_third_time(run: Run):
    with pytest.raises(TrainingError, match=r"non_finite at step 6: NonFiniteError: poison at step 6"):
        run.train({"step": 6, "rank": 1, "do": "poison"})
    assert [kind for kind, _ in run.incidents("kind", "action")] == ["non_finite", "non_finite"]


@pytest.mark.slow
def test_too_many_restarts_without_a_checkpoint_end_the_stage(run: Run):
    faults = [{"attempt": 1 + 2 * life, "rank": life % 2, "step": 4 + life % 4, "do": "die"} for life in range(4)]
    with pytest.raises(TrainingError, match="max_restarts = 2 restarts brought no new checkpoint"):
        run.train(*faults, launch=LAUNCH.model_copy(update={"max_restarts": 2, "hang_floor_s": 5.0}))


@pytest.mark.slow
def test_a_new_checkpoint_renews_the_allowance(run: Run):
    run.train({"attempt": 1, "step": 2, "rank": 0, "do": "die"}, {"attempt": 3, "step": 6, "rank": 0, "do": "die"},
              {"attempt": 5, "step": 10, "rank": 0, "do": "die"}, launch=LAUNCH.model_copy(update={"max_restarts": 1}))  # fmt: skip
    assert run.is_whole()
    assert run.incidents("step") == [(2,), (6,), (10,)]


@pytest.mark.parametrize("what", ["refuse", "fill the disk"])
def test_what_no_restart_mends_ends_at_once(what: str, run: Run):
    step = 0 if what == "refuse" else 6
    with pytest.raises(TrainingError, match=f"(?s){what} at step {step}.*a restart would meet the same"):
        run.train({"step": step, "rank": 0, "do": what})
    run.train()
    assert run.is_whole()
    assert len(incidents_of(run.folder)) == 1, "the next start has nothing to add"


def test_a_batch_that_does_not_divide_is_refused_before_anything_starts(run: Run):
    with pytest.raises(TrainingError, match="batch_size 4 does not divide among 3 ranks"):
        run.train(launch=LAUNCH.model_copy(update={"num_ranks": 3}))
    assert not (run.folder / "train.log").exists()


def test_a_cancelled_run_is_no_fault_and_leaves_no_process(run: Run):
    def cancel() -> None:
        if len(read_lines(run.folder / LOSSES)) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(on_poll=cancel)
    assert incidents_of(run.folder) == []
    assert processes_of(run.folder) == {}


def test_a_killed_supervisor_is_told_of_by_the_next_one(run: Run):
    next_attempt(run.folder)
    Heartbeat(run.folder, 0)  # a rank that was at work when everything was killed
    run.train()
    assert run.incidents("kind", "action") == [("interrupted", "resumed from step 0")]


def test_a_rank_of_an_earlier_start_ends_when_the_folder_is_taken(tmp_path: Path):
    """As on another host, where neither the process group nor the supervisor's id reaches."""
    first = next_attempt(tmp_path)
    code = "import sys, time; from pathlib import Path; from model.heartbeat import Heartbeat; "
    code += "Heartbeat(Path(sys.argv[1]), 0, int(sys.argv[2])); time.sleep(60)"
    rank = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(first)], stdout=subprocess.DEVNULL)
    try:
        while not (states := read_ranks(tmp_path)) or states[0]["beats"] < 2:
            assert rank.poll() is None
            time.sleep(0.05)
        assert supervisor_id(rank.pid)
        next_attempt(tmp_path)
        assert rank.wait(timeout=10) == 1
    finally:
        if rank.poll() is None:
            os.kill(rank.pid, signal.SIGKILL)
            rank.wait()
