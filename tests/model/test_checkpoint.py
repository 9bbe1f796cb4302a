"""Checkpoints: whole or not there, whatever moment a writer is killed at; damage is found; debris goes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model.checkpoint import find_checkpoints, remove_debris, set_bad_aside, verify_folder, write_folder, write_json

# Writes checkpoint 4 and kills itself at the moment that argv[2] names.
WRITER = """
import os, signal, sys
from pathlib import Path
from model import checkpoint
run, moment = Path(sys.argv[1]), sys.argv[2]
def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)
def fill(folder):
    (folder / "transformer").mkdir()
    (folder / "transformer" / "weights").write_bytes(b"w" * 100_000)
    if moment == "fill":
        die()
    (folder / "optimizer").write_bytes(b"o" * 1000)
if moment == "manifest":
    checkpoint.write_json = die
if moment == "flush":
    checkpoint._sync = die
if moment == "rename":
    Path.rename = die
checkpoint.write_folder(run / "checkpoints" / "step-00000004", fill, {"step": 4, "spec_hash": "s"})
"""


def write(run: Path, step: int, content: bytes = b"weights") -> Path:
    target = run / "checkpoints" / f"step-{step:08d}"

    def fill(folder: Path) -> None:
        (folder / "transformer").mkdir()
        (folder / "transformer" / "weights").write_bytes(content)

    write_folder(target, fill, {"step": step, "spec_hash": "s"})
    return target


@pytest.mark.parametrize("moment", ["fill", "manifest", "flush", "rename"])
def test_a_writer_killed_in_the_middle_leaves_nothing_that_a_reader_takes(moment: str, tmp_path: Path):
    write(tmp_path, 2)
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), moment], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2, "the killed writer must have begun"
    assert [found.step for found in find_checkpoints(tmp_path)] == [2]
    remove_debris(tmp_path, keep=2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    write(tmp_path, 4)
    assert [found.step for found in find_checkpoints(tmp_path)] == [2, 4]


def test_a_writer_that_is_left_alone_makes_a_sound_folder(tmp_path: Path):
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), "never"], check=True, timeout=60)
    (found,) = find_checkpoints(tmp_path)
    assert (found.step, found.spec_hash, verify_folder(found.path)) == (4, "s", [])
    manifest = json.loads((found.path / "manifest.json").read_text())
    assert set(manifest["files"]) == {"transformer/weights", "optimizer"}


def test_a_flipped_bit_and_a_missing_file_are_found(tmp_path: Path):
    folder = write(tmp_path, 1)
    weights = folder / "transformer" / "weights"
    assert verify_folder(folder) == []
    data = bytearray(weights.read_bytes())
    data[3] ^= 1
    weights.write_bytes(data)
    assert verify_folder(folder) == ["transformer/weights"]
    weights.unlink()
    assert verify_folder(folder) == ["transformer/weights"]


def test_writing_again_replaces_the_whole_folder(tmp_path: Path):
    write(tmp_path, 1, b"old")
    folder = write(tmp_path, 1, b"new")
    assert (folder / "transformer" / "weights").read_bytes() == b"new"
    assert verify_folder(folder) == []
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_newest_are_kept_in_order_of_steps(tmp_path: Path):
    for step in (900, 1000, 5):
        write(tmp_path, step)
    assert [found.step for found in find_checkpoints(tmp_path)] == [5, 900, 1000]
    remove_debris(tmp_path, keep=2)
    assert [found.step for found in find_checkpoints(tmp_path)] == [900, 1000]
    assert find_checkpoints(tmp_path / "elsewhere") == []


def test_a_json_file_is_replaced_and_leaves_no_temporary(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": 1})
    write_json(tmp_path / "a.json", {"b": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["transformer/weights", "manifest.json"])
def test_any_flipped_bit_is_found_and_the_checkpoint_before_takes_over(name: str, tmp_path: Path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    newest = tmp_path / "checkpoints/step-00000003"
    for at in range((newest / name).stat().st_size):
        flip(newest / name, at)
        assert verify_folder(newest) == [name], at
        flip(newest / name, at)
    assert verify_folder(newest) == []
    flip(newest / name, 5)
    assert set_bad_aside(tmp_path) == {"step-00000003": [name]}
    assert [found.step for found in find_checkpoints(tmp_path)] == [1, 2]
    assert (tmp_path / "checkpoints/bad-step-00000003").is_dir()


def test_damage_in_a_row_goes_back_to_the_last_sound_one_and_keeps_one_bad_folder(tmp_path: Path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    flip(tmp_path / "checkpoints/step-00000003/transformer/weights", 0)
    (tmp_path / "checkpoints/step-00000002/manifest.json").write_bytes(b"\xff{")
    assert list(set_bad_aside(tmp_path)) == ["step-00000003", "step-00000002"]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-00000001", "bad-step-00000002"}
    assert set_bad_aside(tmp_path) == {}
    assert set_bad_aside(tmp_path / "no run") == {}


def test_milestones_outlive_the_newest(tmp_path: Path):
    for step in (4, 5, 8, 9, 10):
        write(tmp_path, step)
    remove_debris(tmp_path, keep=1, milestone_every=4)
    assert [found.step for found in find_checkpoints(tmp_path)] == [4, 8, 10]
