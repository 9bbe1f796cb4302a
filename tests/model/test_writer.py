"""Checkpoints beside training: what is written is the state of the step asked for, one at a time, and a failure is heard of."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import find_checkpoints, verify_folder
from model.errors import CheckpointError
from model.writer import CheckpointWriter, Keep, host_copy


def manifest(step: int) -> dict[str, object]:
    return {"step": step, "spec_hash": "s"}


def test_training_goes_on_while_the_copy_is_written(tmp_path: Path):
    weight = torch.arange(6.0).reshape(2, 3)
    copies = host_copy({"w": weight.t()})
    may_write = threading.Event()

    def fill(folder: Path) -> None:
        may_write.wait(20)
        save_file(copies, folder / "w.safetensors")

    writer = CheckpointWriter(tmp_path, Keep())
    writer.start(4, fill, manifest(4))
    weight += 100  # the next step
    assert find_checkpoints(tmp_path) == []
    may_write.set()
    writer.wait()
    (found,) = find_checkpoints(tmp_path)
    assert verify_folder(found.path) == []
    assert load_file(found.path / "w.safetensors")["w"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_one_checkpoint_is_written_at_a_time(tmp_path: Path):
    writing: list[int] = []
    most: list[int] = []

    def fill(folder: Path) -> None:
        writing.append(1)
        most.append(len(writing))
        time.sleep(0.05)
        writing.pop()

    writer = CheckpointWriter(tmp_path, Keep(last=5))
    for step in (1, 2, 3):
        writer.start(step, fill, manifest(step))
    writer.wait()
    assert most == [1, 1, 1]
    assert [found.step for found in find_checkpoints(tmp_path)] == [1, 2, 3]


def test_a_failed_writing_comes_up_at_the_next_step_and_the_last_good_one_stays(tmp_path: Path):
    writer = CheckpointWriter(tmp_path, Keep(last=1))
    writer.start(4, lambda folder: None, manifest(4))
    writer.wait()

    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"x" * 1000)
        raise OSError(28, "No space left on device")

    writer.start(8, fail, manifest(8))
    message = r"step 8 could not be written to .*No space left.*MiB free.*newest good one is step-00000004; make room"
    with pytest.raises(CheckpointError, match=message):
        writer.wait()
    with pytest.raises(CheckpointError):
        writer.check()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]


def test_milestones_stay_and_others_go(tmp_path: Path):
    writer = CheckpointWriter(tmp_path, Keep(last=2, milestone_every=6))
    for step in range(2, 22, 2):
        writer.start(step, lambda folder: None, manifest(step))
    writer.wait()
    assert [found.step for found in find_checkpoints(tmp_path)] == [6, 12, 18, 20]


FULL = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from model.checkpoint import find_checkpoints, verify_folder
from model.errors import CheckpointError
from model.writer import CheckpointWriter, Keep
run = Path(sys.argv[1])
writer = CheckpointWriter(run, Keep(last=2))
for step, size in ((1, 1000), (2, 1_000_000), (3, 1000)):
    tensors = {"w": torch.zeros(size)}
    try:
        writer.start(step, lambda folder: save_file(tensors, folder / "w.safetensors"), {"step": step, "spec_hash": "s"})
        writer.wait()
        print(step, "written")
    except CheckpointError as error:
        print(step, error)
        writer = CheckpointWriter(run, Keep(last=2))
print([found.step for found in find_checkpoints(run) if not verify_folder(found.path)])
"""


def test_a_full_disk_is_an_error_with_a_remedy_and_gets_its_room_back(tmp_path: Path):
    """On a file system of 2 MiB, where the kernel lets a user mount one."""
    mount = "mount -t tmpfs -o size=2m none \"$1\" && exec \"$2\" -c \"$3\" \"$1\""
    inside = ["sh", "-c", mount, "sh", str(tmp_path), sys.executable, FULL]
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", *inside], capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"this user may not mount a small file system: {done.stderr.strip()}")
    first, second, third, sound = done.stdout.splitlines()
    assert first == "1 written"
    assert "the checkpoint of step 2 could not be written" in second
    assert "newest good one is step-00000001; make room, or lower keep_last" in second
    assert third == "3 written", "what the failed one had written is gone"
    assert sound == "[1, 3]"
