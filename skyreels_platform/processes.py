"""Long child processes that never outlive their reason: training and generation.

    caller -> supervisor (own session and process group) -> command and everything it starts

Cancelling the caller ends the whole group: SIGINT, a grace period for a checkpoint, SIGTERM, SIGKILL. If the caller itself is killed,
the supervisor notices and does the same. If the supervisor is killed, every rank notices (model.guard). And before the next start in
the same folder the pid file tells `reap` what may still be dying, so two runs never write one folder at a time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from model.checkpoint import write_json
from model.guard import SUPERVISOR, supervisor_id
from skyreels_platform.errors import TrainingError

_POLL_S = 0.2
_TERM_S = 3.0  # between SIGTERM and SIGKILL
_ORPHAN_GRACE_S = 3.0  # nobody waits for an orphan's checkpoint: the last one on disk will do
_LOG_LINES = 15


class GroupError(TrainingError):
    """A command that failed by itself."""

    def __init__(self, message: str, returncode: int) -> None:
        super().__init__(message)
        self.returncode = returncode
        """What a shell would call it: 128 + the signal if the command was killed."""


class GroupFault(TrainingError):
    """Raised by `on_poll`: the group will not listen any more; it is killed without grace."""


def run_group(
    command: Sequence[str], *, folder: Path, name: str, grace_s: float, env: Mapping[str, str] | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Run `command` to its end under a supervisor; its output goes to `<folder>/<name>.log`.

    Any exception in the caller (an interrupt, a cancelled Dagster run, an error in `on_poll`) ends the group, then travels on.
    Raises GroupError with the end of the log if the command fails.
    """
    with running_group(command, folder=folder, name=name, grace_s=grace_s, env=env) as process:
        while process.poll() is None:
            on_poll()
            time.sleep(_POLL_S)
        on_poll()
    if process.returncode != 0:
        log = folder / f"{name}.log"
        message = f"{name} failed with exit code {process.returncode}; its log, {log}, ends with:\n{log_tail(log)}"
        raise GroupError(message, process.returncode)


@contextlib.contextmanager
def running_group(
    command: Sequence[str], *, folder: Path, name: str, grace_s: float, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:  # fmt: skip
    """`command` under a supervisor for as long as the block lasts, whose end ends the whole group. Yields the supervisor.

    A block that ends by a GroupFault gives the group no time to write a checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / f"{name}.pid"
    reap(pid_file)
    supervise = [sys.executable, "-m", "skyreels_platform.processes", str(pid_file), str(os.getpid()), *command]
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            supervise, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    has_ended = lambda: process.poll() is not None  # noqa: E731
    try:
        yield process
        if not has_ended():
            _end_group(process.pid, grace_s, has_ended)
    except BaseException as error:
        _end_group(process.pid, 0 if isinstance(error, GroupFault) else grace_s, has_ended)
        raise
    finally:
        _signal(process.pid, signal.SIGKILL)  # whatever a crashed launcher left in the group
        process.wait()
        pid_file.unlink(missing_ok=True)


def reap(pid_file: Path) -> bool:
    """End what an earlier, killed run left in its process group; True if there was something."""
    try:
        left = json.loads(pid_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    pid, leader = left["pid"], supervisor_id(left["pid"])
    # A group id is not reused while the group has members: a missing leader means our members, another leader a stranger's.
    found = leader in (None, left["identity"]) and _signal(pid, 0)
    if found:
        _end_group(pid, 0, lambda: not _signal(pid, 0))
    pid_file.unlink(missing_ok=True)
    return found


def reap_orphans(work: Path) -> list[str]:
    """End groups below a scratch folder whose supervisor is gone; groups that are still supervised are left alone."""
    ended = []
    for pid_file in sorted(work.glob("*/*/*.pid")):
        try:
            left = json.loads(pid_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            continue  # removed or replaced by its owner at this moment
        if supervisor_id(left["pid"]) is None and reap(pid_file):
            ended.append(str(pid_file))
    return ended


def _end_group(group: int, grace_s: float, ended: Callable[[], bool]) -> None:
    for number, wait_s in ((signal.SIGINT, grace_s), (signal.SIGTERM, _TERM_S if grace_s else 0), (signal.SIGKILL, 10)):
        if wait_s == 0:
            continue
        _signal(group, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if ended():
                return
            time.sleep(0.05)


def _signal(group: int, number: int) -> bool:
    """Signal a process group (0 only asks); False if it has no members left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def log_tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])


def _supervise(pid_file: Path, parent: int, command: list[str]) -> int:
    """Body of the supervisor: start the command, wait for it, end the group when the caller is gone."""
    identity = supervisor_id(os.getpid())
    assert identity is not None
    write_json(pid_file, {"pid": os.getpid(), "identity": identity, "command": command})
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the command; the supervisor stays to see the end
    child = subprocess.Popen(
        command, env={**os.environ, SUPERVISOR: identity}, preexec_fn=_default_signals,
    )  # fmt: skip
    while child.poll() is None:
        if os.getppid() != parent:
            _end_orphans(child)
        time.sleep(_POLL_S)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # ignored signals are inherited through exec


def _end_orphans(child: subprocess.Popen[bytes]) -> None:
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_ORPHAN_GRACE_S)
    os.killpg(0, signal.SIGKILL)  # this process included


if __name__ == "__main__":
    sys.exit(_supervise(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
