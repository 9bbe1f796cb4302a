"""What a GPU makes of the model: bf16 training at 540P beside diffusers, memory of a 14B block, kernels and their choice.

    python -m benchmarks.gpu                        # one CUDA device; about five minutes on an H200
    python -m benchmarks.gpu --parts utilization    # kernels, utilization, peer, blocks, causal or profile, comma-separated

51,000 tokens: 97 frames of 544 x 960. Times are medians of steps after two that compile and choose kernels. Model FLOPs are those of
matrix products and attention, forward and twice that backward; what is recomputed does not count (model.flops).
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.model import forward, inputs, peer, trained
from model.attention import flex_block_causal, piecewise_block_causal
from model.configs import CONFIGS
from model.flops import device_peak, training_flops

FRAMES, ROWS, COLUMNS, TEXT = 25, 68, 120, 512
TOKENS = FRAMES * (ROWS // 2) * (COLUMNS // 2)
_DTYPE = torch.bfloat16


def kernels() -> None:
    """The card's own rates: a large product, and attention of the 1.3B model by each of torch's kernels."""
    a = torch.randn(8192, 8192, device="cuda", dtype=_DTYPE)
    seconds = timed(lambda: a @ a, 10)
    print(f"  product of 8192 x 8192              {2 * 8192**3 / seconds / 1e12:>7.0f} TFLOPS")
    x = torch.randn(2**29, device="cuda", dtype=_DTYPE)
    print(f"  copy                                {2 * x.nbytes / timed(x.clone, 10) / 1e12:>7.2f} TB/s")
    q, k, v = (torch.randn(1, TOKENS, 12, 128, device="cuda", dtype=_DTYPE).transpose(1, 2).requires_grad_() for _ in range(3))
    work = 4 * TOKENS**2 * 12 * 128
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend):
            once = timed(lambda: F.scaled_dot_product_attention(q, k, v), 3)
            out = F.scaled_dot_product_attention(q, k, v)
            grad = torch.randn_like(out)
            back = timed(lambda out=out, grad=grad: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True), 3)
        print(f"  {backend.name:<20} forward {work / once / 1e12:>4.0f}, backward {2 * work / back / 1e12:>4.0f} TFLOPS of the model's")


def utilization() -> None:
    """A training step of the 1.3B model, one clip, one level per frame."""
    with torch.device("cuda"):
        model = trained(CONFIGS["1.3b"]).to(_DTYPE)
    for recomputed in ("all_but_attention", "all", "none"):
        model.recomputed = recomputed
        _row(f"ours, recomputed: {recomputed}", model, "ours")
        torch.cuda.empty_cache()
    model.recomputed = "all_but_attention"
    with torch.compiler.set_stance("force_eager"):
        _row("the same, small steps not compiled", model, "ours")


def peer_step() -> None:
    """The same step by diffusers' class with its own checkpointing."""
    with torch.device("cuda"):
        network = peer(trained(CONFIGS["1.3b"])).to(_DTYPE)
    network.enable_gradient_checkpointing()  # type: ignore[operator]
    _row("diffusers, gradient checkpointing", network, "diffusers", rounds=1, warm=1)


def _row(name: str, network: nn.Module, side: str, rounds: int = 3, warm: int = 2) -> None:
    config = CONFIGS["1.3b"]
    peak = device_peak(torch.device("cuda"))
    flops = training_flops(config, (config.in_channels, FRAMES, ROWS, COLUMNS), TEXT)
    try:
        seconds, memory = _step(network, side, rounds, warm)
    except torch.OutOfMemoryError:
        print(f"  {name:<44} does not fit", flush=True)
        return
    share = f"{100 * flops / seconds / peak:>5.1f} % of {peak / 1e12:.0f}" if peak else "peak unknown"
    print(f"  {name:<44}{seconds:>7.2f} s  {flops / seconds / 1e12:>4.0f} TFLOPS {share}  {memory / 2**30:>6.1f} GiB", flush=True)


def blocks() -> None:
    """Forward and backward of one 14B block: what a step holds at most, weights and their gradients apart."""
    config = replace(CONFIGS["14b"], num_layers=1)
    for side in ("ours", "diffusers"):
        torch.cuda.empty_cache()
        with torch.device("cuda"):
            model = trained(config).to(_DTYPE)
            network = model if side == "ours" else peer(model).to(_DTYPE)
        del model
        _, memory = _step(network, side, rounds=1)
        print(f"  one 14B block, {side:<10}{memory / 2**30:>8.2f} GiB", flush=True)
        del network


def causal() -> None:
    """Forward and backward of block-causal attention by both kernels: where the switch between them belongs."""
    q, k, v = (torch.randn(1, 40, TOKENS, 128, device="cuda", dtype=_DTYPE, requires_grad=True) for _ in range(3))
    for block in (1, 5):
        line = []
        for attend in (piecewise_block_causal, flex_block_causal):
            seconds = timed(lambda attend=attend, block=block: attend(q, k, v, FRAMES, block).sum().backward(), 2)
            line.append(f"{attend.__name__} {1000 * seconds:.0f} ms")
        print(f"  block-causal, blocks of {block}, 40 heads: {', '.join(line)}", flush=True)


def profile() -> None:
    """Where the time of a step goes, by kernel, in a 1.3B model of four blocks."""
    config = replace(CONFIGS["1.3b"], num_layers=4)
    with torch.device("cuda"):
        model = trained(config).to(_DTYPE)
    model.recomputed = "all_but_attention"
    _step(model, "ours", rounds=1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        _step(model, "ours", rounds=1, warm=0)
    print(found.key_averages().table(sort_by="self_device_time_total", row_limit=32, max_name_column_width=90))


def timed(function: Callable[[], object], rounds: int) -> float:
    """Median seconds of `rounds` calls after two."""
    seconds = []
    for _ in range(rounds + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        function()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def _step(network: nn.Module, side: str, rounds: int = 3, warm: int = 2) -> tuple[float, int]:
    """Median seconds of a step, and its peak of bytes beyond weights, gradients and inputs."""
    arguments = {key: value.to("cuda", _DTYPE) for key, value in inputs(network.config, 1, (FRAMES, ROWS, COLUMNS), TEXT).items()}  # type: ignore[arg-type]
    time_BF = torch.arange(FRAMES, device="cuda")[None] * 40

    def step() -> Tensor:
        loss = forward(network, side, arguments, time_BF).float().square().mean()
        loss.backward()
        return loss

    for _ in range(warm):
        step()  # gradients exist from here on
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), torch.cuda.max_memory_allocated() - held


_PARTS: dict[str, Callable[[], None]] = {
    "kernels": kernels, "utilization": utilization, "peer": peer_step, "blocks": blocks, "causal": causal, "profile": profile,
}  # fmt: skip


def main() -> None:
    """Run the parts asked for and print their tables."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="Measure the model on a GPU.")
    parser.add_argument("--parts", default="kernels,utilization,peer,blocks,causal", help="comma-separated: " + ", ".join(_PARTS))
    parts = parser.parse_args().parts.split(",")
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}, bf16, {TOKENS:,} tokens")
    for part in parts:
        print(f"{part}:", flush=True)
        _PARTS[part]()


if __name__ == "__main__":
    main()
