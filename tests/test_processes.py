"""No process outlives its reason: the caller, the supervisor and the command killed in turn, with a grandchild that ignores signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.guard import supervisor_id
from skyreels_platform.errors import TrainingError
from skyreels_platform.processes import reap, reap_orphans, run_group

# A launcher with one rank, as DeepSpeed has: the rank ignores SIGINT and SIGTERM and guards itself as model.train does.
LAUNCHER = """
import os, signal, subprocess, sys, time
rank = '''
import os, signal, sys, time
from model.guard import watch_supervisor
watch_supervisor()
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
open(sys.argv[1] + "/rank", "w").write(str(os.getpid()))
time.sleep(600)
'''
open(sys.argv[1] + "/launcher", "w").write(str(os.getpid()))
sys.exit(subprocess.call([sys.executable, "-c", rank, sys.argv[1]]))
"""

CALLER = """
import signal, sys
from pathlib import Path
from skyreels_platform.processes import run_group
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and so tests run in one, ignore it
folder = Path(sys.argv[1])
run_group([sys.executable, "-c", sys.argv[2], str(folder)], folder=folder, name="job", grace_s=0.5)
"""


def wait_for(claim: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def read_pid(folder: Path, name: str) -> int:
    wait_for(lambda: (folder / name).is_file() and (folder / name).read_text() != "")
    return int((folder / name).read_text())


def is_gone(pid: int) -> bool:
    return supervisor_id(pid) is None


@pytest.fixture
def caller(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path), LAUNCHER], start_new_session=True)
    pids = {"caller": process.pid, "launcher": read_pid(tmp_path, "launcher"), "rank": read_pid(tmp_path, "rank")}
    pids["supervisor"] = os.getpgid(pids["rank"])
    yield pids
    for pid in pids.values():
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("victim", "number"),
    [("caller", signal.SIGKILL), ("caller", signal.SIGINT), ("supervisor", signal.SIGKILL), ("launcher", signal.SIGKILL),
     ("rank", signal.SIGKILL)],
)  # fmt: skip
def test_whoever_dies_nobody_is_left(victim: str, number: signal.Signals, caller: dict[str, int], tmp_path: Path):
    os.kill(caller[victim], number)
    for name in ("rank", "launcher", "supervisor"):
        wait_for(lambda name=name: is_gone(caller[name]))


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"(?s)exit code 3.*out of memory at step 7"):
        run_group([sys.executable, "-c", "print('out of memory at step 7'); raise SystemExit(3)"], folder=tmp_path, name="job", grace_s=1)
    assert not (tmp_path / "job.pid").exists()


def test_a_command_that_ends_well_returns_and_was_polled(tmp_path: Path):
    polls: list[float] = []
    run_group([sys.executable, "-c", "import time; time.sleep(0.6)"], folder=tmp_path, name="job", grace_s=1,
              env={"X": "1"}, on_poll=lambda: polls.append(time.monotonic()))  # fmt: skip
    assert len(polls) >= 2


def test_an_error_in_the_caller_ends_the_group(tmp_path: Path):
    def fail() -> None:
        if (tmp_path / "rank").is_file() and (tmp_path / "rank").read_text():
            raise KeyError("cancelled")

    with pytest.raises(KeyError, match="cancelled"):
        run_group([sys.executable, "-c", LAUNCHER, str(tmp_path)], folder=tmp_path, name="job", grace_s=0.2, on_poll=fail)
    wait_for(lambda: is_gone(read_pid(tmp_path, "rank")))


def test_the_reaper_ends_what_a_dead_supervisor_left_and_spares_strangers(tmp_path: Path):
    folder = tmp_path / "runs" / "stage"
    folder.mkdir(parents=True)
    # a group whose leader is gone: the leader starts a sleeper and exits
    leader = subprocess.Popen(
        [sys.executable, "-c", "import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL).pid, flush=True)"],
        start_new_session=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    sleeper = int(leader.communicate()[0])
    (folder / "train.pid").write_text(f'{{"pid": {leader.pid}, "identity": "{leader.pid}:1", "command": []}}')
    assert reap_orphans(tmp_path) == [str(folder / "train.pid")]
    wait_for(lambda: is_gone(sleeper))

    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (folder / "train.pid").write_text(f'{{"pid": {stranger.pid}, "identity": "{stranger.pid}:1", "command": []}}')
    assert not reap(folder / "train.pid")
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_supervised_group_is_left_alone_by_the_sensor(caller: dict[str, int], tmp_path: Path):
    assert reap_orphans(tmp_path.parent.parent) == []
    assert not is_gone(caller["rank"])
