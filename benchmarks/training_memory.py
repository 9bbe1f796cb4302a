"""Is the memory estimate right? Peak memory of real one-rank runs against what `skyreels train --dry-run` says beforehand.

    python -m benchmarks.training_memory [case ...]      # four small CPU runs of two steps, about 2 minutes

Each run trains in a process of its own; its peak is the resident set that the operating system counted. The estimate is printed
without its margin. Exit code 1 if one is off by more than 20 %.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from model.latents import EMPTY_TEXT, LatentClip, write_latents
from model.memory import GIB, Stage
from model.spec import TrainSpec

BOUND = 0.2
MODEL = {
    "num_attention_heads": 6, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16, "text_dim": 64, "freq_dim": 64,
    "ffn_dim": 1536, "num_layers": 8,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "activations lead": {"batch_size": 4},
    "recomputed": {"batch_size": 4, "activation_checkpointing": "all"},
    "two micro-batches": {"batch_size": 4, "micro_batches": 2},
    "states lead": {"batch_size": 1, "ema_decay": 0.9, "transformer": {**MODEL, "num_layers": 24}},
}


def run(folder: Path, latents: Path, changes: dict[str, Any]) -> tuple[float, float]:
    """(estimated, measured) bytes of one run of two steps."""
    values: dict[str, Any] = {
        "stage": "memory", "run_dir": str(folder), "latents_dir": str(latents), "parent_dir": None, "transformer": MODEL, "seed": 0,
        "num_steps": 2, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 0, "schedule": "constant", "ema_decay": 0.0,
        "grad_clip": 1.0, "caption_dropout": 0.0, "checkpoint_every": 2, "timestep_mean": 0.0, "timestep_std": 1.0,
        "timestep_shift": 1.0, "p_fopp": 1.0, "p_sync": 0.0, "p_prefix": 0.0, "zero_stage": 1, "dtype": "float32", "accelerator": "cpu",
        "threads_per_rank": 1, "inputs": {"latents": "random"},
    }  # fmt: skip
    spec = TrainSpec(**{**values, **changes})
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec.to_dict()), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-m", "model.train", "--spec", str(folder / "spec.json")]
    with socket.socket() as probe:  # another training of this machine may hold the usual port
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port)}, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace")[-3000:])
    measured = json.loads((folder / "result.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    return sum(Stage.of(spec, 1).needs().device.values()), measured


def main() -> None:
    """Print one line per case; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help="; ".join(CASES) + "; default: all")
    chosen = parser.parse_args().cases or list(CASES)
    if unknown := [case for case in chosen if case not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}; known: {', '.join(CASES)}")
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        latents = Path(name) / "latents"
        latents.mkdir()
        clips = [(LatentClip(clip_id=f"clip_{i}", shot_id="s", shard="", shape=(), fps=24, text="t"), torch.randn(16, 5, 32, 32))
                 for i in range(4)]  # fmt: skip
        write_latents(latents, clips, {"t": torch.randn(32, 64), EMPTY_TEXT: torch.zeros(32, 64)}, shard_clips=4)
        for case in chosen:
            estimated, measured = run(Path(name) / case, latents, CASES[case])
            error = estimated / measured - 1
            worst = max(worst, abs(error))
            print(f"{case:20} estimated {estimated / GIB:.2f} GiB, measured {measured / GIB:.2f} GiB, off by {error:+.0%}", flush=True)
    raise SystemExit(worst > BOUND)


if __name__ == "__main__":
    main()
