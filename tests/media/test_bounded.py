import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from skyreels_platform.errors import DecodeError, GateError, MissingExtraError
from skyreels_platform.media import bounded
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.media.probe import probe
from tests.media import broken_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def worker() -> Iterator[BoundedWorker]:
    with BoundedWorker(memory_bytes=768 << 20, timeout_s=60) as worker:
        yield worker


def add(a: int, b: int = 0) -> int:
    return a + b


def own_id() -> int:
    return os.getpid()


def segfault() -> None:
    ctypes.string_at(0)


def allocate(size: int) -> int:
    return len(np.ones(size, np.uint8))


def allocate_in_torch(size: int) -> None:
    import torch

    torch.ones(size, dtype=torch.uint8)


def matrix_product() -> float:
    import cv2
    import torch

    assert cv2.resize(np.ones((4, 4, 3), np.uint8), (64, 64)).shape == (64, 64, 3)
    return float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())


def sleep_with_child(note: str) -> None:
    child = subprocess.Popen(["sleep", "300"])
    Path(note).write_text(str(child.pid), encoding="ascii")
    time.sleep(300)


def count(number: int, size: int) -> Generator[np.ndarray, None, int]:
    """Yields so many arrays of so many bytes, and returns how many."""
    for value in range(number):
        yield np.full(size, value, np.uint8)
    return number


def fail(kind: str) -> None:
    if kind == "gate":
        raise GateError("batch b000001 is held back")
    if kind == "extra":
        raise MissingExtraError("torch", "train", "Training")
    if kind == "exit":
        sys.exit(3)
    raise KeyError("no such thing")


def return_a_lock() -> object:
    import threading

    return threading.Lock()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_results_come_back_from_one_reused_child(worker: BoundedWorker) -> None:
    assert worker.call(add, 2, b=3) == 5
    first = worker.call(own_id)
    assert first != os.getpid()
    big = worker.call(np.arange, 5_000_000)
    assert big[-1] == 4_999_999
    assert worker.call(own_id) == first


def test_a_generator_is_handed_over_piece_by_piece(worker: BoundedWorker) -> None:
    seen: list[int] = []
    size = worker.memory_bytes // 8
    assert worker.call_in_parts(lambda part: seen.append(int(part[-1])), count, 12, size) == 12  # half as much again as its memory in all
    assert seen == list(range(12))
    with pytest.raises(TypeError, match="call_in_parts"):
        worker.call(count, 1, 1)
    assert worker.call(add, 1) == 1


def test_the_child_ends_with_the_block() -> None:
    with BoundedWorker(memory_bytes=768 << 20, timeout_s=20) as worker:
        child = worker.call(own_id)
        assert is_running(child)
    assert not is_running(child)
    assert worker.call(own_id) != child  # usable again
    worker.close()


def test_a_hang_is_killed_with_its_children(worker: BoundedWorker, tmp_path: Path) -> None:
    child = worker.call(own_id)
    worker.timeout_s = 1.0
    begun = time.monotonic()
    with pytest.raises(DecodeError, match=r"sleep_with_child ran past its limit of 1 s and was killed"):
        worker.call(sleep_with_child, str(tmp_path / "pid"))
    assert time.monotonic() - begun < 20
    assert wait_until_gone(child)
    assert wait_until_gone(int((tmp_path / "pid").read_text(encoding="ascii")))
    assert worker.call(own_id) != child


def test_a_crash_is_named_and_survived(worker: BoundedWorker) -> None:
    child = worker.call(own_id)
    with pytest.raises(DecodeError, match=r"segfault crashed its process .SIGSEGV."):
        worker.call(segfault)
    assert worker.call(own_id) != child
    with pytest.raises(DecodeError, match=r"crashed its process .exit code 9."):
        worker.call(os._exit, 9)
    assert worker.call(add, 1) == 1


def test_too_much_memory_is_named_and_survived(worker: BoundedWorker) -> None:
    child = worker.call(own_id)
    assert worker.call(allocate, 100 << 20) == 100 << 20
    with pytest.raises(DecodeError, match=r"allocate needed more than its 768 MiB of memory and was killed"):
        worker.call(allocate, 1 << 30)
    assert not is_running(child)
    assert worker.call(add, 1) == 1


def test_torch_and_opencv_work_under_the_limit_and_obey_it(worker: BoundedWorker) -> None:
    assert worker.call(matrix_product) == 64**3
    with pytest.raises(DecodeError, match="needed more than its 768 MiB"):
        worker.call(allocate_in_torch, 1 << 30)


def test_our_errors_arrive_as_themselves(worker: BoundedWorker, tmp_path: Path) -> None:
    child = worker.call(own_id)
    with pytest.raises(GateError, match=r"^batch b000001 is held back$"):
        worker.call(fail, "gate")
    with pytest.raises(MissingExtraError, match=r"^Training needs the package 'torch'.*\[train\]'$"):
        worker.call(fail, "extra")
    with pytest.raises(DecodeError, match="file is empty"):
        worker.call(probe, broken_files.empty(tmp_path / "a.mp4"))
    assert worker.call(own_id) == child


def test_other_errors_are_named_with_their_traceback(worker: BoundedWorker) -> None:
    child = worker.call(own_id)
    with pytest.raises(DecodeError, match=r"fail failed: KeyError: 'no such thing'") as caught:
        worker.call(fail, "other")
    assert "test_bounded.py" in caught.value.__notes__[0]
    with pytest.raises(DecodeError, match=r"fail failed: SystemExit: 3"):
        worker.call(fail, "exit")
    with pytest.raises(DecodeError, match=r"cannot pickle '_thread.lock'"):
        worker.call(return_a_lock)
    assert worker.call(own_id) == child


def test_a_child_that_dies_between_calls_is_replaced(worker: BoundedWorker) -> None:
    child = worker.call(own_id)
    os.kill(child, signal.SIGKILL)
    assert wait_until_gone(child)
    assert worker.call(add, 4) == 4


def test_a_slow_import_does_not_use_up_the_call(
    worker: BoundedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module_of_test.py").write_text(SLOW_MODULE, encoding="ascii")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FAST", "1")
    import slow_module_of_test  # pyright: ignore[reportMissingImports]

    monkeypatch.delenv("FAST")
    worker.timeout_s = 1.0
    assert worker.call(slow_module_of_test.f) == "done"
    monkeypatch.setattr(bounded, "START_TIMEOUT_S", 1)
    worker.close()
    with pytest.raises(DecodeError, match="f: importing its module took more than 1 s"):
        worker.call(slow_module_of_test.f)


SLOW_MODULE = """
import os, time
time.sleep(0 if os.environ.get("FAST") else 1.5)
def f():
    return "done"
"""
PARENT = """
import os, sys, threading, time
from skyreels_platform.media.bounded import BoundedWorker
worker = BoundedWorker(memory_bytes=1 << 30, timeout_s=300)
print(worker.call(os.getpid), flush=True)
if sys.argv[1] == "busy":
    threading.Thread(target=print, args=("sleeping",), kwargs={"flush": True}).start()
    worker.call(time.sleep, 300)
print("idle", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_no_orphan_is_left_when_the_parent_is_killed(state: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, state], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.stdout.readline()
        time.sleep(0.2)
        assert is_running(child)
        parent.kill()
    assert wait_until_gone(child)
