"""How long training stands still for a checkpoint: written by the loop itself, and copied for a thread that writes it.

    .venv/bin/python -m benchmarks.checkpoint [--width 512] [--layers 8] [--repeats 3]

One process, AdamW, weights, moving average and both moments in float32, the same files either way (compared by hash). `stall` is the time
that the loop does not train. `steps beside` is what a training step takes while the thread writes, against one alone: the writer's
hashing and copying share the processors with it. The written file system is the one of --folder.
"""

import argparse
import copy
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import file_hash, write_folder
from model.transformer import SkyReelsTransformer
from model.writer import CheckpointWriter, Keep, host_copy


class Loop:
    """A model in training, as far as a checkpoint and a step are concerned."""

    def __init__(self, width: int, layers: int) -> None:
        torch.manual_seed(0)
        self.model = SkyReelsTransformer.from_config({
            "patch_size": [1, 2, 2], "num_attention_heads": width // 64, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16,
            "text_dim": 64, "freq_dim": 64, "ffn_dim": 4 * width, "num_layers": layers,
        })  # fmt: skip
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.inputs = (torch.randn(2, 16, 3, 8, 8), torch.full((2,), 500.0), torch.randn(2, 10, 64))

    def step(self) -> None:
        self.model(*self.inputs).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def moments(self) -> dict[str, Tensor]:
        return {f"{moment}.{name}": self.optimizer.state[parameter][moment]
                for name, parameter in self.model.named_parameters() for moment in ("exp_avg", "exp_avg_sq")}  # fmt: skip

    def fill(self, weights: dict[str, Tensor], average: dict[str, Tensor], moments: dict[str, Tensor]) -> Callable[[Path], None]:
        def fill(folder: Path) -> None:
            for name, tensors in (("weights", weights), ("ema", average), ("optimizer", moments)):
                save_file(tensors, folder / f"{name}.safetensors")

        return fill

    def save_here(self, folder: Path, step: int) -> None:
        """As the loop did it by itself: gather, write, hash, flush, rename."""
        fill = self.fill(host_copy(self.model.state_dict()), host_copy(self.average.state_dict()), host_copy(self.moments()))
        write_folder(folder / "checkpoints" / f"step-{step:08d}", fill, {"step": step, "spec_hash": ""})

    def save_beside(self, writer: CheckpointWriter, step: int) -> None:
        fill = self.fill(host_copy(self.model.state_dict()), host_copy(self.average.state_dict()), host_copy(self.moments()))
        writer.start(step, fill, {"step": step, "spec_hash": ""})


def seconds(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description="Training stall per checkpoint, written in the loop and beside it.")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="2 or more: the first compares the files; default 3")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error("--repeats must be 2 or more")
    torch.set_num_threads(1)
    loop = Loop(options.width, options.layers)
    for _ in range(3):
        loop.step()
    alone = statistics.median(seconds(loop.step) for _ in range(8))
    here, beside, writing, steps = [], [], [], []
    for repeat in range(options.repeats):
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        here.append(seconds(lambda: loop.save_here(folder / "here", 1)))  # noqa: B023 (called at once)
        writer = CheckpointWriter(folder / "beside", Keep())
        started = time.monotonic()
        beside.append(seconds(lambda: loop.save_beside(writer, 1)))  # noqa: B023
        if repeat == 0:
            writer.wait()  # nothing trained meanwhile: the files must be those of the other way
            ours, theirs = ({path.name: file_hash(path) for path in (folder / name).rglob("*.safetensors")} for name in ("here", "beside"))
            assert ours == theirs
        else:
            steps.append(seconds(loop.step))  # a small checkpoint may be whole after one
            while writer.busy():
                steps.append(seconds(loop.step))
            writer.wait()
            writing.append(time.monotonic() - started)
        shutil.rmtree(folder)
    parameters = sum(parameter.numel() for parameter in loop.model.parameters())
    size = 4 * 4 * parameters / 2**20
    print(f"{parameters / 1e6:.0f} million parameters, checkpoint of {size:.0f} MiB, step {alone:.2f} s alone")
    print(f"written by the loop:  stall {statistics.median(here):.2f} s")
    less = statistics.median(here) / statistics.median(beside)
    print(f"written by a thread:  stall {statistics.median(beside):.2f} s ({less:.1f} times less), "
          f"steps beside {statistics.median(steps):.2f} s, whole after {statistics.median(writing):.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
