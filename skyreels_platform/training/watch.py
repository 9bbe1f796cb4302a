"""What the ranks' heartbeats mean: who is dead, stopped, stuck or failed, and at which step.

While a start runs, `look` compares what each rank says with what it said before, by this process's clock. A rank whose loop does nothing
for `hang_floor_s` or 20 of its slowest recent steps is at fault if its beats stand still too (stopped, or its host is gone); if all ranks
still beat, they wait for each other in a collective. After a start has ended, `diagnose` tells the failure that came first from those
it caused: a rank that loses its peer fails as well, a moment later.
"""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.guard import supervisor_id
from model.heartbeat import END, FAILED, STEP, read_ranks
from skyreels_platform.processes import GroupError, GroupFault
from skyreels_platform.recipe import LaunchSettings

_LOOK_S = 1.0  # hundreds of ranks are hundreds of small files
_SLOW_STEPS = 20  # our choice: a step this much longer than the slowest of the last 64 is none
_SILENT_S = 5.0  # ten beats missed
_KILLED = (-9, 137)  # the launcher's supervisor, the launcher itself
_LOST_PEER = re.compile(r"(RuntimeError|DistBackendError|DistNetworkError|DistStoreError|Connection\w*Error): ")
"""How torch says that another rank has gone; also how it says many other things, so a rank of these is blamed only if no other is."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One failure of a start."""

    kind: str
    """dead_rank | hung_rank | stuck | non_finite | failed_rank | start_failed | no_checkpoint | launcher."""
    rank: int | None
    step: int | None
    """Optimizer steps that were done; None before the first rank said so."""
    detail: str
    is_final: bool = False
    """The same would happen again: what is wrong is in the settings or on the disk."""


class RankFault(GroupFault):
    """Ends a group whose ranks do not go on by themselves."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


@dataclass
class _Seen:
    state: dict[str, Any]
    moved: float
    beat: float


class Watch:
    """The ranks of one start."""

    def __init__(self, run_dir: Path, launch: LaunchSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_dir, self._launch, self._clock = run_dir, launch, clock
        self._seen: dict[int, _Seen] = {}
        self._dead: list[int] | None = None
        self._started = self._looked = clock()

    @property
    def step(self) -> int | None:
        """Optimizer steps that the furthest rank has done."""
        return max((seen.state["step"] for seen in self._seen.values() if seen.state["step"] is not None), default=None)

    @property
    def moved(self) -> float:
        """When any rank last did something, by the clock given."""
        return max((seen.moved for seen in self._seen.values()), default=self._started)

    def look(self) -> None:
        """Read the ranks, at most once a second. Raises RankFault if one of them, or all together, do not go on."""
        now = self._clock()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        self._read(now)
        floor = self._launch.hang_floor_s
        if not self._seen and now - self._started > self._launch.start_timeout_s:
            raise self._fault("stuck", None, f"no rank has started within {self._launch.start_timeout_s:.0f} s")
        working = {rank: seen for rank, seen in self._seen.items() if seen.state["phase"] not in (END, FAILED)}
        silent = [rank for rank, seen in working.items() if now - seen.beat > min(_SILENT_S, floor / 2)]
        late = [rank for rank, seen in working.items() if now - seen.moved > self._bound(seen.state)]
        quiet = [rank for rank in silent if now - working[rank].beat > floor]
        if culprits := [rank for rank in silent if late or rank in quiet]:
            raise self._fault("hung_rank", culprits[0], f"{_name(culprits)} stands still: neither a step nor a sign of life for "
                              f"{now - working[culprits[0]].beat:.0f} s")  # fmt: skip
        if late:
            raise self._fault("stuck", None, f"{_name(late)} made no step for {now - working[late[0]].moved:.0f} s (phase "
                              f"{working[late[0]].state['phase']}, allowed {self._bound(working[late[0]].state):.0f} s)")  # fmt: skip
        if self._seen and not working and now - self.moved > self._launch.start_timeout_s:  # leaving torch takes seconds
            raise self._fault("launcher", None, "every rank has ended and the launcher has not")

    def diagnose(self, error: GroupError) -> Fault:
        """The failure behind a start that has ended with an error."""
        self._read(self._clock())
        states = [seen.state for seen in self._seen.values()]
        failed = sorted((state for state in states if state["phase"] == FAILED), key=lambda state: state["at"])
        # a rank that still beat after another had failed was ended by the launcher
        until = failed[0]["at"] if failed else float("inf")
        killed = [state["rank"] for state in states if state["phase"] not in (END, FAILED) and state["at"] <= until]
        if own := [state for state in failed if not _LOST_PEER.match(state["error"])]:
            return self._explain(own[0])
        if killed and error.returncode not in _KILLED:
            dead = self._dead or killed
            return self._new("dead_rank", dead[0] if len(dead) == 1 else None, f"{_name(dead)} was killed")
        if failed:
            return self._explain(failed[0])
        return self._new("launcher", None, f"the launcher ended with exit code {error.returncode}")

    def _read(self, now: float) -> None:
        dead = []
        for state in read_ranks(self._run_dir):
            before = self._seen.get(state["rank"])
            self._seen[state["rank"]] = _Seen(
                state=state,
                moved=before.moved if before and before.state["marks"] == state["marks"] else now,
                beat=before.beat if before and before.state["beats"] == state["beats"] else now,
            )
            is_here = state["host"] == socket.gethostname()
            if is_here and state["phase"] not in (END, FAILED) and supervisor_id(state["pid"]) is None:
                dead.append(state["rank"])
        self._dead = self._dead or dead or None

    def _bound(self, state: dict[str, Any]) -> float:
        if state["phase"] == STEP and state["slowest_s"] is not None:
            return max(self._launch.hang_floor_s, _SLOW_STEPS * state["slowest_s"])
        return max(self._launch.hang_floor_s, self._launch.start_timeout_s)

    def _explain(self, state: dict[str, Any]) -> Fault:
        """A rank's own exception. Before its first step only another machine or another setting would help, unless it was a network's."""
        kind = state["error"].partition(":")[0]
        if kind == "NonFiniteError":
            return self._new("non_finite", None, state["error"])
        if kind == "CheckpointError":
            return self._new("no_checkpoint", state["rank"], state["error"], is_final=True)
        if state["slowest_s"] is None and not _LOST_PEER.match(state["error"]):
            return self._new("start_failed", state["rank"], state["error"], is_final=True)
        return self._new("failed_rank", state["rank"], state["error"])

    def _fault(self, kind: str, rank: int | None, detail: str) -> RankFault:
        return RankFault(self._new(kind, rank, detail))

    def _new(self, kind: str, rank: int | None, detail: str, *, is_final: bool = False) -> Fault:
        return Fault(kind=kind, rank=rank, step=self.step, detail=detail, is_final=is_final)


def _name(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
