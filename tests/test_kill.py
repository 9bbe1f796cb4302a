"""SIGKILL anywhere: the result of an uninterrupted run, no process left, no half-written file read.

What trains is replaced by the command itself; the command is run again. The number in a test's id seeds its moments. The quick tests
start from the result of the data chain or of the stages before and kill inside one training stage; the slow ones kill every kind of
process at several moments, the demo from its very start on. Faults of ranks in all their kinds: tests/training/test_healing.py.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.checkpoint import MANIFEST, find_checkpoints, verify_folder
from model.guard import supervisor_id
from model.journal import read_lines
from resources.home import open_home
from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.training.supervisor import incidents_of
from tests.micro import BIN, NUM_STEPS, ROOT, STAGES, Micro, processes_of, result_of, whole_home

_LAST_MOMENT = NUM_STEPS - 4  # logged steps; later the run might be over before the signal arrives
_WAIT_S = 600.0  # a loaded machine
_FINISH_S = 1500.0


pytestmark = pytest.mark.timeout(1800)  # the first test waits for the one whole run: a minute, or many beside other work


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    return whole_home(tmp_path_factory.getbasetemp())


class Victim:
    """One command on one home, started as often as it takes."""

    def __init__(self, micro: Micro, root: Path, command: list[str]) -> None:
        self.root, self.command = root, [str(BIN / command[0]), *command[1:]]
        self.log = root.with_name("log.txt")
        self.environment = {
            **os.environ, "SKYREELS_HOME": str(root), "SKYREELS_RECIPE": str(micro.recipe), "DAGSTER_HOME": str(root / "dagster"),
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        return self.process

    def finish(self) -> None:
        """Run to the end; the log is the assertion's message."""
        process = self.process if self.process and self.process.poll() is None else self.start()
        assert process.wait(timeout=_FINISH_S) == 0, self.log.read_text(errors="replace")[-4000:]

    def end(self) -> None:
        for pid in processes_of(self.root):
            os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait()


@pytest.fixture
def victim(micro: Micro, tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    started: list[Victim] = []

    def make(*command: str) -> Victim:
        started.append(Victim(micro, tmp_path / "home", list(command)))
        return started[0]

    yield make
    for each in started:
        each.end()


def wait_for(claim: Callable[[], object], what: str, seconds: float = _WAIT_S, poll_s: float = 0.002) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(poll_s)


def wait_for_step(victim: Victim, stage: str, step: int) -> None:
    """Wait until a stage has logged a number of optimizer steps."""

    def reached() -> bool:
        assert victim.process
        assert victim.process.poll() is None, victim.log.read_text(errors="replace")[-4000:]
        return any(len(read_lines(path)) >= step for path in victim.root.glob(f"work/runs/{stage}-*/losses.jsonl"))

    wait_for(reached, f"step {step} of {stage}")


def rank(victim: Victim, number: int) -> int:
    return find(victim, lambda command: "model.train" in command and f"--local_rank={number}" in command)


def launcher(victim: Victim) -> int:
    # The supervisor's command line holds the launcher's.
    return find(victim, lambda command: "model.start" in command and "skyreels_platform.processes" not in command)


def supervisor_parent(victim: Victim) -> int:
    """The process that started the supervisor: the Dagster step, or the command itself where the step runs inside it."""
    supervisor = find(victim, lambda command: "-m skyreels_platform.processes" in command)
    return int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])


def find(victim: Victim, claim: Callable[[str], bool]) -> int:
    found = [pid for pid, command in processes_of(victim.root).items() if claim(command)]
    assert len(found) == 1, processes_of(victim.root)
    return found[0]


def assert_nothing_runs(root: Path) -> None:
    deadline = time.monotonic() + 20
    while left := processes_of(root):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.1)


def assert_whatever_is_there_is_whole(home: Home) -> None:
    """All that a reader would take: tables, checkpoints of runs, published checkpoints, films."""
    root = Path(home.uri)
    for table in TABLES:
        home.ledger.rows(table)
    for run in root.glob("work/runs/*"):
        for checkpoint in find_checkpoints(run):
            assert verify_folder(checkpoint.path) == [], checkpoint.path
    for manifest in root.glob("store/*/**/manifest.json"):
        assert verify_folder(manifest.parent) == [], manifest
    for row in home.ledger.rows("checkpoints").to_pylist():
        assert verify_folder(home.fetch(row["path"])) == []
    for row in home.ledger.rows("films").to_pylist():
        assert home.store.exists(row["path"])


def assert_equal_to_uninterrupted(home: Home, micro: Micro, *, stages: tuple[str, ...] = ()) -> None:
    """The whole result, or the checkpoints of some stages."""
    ours, theirs = result_of(home), result_of(micro.home)
    if stages:
        assert {stage: ours["checkpoints"].get(stage) for stage in stages} == {stage: theirs["checkpoints"][stage] for stage in stages}
        return
    assert ours == theirs


# ---- one rank, the launcher ----------------------------------------------------------------------------------------------------


def kill_during_training(micro: Micro, command: Victim, choose: Callable[[Victim], int], seed: int, kind: str) -> None:
    """Kill one process of `skyreels train pretrain_256p` at a random step: the command starts it anew and says so."""
    home = micro.data_home(command.root)
    moment = random.Random(seed).randint(1, _LAST_MOMENT)
    command.start()
    wait_for_step(command, "pretrain_256p", moment)
    os.kill(choose(command), signal.SIGKILL)
    command.finish()
    assert_equal_to_uninterrupted(home, micro, stages=("pretrain_256p",))
    assert_nothing_runs(command.root)
    assert_whatever_is_there_is_whole(home)
    (run,) = command.root.glob("work/runs/pretrain_256p-*")
    assert [incident["kind"] for incident in incidents_of(run)] == [kind]
    (row,) = home.ledger.rows("checkpoints").to_pylist()
    published = json.loads((home.fetch(row["path"]) / MANIFEST).read_text())
    assert published["incidents"] == incidents_of(run), "the checkpoint tells what happened on its way"


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_a_killed_rank(seed: int, micro: Micro, victim: Callable[..., Victim]):
    number = random.Random(seed).randrange(2)
    kill_during_training(micro, victim("skyreels", "train", "pretrain_256p"), lambda command: rank(command, number), seed, "dead_rank")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_killed_launcher(seed: int, micro: Micro, victim: Callable[..., Victim]):
    kill_during_training(micro, victim("skyreels", "train", "pretrain_256p"), launcher, seed, "launcher")


# ---- the Dagster step ----------------------------------------------------------------------------------------------------------

STEP = ("dagster", "asset", "materialize", "-m", "skyreels_platform.definitions", "-d", str(ROOT), "--select")


@pytest.mark.parametrize("seed", [21, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (22, 23))])
def test_a_killed_dagster_step(seed: int, micro: Micro, victim: Callable[..., Victim]):
    command = victim(*STEP, "pretrain_256p")
    home = micro.data_home(command.root)
    moment = random.Random(seed).randint(1, _LAST_MOMENT)
    process = command.start()
    wait_for_step(command, "pretrain_256p", moment)
    step = supervisor_parent(command)
    assert step != process.pid, "the executor must run a step in a process of its own"
    os.kill(step, signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    assert_nothing_runs(command.root)
    assert not home.ledger.rows("checkpoints").num_rows
    assert_whatever_is_there_is_whole(home)
    command.finish()
    assert_equal_to_uninterrupted(home, micro, stages=("pretrain_256p",))
    assert_nothing_runs(command.root)


# ---- the demo itself -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "seed"),
    [("diffusion_forcing", 31), *(pytest.param("pretrain_256p", seed, marks=pytest.mark.slow) for seed in (32, 33))],
)
def test_a_demo_killed_while_training(stage: str, seed: int, micro: Micro, victim: Callable[..., Victim]):
    command = victim("skyreels", "demo", "--source", str(micro.footage))
    home = micro.data_home(command.root, STAGES[: STAGES.index(stage)])
    process = command.start()
    wait_for_step(command, stage, random.Random(seed).randint(1, _LAST_MOMENT))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert_nothing_runs(command.root)
    assert not home.ledger.rows("checkpoints", {"stage": stage}).num_rows
    assert_whatever_is_there_is_whole(home)
    command.finish()
    assert_equal_to_uninterrupted(home, micro)
    assert_nothing_runs(command.root)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [41, 42])
def test_a_demo_killed_again_and_again_from_its_start(seed: int, micro: Micro, victim: Callable[..., Victim]):
    """Every life is a random time, measured on this machine against the time that an uninterrupted demo takes."""
    command = victim("skyreels", "demo", "--source", str(micro.footage))
    chance = random.Random(seed)
    home = open_home(str(command.root))
    num_kills = 0
    for _ in range(6):
        process = command.start()
        try:
            process.wait(timeout=chance.uniform(0.1, 0.8) * micro.demo_seconds)
            break
        except subprocess.TimeoutExpired:
            num_kills += 1
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert_nothing_runs(command.root)
        assert_whatever_is_there_is_whole(home)
    assert num_kills >= 2
    command.finish()
    assert_equal_to_uninterrupted(home, micro)
    assert_nothing_runs(command.root)


# ---- the supervisor together with its parent: only the ranks' own watch and the next start are left ----------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [51, 52])
def test_a_demo_killed_together_with_its_supervisor(seed: int, micro: Micro, victim: Callable[..., Victim]):
    command = victim("skyreels", "demo", "--source", str(micro.footage))
    home = micro.data_home(command.root)
    process = command.start()
    wait_for_step(command, "pretrain_256p", random.Random(seed).randint(1, _LAST_MOMENT))
    supervisor = find(command, lambda text: "-m skyreels_platform.processes" in text)
    os.kill(supervisor, signal.SIGKILL)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: supervisor_id(supervisor) is None, "the supervisor's end", 20)
    assert_nothing_runs(command.root)
    assert_whatever_is_there_is_whole(home)
    command.finish()
    assert_equal_to_uninterrupted(home, micro)
