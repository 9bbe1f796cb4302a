"""Which slots a run starts on: all of them at first; after losses as many of the rest as the batch divides among.

A slot is a place for one rank: a host and a number, on GPU hosts the number of the device. Weights, moments and moving average are stored
whole and by parameter name, so a checkpoint loads on any number of ranks: it is this project's universal checkpoint. A step's clips
and noise stay the same; another number of ranks changes the order of additions and nothing else.
"""

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from skyreels_platform.errors import TrainingError

LOCAL = "localhost"
_SSH_PORT = 22
_CONNECT_S = 5.0


@dataclass(frozen=True, kw_only=True, order=True)
class Slot:
    """A place for one rank."""

    host: str
    index: int

    def __str__(self) -> str:
        return f"{self.host}:{self.index}"


def read_slots(hostfile: str | None, num_ranks: int) -> list[Slot]:
    """The slots of a hostfile (`worker-1 slots=8` a line), or `num_ranks` of this machine; rank r runs on the r-th.

    Raises TrainingError naming file and line.
    """
    if hostfile is None:
        return [Slot(host=LOCAL, index=index) for index in range(num_ranks)]
    slots = []
    for number, text in enumerate(Path(hostfile).read_text(encoding="utf-8").splitlines(), 1):
        line = text.partition("#")[0].split()
        if not line:
            continue
        if len(line) != 2 or not line[1].removeprefix("slots=").isdigit():
            raise TrainingError(f"{hostfile}, line {number}: {text!r}; write HOST slots=NUMBER")
        slots += [Slot(host=line[0], index=index) for index in range(int(line[1].removeprefix("slots=")))]
    return slots


def ranks_that_fit(num_slots: int, batch_size: int, *, group: int = 1, micro_batches: int = 1) -> int:
    """The largest number of ranks, at most `num_slots`, among which a batch divides; 0 if there is none.

    group: ranks that share one clip (sequence parallel): ranks come in multiples of it. micro_batches: parts that each share of the batch
    is cut into.
    """
    for ranks in range(num_slots // group * group, 0, -group):
        if batch_size % (ranks // group * micro_batches) == 0:
            return ranks
    return 0


def slots_left(slots: Iterable[Slot], gone: set[Slot], reach: Callable[[str], bool]) -> list[Slot]:
    """Slots that did not fail again and again, on hosts that answer; each host is asked once."""
    left = [slot for slot in slots if slot not in gone]
    answering = {host: host == LOCAL or reach(host) for host in dict.fromkeys(slot.host for slot in left)}
    return [slot for slot in left if answering[slot.host]]


def answers(host: str, port: int = _SSH_PORT) -> bool:
    """Whether the launcher's ssh would find a host."""
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
