"""Real ranks under the supervisor, disturbed at random moments: the run heals by itself and ends as the undisturbed one did.

A seed in a test's id chooses moment and victim. The quick tests take one moment per kind of fault; a slow one takes six of them, of any
kind, in one run: 24 random moments with four seeds.
"""

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import find_checkpoints, verify_folder
from model.guard import supervisor_id
from model.heartbeat import read_ranks
from model.journal import LOSSES, SEEN, read_lines
from model.latents import INDEX, LatentSet
from model.spec import TrainSpec
from skyreels_platform.errors import TrainingError
from skyreels_platform.recipe import LaunchSettings
from skyreels_platform.training.supervisor import incidents_of, train_supervised
from tests.micro import processes_of
from tests.model.tiny_run import make_latents, make_spec, outcome

STEPS, LONG, EVERY = 60, 480, 7
LAUNCH = LaunchSettings(num_ranks=2, zero_stage=1, accelerator="cpu", dtype="float32", grace_s=5.0, hang_floor_s=6.0,
                        start_timeout_s=240.0, max_restarts=4, restart_wait_s=2.0)  # fmt: skip


Act = Callable[["Run"], None]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_latents(tmp_path_factory.mktemp("latents") / "lat")


@pytest.fixture(scope="module")
def whole(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbs."""
    run = Run(tmp_path_factory.mktemp("whole") / "run", latents)
    run.train()
    return run.folder


@pytest.fixture(scope="module")
def long(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for longer runs."""
    run = Run(tmp_path_factory.mktemp("long") / "run", latents, num_steps=LONG)
    run.train()
    return run.folder


class Run:
    """One run folder under the supervisor."""

    def __init__(self, folder: Path, latents: Path, **changes: Any) -> None:
        self.folder, self.latents = folder, latents
        self.spec: TrainSpec = make_spec(folder, latents, **{"num_steps": STEPS, "checkpoint_every": EVERY, **changes})

    def train(self, *acts: Act) -> None:
        """Train to the end while a thread does one act after another; its failure is the test's."""
        failures: list[BaseException] = []

        def disturb() -> None:
            try:
                for act in acts:
                    act(self)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=disturb, daemon=True)
        thread.start()
        try:
            train_supervised(self.folder / "spec.json", self.spec, LAUNCH, env={}, on_poll=lambda: None)
        finally:
            thread.join(timeout=10)
            assert not failures, failures
            assert not thread.is_alive(), "the disturbance never came"
            assert processes_of(self.folder) == {}

    def incidents(self, *keys: str) -> list[tuple[Any, ...]]:
        return [tuple(incident[key] for key in keys) for incident in incidents_of(self.folder)]

    def assert_equals(self, whole: Path) -> None:
        assert outcome(self.folder) == outcome(whole)
        for checkpoint in find_checkpoints(self.folder):
            assert verify_folder(checkpoint.path) == []
        assert not list((self.folder / "checkpoints").glob(".*")), "no temporary is left"


@pytest.fixture
def run(latents: Path, tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path / "run", latents)
    yield made
    for pid in processes_of(made.folder):
        os.kill(pid, signal.SIGKILL)


def wait_for(claim: Callable[[], Any], what: str, seconds: float = 200) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.002)
    return found


def at_step(step: int) -> Act:
    return lambda run: wait_for(lambda: len(read_lines(run.folder / LOSSES)) >= step, f"step {step}")


def steps_later(count: int) -> Act:
    """Wait for so many steps more than there are now."""
    return lambda run: at_step(len(read_lines(run.folder / LOSSES)) + count)(run)


def rank(number: int) -> Callable[[Run], int]:
    def find(run: Run) -> int:
        state = wait_for(lambda: next((s for s in read_ranks(run.folder) if s["rank"] == number), None), f"rank {number}")
        return state["pid"]

    return find


def launcher(run: Run) -> int:
    found = [pid for pid, text in processes_of(run.folder).items() if "model.start" in text and "processes" not in text]
    assert len(found) == 1
    return found[0]


def group_supervisor(run: Run) -> int:
    (found,) = (pid for pid, text in processes_of(run.folder).items() if "-m skyreels_platform.processes" in text)
    return found


def send(number: signal.Signals, choose: Callable[[Run], int]) -> Act:
    return lambda run: os.kill(choose(run), number)


def damage(chance: random.Random) -> Act:
    """Flip one bit somewhere in the newest checkpoint while the run is down."""

    def act(run: Run) -> None:
        wait_for(lambda: processes_of(run.folder) == {}, "the end of this start")
        newest = find_checkpoints(run.folder)[-1].path
        path = chance.choice([path for path in sorted(newest.rglob("*")) if path.is_file()])
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)

    return act


def restarts(run: Run) -> list[str]:
    return [action for (action,) in run.incidents("action") if action.startswith("restarted")]


def at_checkpoint(count: int) -> Act:
    """Wait until the start after `count` restarts has written a checkpoint of its own, a little or much after its first step."""

    def claim(run: Run) -> bool:
        since = [int(action.split()[3]) for action in restarts(run)]  # restarted from step 14 with 2 ranks
        return len(since) == count and any(checkpoint.step > max(since, default=0) for checkpoint in find_checkpoints(run.folder))

    return lambda run: wait_for(lambda: claim(run), f"a checkpoint of start {count + 1}", 200)


def at_work(count: int) -> Act:
    """Wait until both ranks of the start after `count` restarts are at work."""

    def claim(run: Run) -> bool:
        ranks = [state for state in read_ranks(run.folder) if state["phase"] == "step" and supervisor_id(state["pid"])]
        return len(restarts(run)) == count and len(ranks) == 2

    return lambda run: wait_for(lambda: claim(run), f"start {count + 1}", 200)


# ---- one fault -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 101])
def test_a_killed_rank(seed: int, run: Run, whole: Path):
    chance = random.Random(seed)
    number = chance.randrange(2)
    run.train(at_step(chance.randint(1, STEPS - 10)), send(signal.SIGKILL, rank(number)))
    run.assert_equals(whole)
    assert run.incidents("kind", "rank") == [("dead_rank", number)]


@pytest.mark.parametrize("seed", [200])
def test_a_stopped_rank(seed: int, run: Run, whole: Path):
    chance = random.Random(seed)
    number = chance.randrange(2)
    run.train(at_step(chance.randint(1, STEPS - 10)), send(signal.SIGSTOP, rank(number)))
    run.assert_equals(whole)
    assert run.incidents("kind", "rank") == [("hung_rank", number)]


@pytest.mark.parametrize("seed", [300])
def test_a_killed_rank_and_a_damaged_checkpoint_that_gives_way_to_the_one_before(seed: int, run: Run, whole: Path):
    chance = random.Random(seed)
    run.train(at_step(chance.randint(2 * EVERY + 2, STEPS - 10)), send(signal.SIGKILL, rank(0)), damage(chance))
    run.assert_equals(whole)
    killed, damaged = run.incidents("kind", "rank", "action", "seconds_lost")
    assert killed[:2] == ("dead_rank", 0)
    assert re.fullmatch(r"restarted from step \d+ with 2 ranks", killed[2])
    assert killed[3] > 0
    assert damaged[0] == "bad_checkpoint"
    assert len(list((run.folder / "checkpoints").glob("bad-step-*"))) == 1


# ---- many faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [400, 401, 402, 403])
def test_six_faults_of_any_kind_at_random_moments_of_one_run(seed: int, latents: Path, long: Path, tmp_path: Path):
    """Between two moments lies a new checkpoint, so that no slot is given up; everything else is chance. A moment is counted from what
    the run has done, so it comes on every machine, and six of them take less than half of the run's steps."""
    chance = random.Random(seed)
    run = Run(tmp_path / "run", latents, num_steps=LONG)
    acts: list[Act] = []
    expected: list[str] = []
    for number in range(6):
        what: str = chance.choice(["kill", "stop", "launcher", "group", "damage"][: 5 if number > 1 else 4])
        victim = {"launcher": launcher, "group": group_supervisor}.get(what, rank(chance.randrange(2)))
        acts += [at_checkpoint(number), steps_later(chance.randint(1, 2 * EVERY))]
        acts += [send(signal.SIGSTOP if what == "stop" else signal.SIGKILL, victim)]
        acts += [damage(chance)] if what == "damage" else []
        expected += {"kill": ["dead_rank"], "stop": ["hung_rank"], "damage": ["dead_rank", "bad_checkpoint"]}.get(what, ["launcher"])
    run.train(*acts)
    run.assert_equals(long)
    assert [kind for (kind,) in run.incidents("kind")] == expected


@pytest.mark.slow
def test_a_slot_that_kills_its_rank_twice_is_left_out(latents: Path, long: Path, tmp_path: Path):
    """No checkpoint comes between the deaths. The same clips and noise on one rank: the path differs by the order of additions alone."""
    run = Run(tmp_path / "run", latents, num_steps=LONG, checkpoint_every=LONG)
    run.train(at_step(3), send(signal.SIGKILL, rank(1)), at_work(1), send(signal.SIGKILL, rank(1)))
    assert [action for (action,) in run.incidents("action")][-1].endswith("with 1 ranks instead of 2")
    ours, theirs = (read_lines(folder / LOSSES)[:STEPS] for folder in (run.folder, long))  # later the rounding has grown
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-3)
    assert read_lines(run.folder / SEEN) == read_lines(long / SEEN)


# ---- numbers that are not finite -----------------------------------------------------------------------------------------------


class Poison:
    """NaN in the stored latents of some clips, in place: the ranks see it at once, as they would see a failing disk or memory."""

    def __init__(self, folder: Path, clips: list[str]) -> None:
        self._spans: list[tuple[Path, int, bytes]] = []
        for line in (folder / INDEX).read_text().splitlines():
            clip = json.loads(line)
            if clip["clip_id"] in clips:
                data = (folder / clip["shard"]).read_bytes()
                header = int.from_bytes(data[:8], "little")
                begin, end = json.loads(data[8 : 8 + header])[clip["clip_id"]]["data_offsets"]
                self._spans.append((folder / clip["shard"], 8 + header + begin, data[8 + header + begin : 8 + header + end]))

    def _write(self, bytes_of: Callable[[bytes], bytes]) -> None:
        for path, start, data in self._spans:
            with path.open("r+b") as file:
                file.seek(start)
                file.write(bytes_of(data))

    def apply(self, run: Run) -> None:
        self._write(lambda data: b"\xff" * len(data))

    def undo(self, run: Run) -> None:
        self._write(lambda data: data)


def poisonable(tmp_path: Path) -> Run:
    """A run with latents of its own."""
    return Run(tmp_path / "run", make_latents(tmp_path / "lat"))


def train_poisoned(folder: Path, *acts: Act, num_starts: int = 1) -> dict[str, bytes]:
    """Train with a clip that is broken from the start: its batches are drawn anew, no step is lost or taken with NaN."""
    run = poisonable(folder)
    Poison(run.latents, ["clip_3"]).apply(run)
    run.train(*acts)
    told = [incident for incident in incidents_of(run.folder) if incident["kind"] == "non_finite"]
    assert len(told) == num_starts, "each start finds it out once"
    assert all("['clip_3']" in incident["detail"] and "other clips" in incident["action"] for incident in told)
    seen = [clip for line in read_lines(run.folder / SEEN) for clip in line["clips"]]
    assert len(seen) == 4 * STEPS
    assert "clip_3" not in seen
    return outcome(run.folder)


def test_one_poisoned_clip_costs_its_batches_and_nothing_else(tmp_path: Path):
    train_poisoned(tmp_path)


@pytest.mark.slow
def test_a_poisoned_clip_gives_the_same_result_on_every_number_of_starts(tmp_path: Path):
    once = train_poisoned(tmp_path / "once")
    assert train_poisoned(tmp_path / "twice", at_step(20), send(signal.SIGKILL, rank(1)), num_starts=2) == once


@pytest.mark.slow
@pytest.mark.parametrize("seed", [600, 601])
def test_data_that_is_broken_for_a_while(seed: int, tmp_path: Path, whole: Path):
    """Every clip breaks at some moment and is mended once the run has told of it: the run rolls back and ends as if nothing had been."""
    run = poisonable(tmp_path)
    everything = Poison(run.latents, [clip.clip_id for clip in LatentSet(run.latents).clips])

    def told(run: Run) -> None:
        wait_for(lambda: any(kind == "non_finite" for (kind,) in run.incidents("kind")), "the incident")

    run.train(at_step(random.Random(seed).randint(2, STEPS - 10)), everything.apply, told, everything.undo)
    run.assert_equals(whole)


@pytest.mark.slow
def test_data_that_stays_broken_ends_with_rate_step_and_clips(tmp_path: Path):
    run = poisonable(tmp_path)
    Poison(run.latents, [clip.clip_id for clip in LatentSet(run.latents).clips]).apply(run)
    with pytest.raises(TrainingError, match=r"(?s)non_finite at step 0: .*at step 0, learning rate 0.005, in \d+ tries.*clip_") as caught:
        run.train()
    assert "latents that are not finite: ['clip_" in str(caught.value)
    assert find_checkpoints(run.folder) == []
