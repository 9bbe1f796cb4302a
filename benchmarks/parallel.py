"""Does every way of sharing the work train the same? Loss curves of 2 CPU ranks against one process.

    python -m benchmarks.parallel                     # 50 steps of a tiny model, float32, about 2 minutes
    python -m benchmarks.parallel --only ulysses zero3

One process trains on random latents with diffusion-forcing timesteps (frames of 6 and of 15 tokens: the latter do not divide among two
ranks). Each variant repeats it on two ranks from the same spec; printed is the largest difference of any step's loss and gradient
norm. Exit code 1 if a loss differs by more than 1e-4. Float32 rounding alone moves a curve by about 1e-6: the variants add up
gradients in another order.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from model.journal import LOSSES, read_lines
from model.latents import EMPTY_TEXT, LatentClip, write_latents
from model.spec import TrainSpec

BOUND = 1e-4
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "one process": (1, {"zero_stage": 0}),
    "zero0": (2, {"zero_stage": 0}),
    "zero1": (2, {"zero_stage": 1}),
    "zero2": (2, {"zero_stage": 2}),
    "zero3": (2, {"zero_stage": 3}),
    "zero2+offload": (2, {"zero_stage": 2, "offload": "optimizer"}),
    "zero3+offload": (2, {"zero_stage": 3, "offload": "all"}),
    "accumulate": (2, {"zero_stage": 1, "micro_batches": 2}),
    "ulysses": (2, {"zero_stage": 1, "sequence_parallel": 2}),
    "ulysses+zero3": (2, {"zero_stage": 3, "sequence_parallel": 2}),
}
TRANSFORMER = {
    "num_attention_heads": 4, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "text_dim": 8, "freq_dim": 16,
    "ffn_dim": 128, "num_layers": 2, "inject_sample_info": True,
}  # fmt: skip


def write_data(folder: Path) -> Path:
    """Random latents of two shapes."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    clips = [
        (LatentClip(clip_id=f"clip_{i}", shot_id=f"shot_{i}", shard="", shape=(), fps=(16, 24)[i % 2], text=f"text{i % 2}"),
         torch.randn(4, 3, *((4, 6), (6, 10))[i % 2], generator=generator))
        for i in range(12)
    ]  # fmt: skip
    text = {key: torch.randn(5, 8, generator=generator) for key in ("text0", "text1", EMPTY_TEXT)}
    write_latents(folder, clips, text, shard_clips=4)
    return folder


def write_spec(run: Path, latents: Path, steps: int, changes: dict[str, Any]) -> Path:
    """The spec of one run."""
    values: dict[str, Any] = {
        "stage": "tiny", "run_dir": str(run), "latents_dir": str(latents), "parent_dir": None, "transformer": TRANSFORMER, "seed": 3,
        "num_steps": steps, "batch_size": 4, "learning_rate": 1e-2, "weight_decay": 0.01, "warmup_steps": 5, "schedule": "constant",
        "ema_decay": 0.9, "grad_clip": 1.0, "caption_dropout": 0.2, "checkpoint_every": steps, "timestep_mean": 0.0, "timestep_std": 1.0,
        "timestep_shift": 1.0, "p_fopp": 0.4, "p_sync": 0.3, "p_prefix": 0.3, "zero_stage": 1, "dtype": "float32", "accelerator": "cpu",
        "threads_per_rank": 1, "inputs": {"latents": "random"},
    }  # fmt: skip
    run.mkdir(parents=True)
    spec = run / "spec.json"
    spec.write_text(json.dumps(TrainSpec(**{**values, **changes}).to_dict()), encoding="utf-8")
    return spec


def train(spec: Path, ranks: int) -> list[dict[str, float]]:
    """Run to the end; the journal's lines."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--module", "model.train", "--spec", str(spec)], env=environment, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace")[-4000:])
    return read_lines(spec.parent / LOSSES)


def main() -> None:
    """Print one line per variant; see the module docstring."""
    parser = argparse.ArgumentParser(description="Loss curves of 2 ranks against one process.")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="*", choices=[name for name in VARIANTS if name != "one process"])
    arguments = parser.parse_args()
    chosen = ["one process", *(arguments.only or [name for name in VARIANTS if name != "one process"])]
    worst = 0.0
    reference: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        latents = write_data(Path(folder) / "latents")
        for name in chosen:
            ranks, changes = VARIANTS[name]
            started = time.monotonic()
            lines = train(write_spec(Path(folder) / name, latents, arguments.steps, changes), ranks)
            seconds = time.monotonic() - started
            if not reference:
                reference = lines
                first, last = (sum(line["loss"] for line in part) / 5 for part in (lines[:5], lines[-5:]))
                print(f"{name:15} {ranks} rank   loss {first:.3f} to {last:.3f}  ({seconds:.0f} s)", flush=True)
                continue
            loss, norm = (
                max(abs(a[key] - b[key]) for a, b in zip(lines, reference, strict=True)) for key in ("loss", "grad_norm")
            )
            worst = max(worst, loss)
            print(
                f"{name:15} {ranks} ranks  largest difference: loss {loss:.1e}, gradient norm {norm:.1e}  ({seconds:.0f} s)",
                flush=True,
            )
    print(f"largest difference {worst:.1e} over {arguments.steps} steps; bound {BOUND:.0e}")
    raise SystemExit(worst > BOUND)


if __name__ == "__main__":
    main()
