"""Every benchmark with small settings, one after the other: whether each still runs. Its figures say little.

    python -m benchmarks [name ...]

Exit code 1 if one fails. The settings of published figures are in docs/measurements.md: some take hours.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

SMALL = {
    "buckets": "--shots 500",
    "captioner": "--quick",
    "checkpoint": "--width 128 --layers 2 --repeats 2",
    "codec": "--clips 2",
    "curation": "--frames 100 --repeats 1 --only-pass",
    "dedup": "--shots 2000 --scenes 2 --clips 2 scale copies",
    "film_memory": "--minutes 0.2 --height 240 --fps 8",
    "gpu": "",
    "ledger": "4 2",
    "model": "--parts parity",
    "parallel": "--steps 2 --only zero1",
    "signals": "--shots 4",
    "thresholds": "20000",
    "training_memory": "'activations lead'",
}
"""Options of each module of this folder (our choice)."""


def main() -> None:
    """Run the benchmarks that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(SMALL) + "; default: all")
    chosen = parser.parse_args().names or list(SMALL)
    if unknown := [name for name in chosen if name not in SMALL]:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    failed = []
    for name in chosen:
        if name == "gpu" and not _has_gpu():
            print("== gpu: left out, no CUDA device", flush=True)
            continue
        print(f"== {name} {SMALL[name]}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{name}", *shlex.split(SMALL[name])]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], check=False)
        print(f"== {name}: {time.monotonic() - started:.0f} s" + (f", exit code {done.returncode}" if done.returncode else ""), flush=True)
        failed += [name] if done.returncode else []
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
