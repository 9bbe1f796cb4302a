"""Slots of a hostfile, and how many of those that are left a batch divides among."""

import socket
from pathlib import Path

import pytest

from skyreels_platform.errors import TrainingError
from skyreels_platform.recipe import LaunchSettings
from skyreels_platform.training.launch import deepspeed_command
from skyreels_platform.training.ranks import Slot, answers, ranks_that_fit, read_slots, slots_left

HOSTFILE = "worker-1 slots=2\n\n# spare\nworker-2 slots=3  # the big one\n"


@pytest.mark.parametrize(
    ("slots", "batch", "group", "micro", "ranks"),
    [(2, 4, 1, 1, 2), (3, 4, 1, 1, 2), (7, 12, 1, 1, 6), (7, 7, 1, 1, 7), (6, 7, 1, 1, 1), (8, 12, 2, 1, 8), (7, 12, 2, 1, 6),
     (8, 12, 1, 2, 6), (1, 4, 2, 1, 0), (0, 4, 1, 1, 0), (1, 3, 1, 2, 0)],
)  # fmt: skip
def test_the_largest_number_of_ranks_that_divides(slots: int, batch: int, group: int, micro: int, ranks: int):
    assert ranks_that_fit(slots, batch, group=group, micro_batches=micro) == ranks


def test_a_hostfile_is_its_slots_in_order(tmp_path: Path):
    (tmp_path / "hosts").write_text(HOSTFILE)
    slots = read_slots(str(tmp_path / "hosts"), 99)
    assert [str(slot) for slot in slots] == ["worker-1:0", "worker-1:1", "worker-2:0", "worker-2:1", "worker-2:2"]
    assert [str(slot) for slot in read_slots(None, 2)] == ["localhost:0", "localhost:1"]
    (tmp_path / "hosts").write_text("worker-1 slots=two\n")
    with pytest.raises(TrainingError, match=r"hosts, line 1: 'worker-1 slots=two'; write HOST slots=NUMBER"):
        read_slots(str(tmp_path / "hosts"), 2)


def test_slots_that_failed_and_hosts_that_do_not_answer_are_left_out(tmp_path: Path):
    (tmp_path / "hosts").write_text(HOSTFILE)
    slots = read_slots(str(tmp_path / "hosts"), 0)
    asked: list[str] = []

    def reach(host: str) -> bool:
        asked.append(host)
        return host != "worker-1"

    left = slots_left(slots, {Slot(host="worker-2", index=1)}, reach)
    assert [str(slot) for slot in left] == ["worker-2:0", "worker-2:2"]
    assert asked == ["worker-1", "worker-2"]
    assert slots_left(read_slots(None, 2), set(), lambda host: False) == read_slots(None, 2), "this machine is not asked"


def test_a_host_is_asked_by_connecting():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        server.listen()
        assert answers("127.0.0.1", port)
    assert not answers("127.0.0.1", port)


def test_the_launcher_is_told_the_very_slots(tmp_path: Path):
    launch = LaunchSettings(num_ranks=2, zero_stage=1, accelerator="cpu", dtype="float32", hostfile="hosts")
    slots = [Slot(host="a", index=0), Slot(host="a", index=2), Slot(host="b", index=1)]
    command = deepspeed_command(tmp_path / "spec.json", launch, slots, 7)
    assert command[command.index("--include") + 1] == "a:0,2@b:1"
    assert command[-2:] == ["--attempt", "7"]
