"""The model against its peers on CPU: parity and cost of a training step beside diffusers' class, FoPP beside its tables.

    python -m benchmarks.model                  # everything that this machine can run
    python -m benchmarks.model --parts step     # parity, step or fopp, comma-separated
    python -m benchmarks.model --parts step --threads 2

Times on CPU are processor time of one thread, both sides in one process in turn, best of several rounds: work of other programs on the
machine hardly touches them. With more threads a step is timed by the clock, since threads that wait for each other spin: on a quiet
machine. Peak memory is the resident high-water mark of a child process of its own above what it held before
the model was built: weights, gradients and activations. Nothing here speaks of GPUs: benchmarks/gpu.py does.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.configs import CONFIGS, TransformerConfig
from model.forcing import sample_fopp
from model.transformer import SkyReelsTransformer

_ROUNDS = 7
_SMALL = TransformerConfig(num_attention_heads=2, attention_head_dim=64, text_dim=32, freq_dim=64, ffn_dim=384, num_layers=3)
_THIRD = TransformerConfig(num_attention_heads=4, ffn_dim=2984, num_layers=2)
SHAPES: dict[str, tuple[TransformerConfig, int, tuple[int, int, int], int]] = {
    # config, batch, latents (frames, rows, columns), text tokens
    "tiny": (_SMALL, 32, (5, 4, 4), 10),  # the laptop recipe's training step
    "medium": (_THIRD, 1, (13, 24, 28), 512),  # the 1.3B model at a third of its width, with its tokens per width at 256 pixels
}


def parity() -> None:
    """Largest differences on shared random weights, fp32, against diffusers; mixed frame rates against single clips."""
    print("\nParity, fp32, shared random weights     forward   gradients (absolute; share of the largest)")
    cases = {
        "t2v": ("tiny", False),
        "t2v, level per frame": ("tiny", True),
        "DF with fps": ("tiny_df", True),
        "i2v": ("tiny_i2v", False),
    }
    for title, (name, per_frame) in cases.items():
        config = CONFIGS[name]
        model = trained(config)
        arguments = inputs(config, 1, (5, 8, 8), 512)
        time_BF = torch.tensor([[0, 100, 500, 700, 999]]) if per_frame else torch.tensor([500])
        fps = torch.tensor([24]) if config.inject_sample_info else None
        reference = peer(model)
        ours = model(**arguments, timestep=time_BF, fps=fps)
        theirs = reference(
            **arguments, timestep=time_BF, fps=torch.tensor([1]), enable_diffusion_forcing=per_frame, return_dict=False
        )[0]
        for out in (ours, theirs):
            out.square().mean().backward()
        theirs_of = dict(reference.named_parameters())
        gradients = [(p.grad, theirs_of[n].grad) for n, p in model.named_parameters()]
        absolute = max((a - b).abs().max().item() for a, b in gradients if a is not None and b is not None)
        relative = max(((a - b).abs().max() / b.abs().max()).item() for a, b in gradients if a is not None and b is not None)
        print(f"  {title:<36}{(ours - theirs).abs().max().item():>10.2g}{absolute:>10.2g}{relative:>12.2g}")
    config = CONFIGS["tiny_df"]
    model, arguments = trained(config), inputs(config, 2, (5, 8, 8), 512)
    time_BF, fps = torch.tensor([[0, 100, 500, 700, 999], [999, 700, 500, 100, 0]]), torch.tensor([16, 24])
    with torch.no_grad():
        both = model(**arguments, timestep=time_BF, fps=fps)
        alone = torch.cat([
            model(**{k: v[i : i + 1] for k, v in arguments.items()}, timestep=time_BF[i : i + 1], fps=fps[i : i + 1]) for i in range(2)
        ])  # fmt: skip
        print(
            f"  {'DF, 16 and 24 fps in one batch':<36}{(both - alone).abs().max().item():>10.2g}   against single clips;", end=" "
        )
        try:
            peer(model)(**arguments, timestep=time_BF, fps=torch.tensor([0, 1]), enable_diffusion_forcing=True)
        except RuntimeError as error:
            print(f"diffusers: {error}")


def step(threads: int = 1) -> None:
    """Forward and backward with one noise level per frame, ours and diffusers', and plain forward."""
    print(f"\nTraining step, one level per frame, fp32, CPU threads: {threads}")
    print(f"  {'shape':<10}{'':<14}{'ours':>10}{'diffusers':>12}{'ratio':>9}")
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    for name in SHAPES:
        config, batch, latents, text = SHAPES[name]
        model = trained(config)
        reference, arguments = peer(model), inputs(config, batch, latents, text)
        time_BF = (torch.arange(latents[0])[None] * 70).expand(batch, -1)
        runs = (
            lambda model=model, arguments=arguments, time_BF=time_BF: model(**arguments, timestep=time_BF),
            lambda reference=reference, arguments=arguments, time_BF=time_BF: reference(
                **arguments, timestep=time_BF, enable_diffusion_forcing=True, return_dict=False
            )[0],
        )
        times = _in_turn(*(lambda run=run: run().square().mean().backward() for run in runs), clock=clock)
        print(f"  {name:<10}{'step, s':<14}{times[0]:>10.3f}{times[1]:>12.3f}{times[1] / times[0]:>8.2f}x faster")
        with torch.inference_mode():
            times = _in_turn(*runs, clock=clock)
        print(f"  {'':<10}{'forward, s':<14}{times[0]:>10.3f}{times[1]:>12.3f}{times[1] / times[0]:>8.2f}x faster")
        peaks = [_peak_in_child(name, side) / 2**20 for side in ("ours", "diffusers")]
        print(f"  {'':<10}{'peak, MiB':<14}{peaks[0]:>10.1f}{peaks[1]:>12.1f}{peaks[0] / peaks[1]:>8.2f} of diffusers'")

        kept = [_kept(name, side) for side in ("ours", "diffusers")]
        print(f"  {'':<10}{'kept, widths':<14}{kept[0]:>10.1f}{kept[1]:>12.1f}{kept[0] / kept[1]:>8.2f} of diffusers'")


def _kept(shape: str, side: str) -> float:
    """What autograd holds for one more block, in widths per token: exact, whatever else the machine does."""
    config, batch, latents, text = SHAPES[shape]
    time_BF = (torch.arange(latents[0])[None] * 70).expand(batch, -1)
    sums = []
    for num_layers in (1, 2):
        model = trained(replace(config, num_layers=num_layers))
        network = model if side == "ours" else peer(model)
        weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        held: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: Tensor, weights: set[int] = weights, held: dict[int, torch.UntypedStorage] = held) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                held[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(network, side, inputs(config, batch, latents, text), time_BF)
        sums.append(sum(storage.nbytes() for storage in held.values()))
    tokens = batch * latents[0] * (latents[1] // 2) * (latents[2] // 2)
    return (sums[1] - sums[0]) / (4 * tokens * config.dim)


def fopp() -> None:
    """Our draw against the published way: tables by the recursion, then one frame after another for each sample."""
    torch.set_num_threads(1)
    batch, frames, timesteps, timed = 256, 25, 1000, 8
    generator, numbers = torch.Generator().manual_seed(0), np.random.default_rng(0)
    after, before = _path_counts(frames, timesteps)
    ours, shared, own = _in_turn(
        lambda: sample_fopp(frames, timesteps, batch, generator),
        lambda: [_fopp_by_tables(after, before, numbers) for _ in range(timed)],
        lambda: _fopp_by_tables(*_path_counts(frames, timesteps), numbers),
    )
    shared, own = shared / timed * batch, own * batch
    print(f"\nFoPP, {batch} x {frames} frames of {timesteps} levels, 1 CPU thread; loops timed on {timed} samples and 1, scaled")
    print(f"  ours                                  {1000 * ours:>10.2f} ms")
    print(f"  loop over samples, tables made once   {1000 * shared:>10.0f} ms   {shared / ours:>8.0f}x")
    print(f"  loop over samples, tables for each    {1000 * own:>10.0f} ms   {own / ours:>8.0f}x")


def _path_counts(frames: int, timesteps: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of non-decreasing sequences after and before each (frame, level), by the paper's recursion; float64 holds 1e48."""
    after, before = np.ones((frames, timesteps)), np.ones((frames, timesteps))
    for frame in range(frames - 2, -1, -1):
        for level in range(timesteps - 2, -1, -1):
            after[frame, level] = after[frame, level + 1] + after[frame + 1, level]
    for frame in range(1, frames):
        for level in range(1, timesteps):
            before[frame, level] = before[frame, level - 1] + before[frame - 1, level]
    return after, before


def _fopp_by_tables(after: np.ndarray, before: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
    """One sample: an anchor, then every other frame from its row of the table."""
    frames, timesteps = after.shape
    levels = np.empty(frames, np.int64)
    anchor = numbers.integers(frames)
    levels[anchor] = numbers.integers(timesteps)
    for frame in range(anchor + 1, frames):
        low = levels[frame - 1]
        weights = after[frame, low:]
        levels[frame] = low + numbers.choice(timesteps - low, p=weights / weights.sum())
    for frame in range(anchor - 1, -1, -1):
        high = levels[frame + 1] + 1
        weights = before[frame, :high]
        levels[frame] = numbers.choice(high, p=weights / weights.sum())
    return levels + 1


def _in_turn(*functions: Callable[[], object], clock: Callable[[], float] = time.process_time) -> list[float]:
    """Best time of each, measured in turn."""
    best = [float("inf")] * len(functions)
    for _ in range(_ROUNDS):
        for index, function in enumerate(functions):
            started = clock()
            function()
            best[index] = min(best[index], clock() - started)
    return best


def _peak_in_child(shape: str, side: str) -> float:
    # every larger block of memory by a mapping of its own, given back at once: the mark then counts tensors, not the allocator's stock
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.model", "--child", shape, side]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def _peak_of_step(shape: str, side: str) -> None:
    config, batch, latents, text = SHAPES[shape]
    time_BF = (torch.arange(latents[0])[None] * 70).expand(batch, -1)
    if side == "diffusers":
        from diffusers.models.transformers import transformer_skyreels_v2  # its import is no memory of the model

        assert transformer_skyreels_v2
    _step_of(trained(_SMALL), side, inputs(_SMALL, 1, (2, 4, 4), 4), torch.zeros(1, 2))  # libraries' own buffers
    before = _status("VmRSS")
    model = trained(config)
    network: nn.Module = model
    if side == "diffusers":
        network = peer(model)
        del model
    arguments = inputs(config, batch, latents, text)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    forward(network, side, arguments, time_BF).square().mean().backward()
    print(_status("VmHWM") - before)


def _step_of(model: SkyReelsTransformer, side: str, arguments: dict[str, Tensor], time_BF: Tensor) -> None:
    forward(peer(model) if side == "diffusers" else model, side, arguments, time_BF).square().mean().backward()


def forward(network: nn.Module, side: str, arguments: dict[str, Tensor], time_BF: Tensor) -> Tensor:
    if side == "ours":
        return network(**arguments, timestep=time_BF)
    return network(**arguments, timestep=time_BF, enable_diffusion_forcing=True, return_dict=False)[0]


def _status(key: str) -> int:
    """A size in bytes from the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def trained(config: TransformerConfig) -> SkyReelsTransformer:
    """Random weights everywhere, also where training starts from zero."""
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(asdict(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return model


def peer(model: SkyReelsTransformer) -> nn.Module:
    from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel

    reference = SkyReelsV2Transformer3DModel(**asdict(model.config))
    reference.load_state_dict(model.state_dict(), strict=True)
    return reference


def inputs(config: TransformerConfig, batch: int, latents: tuple[int, int, int], text: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    arguments = {
        "hidden_states": torch.randn(batch, config.in_channels, *latents, generator=generator),
        "encoder_hidden_states": torch.randn(batch, text, config.text_dim, generator=generator),
    }
    if config.image_dim:
        arguments["encoder_hidden_states_image"] = torch.randn(batch, 257, config.image_dim, generator=generator)
    return arguments


_PARTS = "parity", "step", "fopp"


def main() -> None:
    """Run the parts asked for and print their tables."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="Measure the model against its peers.")
    parser.add_argument("--parts", default=",".join(_PARTS), help="comma-separated: " + ", ".join(_PARTS))
    parser.add_argument("--threads", type=int, default=1, help="of the training step; default 1")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _peak_of_step(*options.child)
        return
    print(f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    parts: dict[str, Callable[[], None]] = {"parity": parity, "step": lambda: step(options.threads), "fopp": fopp}
    for part in options.parts.split(","):
        parts[part]()


if __name__ == "__main__":
    main()
