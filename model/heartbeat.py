"""Each rank says twice a second where it is: what a supervisor needs to tell a dead, a stopped and a stuck rank apart.

    <run>/ranks/attempt.json      who may train here: the supervisor's number of this start; a rank of another start ends itself
    <run>/ranks/rank-00000.json   rank, host, pid, phase, step, marks, beats, slowest_s, at; `error` once it failed

`marks` counts what the training loop did (steps, phases), `beats` what a thread of the process did. A rank whose beats stand still is
stopped or gone; one whose beats go on and whose marks stand still waits in a collective or computes for ever. A step costs no file:
the loop changes numbers in memory, the thread writes them. The clock of the reader counts, so hosts need no common time.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

FOLDER = "ranks"
ATTEMPT = "attempt.json"
START, STEP, CHECKPOINT, VALIDATION, END, FAILED = "start", "step", "checkpoint", "validation", "end", "failed"
_BEAT_S = 0.5
_REMEMBERED = 64  # steps whose slowest is reported; buckets of long clips come back within that many


class Heartbeat:
    """One rank's file, kept fresh by a thread."""

    def __init__(self, run_dir: Path, rank: int, attempt: int | None = None) -> None:
        """attempt: the supervisor's number of this start; None by hand, then the rank asks nobody whether it may go on."""
        self._run_dir, self._attempt = run_dir, attempt
        (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
        self._path = run_dir / FOLDER / f"rank-{rank:05d}.json"
        self._state: dict[str, Any] = {
            "rank": rank, "host": socket.gethostname(), "pid": os.getpid(), "phase": START, "step": None, "marks": 0, "beats": 0,
            "slowest_s": None, "error": None, "at": None,
        }  # fmt: skip
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._since = time.monotonic()
        self._writing = threading.Lock()
        self._write()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def enter(self, phase: str, step: int | None = None) -> None:
        """The loop begins something that is no step (a checkpoint, a validation film, the end) or goes back to steps."""
        self._state.update(phase=phase, marks=self._state["marks"] + 1, **({} if step is None else {"step": step}))
        self._since = time.monotonic()

    def did(self, step: int) -> None:
        """The loop has finished optimizer step `step`, counting from 0."""
        now = time.monotonic()
        self._durations.append(now - self._since)
        self._since = now
        self._state.update(step=step + 1, marks=self._state["marks"] + 1, slowest_s=round(max(self._durations), 3))

    def fail(self, error: BaseException) -> None:
        """Leave the reason, at once: the process is about to end."""
        self._state.update(phase=FAILED, error=f"{type(error).__name__}: {error}")
        self._write()

    def end(self) -> None:
        """The rank has done its part."""
        self.enter(END)
        self._write()

    def _run(self) -> None:
        while True:
            time.sleep(_BEAT_S)
            self._state["beats"] += 1
            try:
                if self._attempt is not None and read_attempt(self._run_dir) != self._attempt:
                    print(f"start {self._attempt} of this run was ended: leaving", flush=True)
                    os._exit(1)
                self._write()
            except OSError as error:  # a full disk or a mount that is away: the beats stand still, the supervisor sees that
                print(f"heartbeat: {error}", flush=True)

    def _write(self) -> None:
        with self._writing:
            _replace(self._path, {**self._state, "at": time.time()})


def read_attempt(run_dir: Path) -> int | None:
    """Number of the start that may train in this run folder; None if there never was one."""
    values = _read(run_dir / FOLDER / ATTEMPT)
    return values["attempt"] if values else None


def next_attempt(run_dir: Path) -> int:
    """Take the run folder for a new start, or away from the last one: ranks of earlier starts, on any host, end within a second."""
    attempt = (read_attempt(run_dir) or 0) + 1
    folder = run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / ATTEMPT, {"attempt": attempt})
    return attempt


def read_ranks(run_dir: Path) -> list[dict[str, Any]]:
    """What each rank last said, by rank."""
    return [values for path in sorted((run_dir / FOLDER).glob("rank-*.json")) if (values := _read(path))]


def forget_ranks(run_dir: Path) -> None:
    """Remove what the ranks of an earlier start said."""
    for path in (run_dir / FOLDER).glob("*rank-*.json*"):
        path.unlink(missing_ok=True)


def _replace(path: Path, values: dict[str, Any]) -> None:
    """Whole or not at all for a reader; no flush to disk, since nobody needs it after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    temporary.rename(path)


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None
