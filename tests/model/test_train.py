"""The training loop as processes: exact resume after a kill, independence of the number of ranks, stop on request."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from model.checkpoint import find_checkpoints, verify_folder
from model.journal import read_lines
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import free_port, make_latents, make_spec, outcome, torchrun, train


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_latents(tmp_path_factory.mktemp("latents") / "lat")


@pytest.fixture(scope="module")
def uninterrupted(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    make_spec(run, latents)
    train(run, 2, free_port())
    return run


def test_a_run_leaves_losses_seen_clips_and_a_sound_checkpoint(uninterrupted: Path):
    losses, seen = (read_lines(uninterrupted / name) for name in ("losses.jsonl", "seen.jsonl"))
    assert [line["step"] for line in losses] == [line["step"] for line in seen] == list(range(12))
    assert all(len(line["clips"]) == 4 for line in seen)
    assert {clip for line in seen for clip in line["clips"]} == {f"clip_{i}" for i in range(10)}
    checkpoints = find_checkpoints(uninterrupted)
    assert [checkpoint.step for checkpoint in checkpoints] == [10, 12]
    assert verify_folder(checkpoints[-1].path) == []
    assert not list(uninterrupted.rglob("*.pt"))
    SkyReelsTransformer.from_pretrained(checkpoints[-1].path / "ema")


@pytest.mark.parametrize("kill_at", [2, 7])
def test_a_killed_run_resumes_to_the_same_bits(kill_at: int, uninterrupted: Path, latents: Path, tmp_path: Path):
    make_spec(tmp_path / "run", latents)
    process = torchrun(tmp_path / "run", 2, free_port())
    while len(read_lines(tmp_path / "run" / "losses.jsonl")) <= kill_at:
        assert process.poll() is None, (tmp_path / "run" / "log").read_text()[-3000:]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    train(tmp_path / "run", 2, free_port())
    assert outcome(tmp_path / "run") == outcome(uninterrupted)


def test_a_stop_request_writes_a_checkpoint_and_the_rest_follows(uninterrupted: Path, latents: Path, tmp_path: Path):
    make_spec(tmp_path / "run", latents)
    process = torchrun(tmp_path / "run", 2, free_port())
    while not read_lines(tmp_path / "run" / "losses.jsonl"):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=120)
    stopped = json.loads((tmp_path / "run" / "result.json").read_text())
    assert not stopped["complete"]
    assert find_checkpoints(tmp_path / "run")[-1].step == stopped["step"] < 12
    train(tmp_path / "run", 2, free_port())
    assert outcome(tmp_path / "run") == outcome(uninterrupted)


def test_one_rank_follows_the_same_path_as_two(uninterrupted: Path, latents: Path, tmp_path: Path):
    make_spec(tmp_path / "one", latents)
    train(tmp_path / "one", 1, free_port())
    ours, theirs = (read_lines(run / "losses.jsonl") for run in (tmp_path / "one", uninterrupted))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-4)
    assert read_lines(tmp_path / "one" / "seen.jsonl") == read_lines(uninterrupted / "seen.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"zero_stage": 2}, {"zero_stage": 3}, {"sequence_parallel": 2}, {"micro_batches": 2}, {"zero_stage": 3, "offload": "all"}],
    ids=str,
)  # fmt: skip
def test_ways_of_sharing_follow_the_same_path(changes: dict, uninterrupted: Path, latents: Path, tmp_path: Path):
    """Over 50 steps and against one process: benchmarks/parallel.py."""
    make_spec(tmp_path / "run", latents, **changes)
    train(tmp_path / "run", 2, free_port())
    ours, theirs = (read_lines(run / "losses.jsonl") for run in (tmp_path / "run", uninterrupted))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], abs=1e-4)
    average, theirs_average = (SkyReelsTransformer.from_pretrained(find_checkpoints(run)[-1].path / "ema").state_dict()
                               for run in (tmp_path / "run", uninterrupted))  # fmt: skip
    assert all(torch.allclose(value, theirs_average[name], atol=1e-4) for name, value in average.items())


OTHER_WAYS = [
    {"zero_stage": 0}, {"zero_stage": 2}, {"zero_stage": 3}, {"zero_stage": 3, "offload": "all"}, {"micro_batches": 2},
    {"sequence_parallel": 2}, {"zero_stage": 1, "dtype": "bfloat16"}, {"zero_stage": 3, "dtype": "bfloat16", "offload": "optimizer"},
    {"activation_checkpointing": "all"}, {"activation_checkpointing": "all_but_attention"},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("changes", OTHER_WAYS, ids=str)
def test_other_ways_of_sharding_resume_exactly_too(changes: dict, latents: Path, tmp_path: Path):
    for name, limit in (("whole", None), ("halves", 6)):
        make_spec(tmp_path / name, latents, max_steps_this_run=limit, **changes)
        train(tmp_path / name, 2, free_port())
    train(tmp_path / "halves", 2, free_port())
    assert outcome(tmp_path / "halves") == outcome(tmp_path / "whole")


def test_a_changed_spec_does_not_resume_from_the_old_checkpoint(uninterrupted: Path, latents: Path):
    before = (uninterrupted / "spec.json").read_text()
    make_spec(uninterrupted, latents, learning_rate=5e-3)
    try:
        assert torchrun(uninterrupted, 1, free_port()).wait(timeout=120) != 0
        assert "written under another spec" in (uninterrupted / "log").read_text()
    finally:
        (uninterrupted / "spec.json").write_text(before)
