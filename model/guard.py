"""No rank outlives the process that supervises it.

A cancelled or killed launcher must not leave ranks that hold memory and GPUs. Three layers, because each has a hole: the kernel's
parent-death signal reaches direct children only, process groups are gone once the supervisor is killed with SIGKILL, and a watching
thread needs the interpreter. Each rank therefore also polls the supervisor that the environment names and exits when it is gone.
"""

import ctypes
import os
import signal
import sys
import threading
import time

SUPERVISOR = "SKYREELS_SUPERVISOR"
_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere the watching thread alone must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def watch_supervisor() -> None:
    """Start the thread that ends this process once the supervisor in SKYREELS_SUPERVISOR ('pid:start time') is gone."""
    named = os.environ.get(SUPERVISOR)
    if not named:
        return  # run by hand
    pid = int(named.partition(":")[0])

    def watch() -> None:
        while supervisor_id(pid) == named:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def supervisor_id(pid: int) -> str | None:
    """'pid:start time' of a live process, None if it is gone; the start time tells a reused pid apart."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 (a fresh descriptor, twice a second)
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if sys.platform == "linux" or not _alive(pid) else f"{pid}:0"
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class StopRequest:
    """SIGINT or SIGTERM asks for a stop at the next step boundary, after a checkpoint."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True
