"""A tiny training run for tests: random latents, a one-layer model, a spec file."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from model.checkpoint import find_checkpoints
from model.latents import EMPTY_TEXT, LatentClip, write_latents
from model.spec import TrainSpec

TRANSFORMER = {
    "patch_size": [1, 2, 2], "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "text_dim": 8,
    "freq_dim": 8, "ffn_dim": 32, "num_layers": 1, "inject_sample_info": True,
}  # fmt: skip


def make_latents(folder: Path, num_clips: int = 10) -> Path:
    """Clips of two shapes with two captions."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    clips = [
        (LatentClip(clip_id=f"clip_{i}", shot_id=f"shot_{i // 2}", shard="", shape=(), fps=(16, 24)[i % 2], text=f"text{i % 2}"),
         torch.randn(4, 3, 4, (4, 6)[i % 2], generator=generator))
        for i in range(num_clips)
    ]  # fmt: skip
    text = {key: torch.randn(5, 8, generator=generator) for key in ("text0", "text1", EMPTY_TEXT)}
    write_latents(folder, clips, text, shard_clips=4)
    return folder


def make_spec(run_dir: Path, latents: Path, **changes: object) -> TrainSpec:
    """A spec of 12 steps with a checkpoint every 5, written into the run folder."""
    spec = TrainSpec(
        stage="tiny", run_dir=str(run_dir), latents_dir=str(latents), parent_dir=None, transformer=TRANSFORMER, seed=3, num_steps=12,
        batch_size=4, batch_unit=2, image_share=0.0,
        learning_rate=1e-2, weight_decay=0.01, warmup_steps=2, schedule="cosine", ema_decay=0.9, grad_clip=1.0,
        caption_dropout=0.2, checkpoint_every=5, timestep_mean=0.0, timestep_std=1.0, timestep_shift=1.0, p_fopp=0.4, p_sync=0.3,
        p_prefix=0.3, zero_stage=1, dtype="float32", accelerator="cpu", threads_per_rank=1, inputs={"latents": "lat_x"},
    )  # fmt: skip
    spec = replace(spec, **changes)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "spec.json").write_text(json.dumps(spec.to_dict()))
    return spec


def torchrun(run_dir: Path, ranks: int, port: int) -> subprocess.Popen[bytes]:
    """Start the ranks directly, as a launcher would."""
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    script = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # as DeepSpeed's launcher: it outlives a stop until its ranks are done
        f"ranks = [subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'model.train', '--spec', {str(run_dir / 'spec.json')!r}],"
        f" env={{**os.environ, 'RANK': str(r), 'LOCAL_RANK': str(r)}}) for r in range({ranks})]\n"
        "sys.exit(max(abs(rank.wait()) for rank in ranks))\n"
    )
    with (run_dir / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=log, stderr=log, start_new_session=True)


def train(run_dir: Path, ranks: int, port: int) -> None:
    """Run to the end; the log is the assertion's message."""
    assert torchrun(run_dir, ranks, port).wait(timeout=240) == 0, (run_dir / "log").read_text()[-3000:]


def outcome(run_dir: Path) -> dict[str, bytes]:
    """Everything that a finished run leaves: losses, seen clips and the files of its last checkpoint."""
    last = find_checkpoints(run_dir)[-1].path
    files = [path for path in sorted(last.rglob("*")) if path.is_file()]
    return {
        "losses": (run_dir / "losses.jsonl").read_bytes(), "seen": (run_dir / "seen.jsonl").read_bytes(),
        **{path.relative_to(last).as_posix(): path.read_bytes() for path in files},
    }  # fmt: skip


def free_port() -> int:
    """A port that was free a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


