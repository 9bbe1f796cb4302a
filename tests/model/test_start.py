"""Ranks of one machine: their environment, what a failing one does to the others, and that none outlives the starter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.guard import supervisor_id

ROOT = Path(__file__).resolve().parents[2]
TRAIN = '''
import json, os, signal, sys, time
rank, folder = os.environ["RANK"], sys.argv[-1]
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES")
def put(name, value):
    with open(f"{folder}/.{name}", "w") as file: file.write(value)
    os.rename(f"{folder}/.{name}", f"{folder}/{name}")
def stop(number, frame):
    put(f"stopped-{rank}", str(number))
    sys.exit(0)
if "deaf" not in sys.argv: signal.signal(signal.SIGTERM, stop)
else: signal.signal(signal.SIGTERM, signal.SIG_IGN)
put(f"rank-{rank}", json.dumps({**{name: os.environ[name] for name in names}, "pid": os.getpid(), "argv": sys.argv[1:]}))
if rank == "1" and "fail" in sys.argv:
    while not os.path.exists(f"{folder}/rank-0"): time.sleep(0.01)
    sys.exit(3)
time.sleep(0 if "pass" in sys.argv else 60)
'''


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A package `model` whose `train` only writes down who it is; the real starter runs on top of it."""
    package = tmp_path / "path" / "model"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "train.py").write_text(TRAIN)
    for name in ("start.py", "guard.py"):
        (package / name).write_bytes((ROOT / "model" / name).read_bytes())
    return tmp_path


def run(module: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "model.start", "--devices", "0,2", "--master_port", "12345", "--", *words, str(module)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(module / "path")}, cwd=module)


def facts(module: Path, rank: int) -> dict[str, object]:
    path = module / f"rank-{rank}"
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, "the rank did not start"
        time.sleep(0.01)
    return json.loads(path.read_text())


def test_ranks_get_their_place_and_their_arguments(module: Path):
    assert run(module, "pass").wait(30) == 0
    for rank in (0, 1):
        found = facts(module, rank)
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"]) == (str(rank), str(rank), "2")
        assert (found["MASTER_ADDR"], found["MASTER_PORT"], found["CUDA_VISIBLE_DEVICES"]) == ("127.0.0.1", "12345", "0,2")
        assert found["argv"] == [f"--local_rank={rank}", "pass", str(module)]


@pytest.mark.parametrize("words", [("fail",), ("fail", "deaf")])
def test_a_failing_rank_ends_the_others_and_gives_its_code(words: tuple[str, ...], module: Path):
    assert run(module, *words).wait(30) == 3
    assert supervisor_id(int(str(facts(module, 0)["pid"]))) is None
    assert (module / "stopped-0").exists() == ("deaf" not in words), "a rank that listens may still say what it saw"


def test_a_stop_is_passed_on_and_waited_for(module: Path):
    process = run(module)
    for rank in (0, 1):
        facts(module, rank)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert [(module / f"stopped-{rank}").read_text() for rank in (0, 1)] == [str(int(signal.SIGTERM))] * 2
