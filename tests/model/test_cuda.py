"""The model and the trainer on a GPU: the CPU's results within rounding, every way of saving memory, resume, and the memory estimate.

    pytest -m gpu
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.attention import attention, flex_block_causal, piecewise_block_causal
from model.codec import DctCodec
from model.configs import CONFIGS
from model.fused import RotaryNorm, gated_add, modulated_norm
from model.gelu import LinearOfGelu
from model.memory import Stage
from model.sampler import FilmPlan, sample_film
from model.spec import TrainSpec
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import TRANSFORMER, free_port, make_latents, make_spec

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

B, FRAMES, N, D, PAIRS = 2, 5, 70, 128, 32
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


@pytest.fixture(autouse=True)
def exact_products() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Relative to the size of what is compared."""
    error = (ours.double().cpu() - theirs.double().cpu()).norm() / theirs.double().norm().clamp(min=1e-12).cpu()
    assert error < tolerance, f"off by {error:.2g} of the norm"


STEPS: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
    "modulated norm": (
        lambda x, s, c: modulated_norm(x, s.float(), c.float(), 1e-6), ((B, FRAMES, N, D), (B, FRAMES, 1, D), (B, FRAMES, 1, D)),
    ),
    "gated add": (lambda x, y, g: gated_add(x, y, g.float()), ((B, FRAMES, N, D), (B, FRAMES, N, D), (B, FRAMES, 1, D))),
    "norm": (lambda x, w: torch.func.functional_call(RotaryNorm(D, eps=1e-6), {"weight": w}, (x, None)), ((B, N, D), (D,))),
    "norm and rotation": (
        lambda x, w: torch.func.functional_call(
            RotaryNorm(D, eps=1e-6), {"weight": w}, (x, torch.polar(torch.ones(N, PAIRS), randn(N, PAIRS, seed=7)).to(x.device))
        ), ((B, N, D), (D,)),
    ),
    "linear of gelu": (
        lambda x, w, b: torch.func.functional_call(LinearOfGelu(D, 24), {"weight": w, "bias": b}, (x, True)), ((B, N, D), (24, D), (24,)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_compiled_steps_give_the_cpu_s_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    function, shapes = STEPS[name]
    results = []
    for device in ("cuda", "cpu"):
        leaves = [randn(*shape, seed=i).to(dtype).to(device).requires_grad_() for i, shape in enumerate(shapes)]
        out = function(*leaves)
        grads = torch.autograd.grad((out.float() * randn(*out.shape, seed=99).to(device)).sum(), leaves)
        results.append([out, *grads])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        close(ours, theirs, TOLERANCE[dtype])


@pytest.mark.parametrize("keys", [512, FRAMES * N])
def test_attention_in_bf16(keys: int) -> None:
    q, k, v = (randn(B, 4, n, 128, seed=i).cuda().requires_grad_() for i, n in enumerate((FRAMES * N, keys, keys)))
    half = [x.detach().bfloat16().requires_grad_() for x in (q, k, v)]
    exact = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    out = attention(half[0], half[1], half[2])
    close(out, exact, 0.02)
    direction = torch.randn_like(exact)
    for ours, theirs in zip(
        torch.autograd.grad((out.double() * direction).sum(), half), torch.autograd.grad((exact * direction).sum(), (q, k, v)), strict=True
    ):
        close(ours, theirs, 0.02)


@pytest.mark.parametrize("block", [1, 2])
def test_both_kernels_of_block_causal_attention_are_the_dense_mask(block: int) -> None:
    q, k, v = (randn(B, 2, FRAMES * N, 64, seed=i).cuda() for i in range(3))
    frame = torch.arange(FRAMES * N, device="cuda") // N // block
    mask = frame[None] <= frame[:, None]
    exact = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask)
    for attend in (piecewise_block_causal, flex_block_causal):
        close(attend(q, k, v, FRAMES, block), exact, 1e-3)  # TF32 inside


@pytest.mark.parametrize("recomputed", ["none", "all_but_attention", "all"])
def test_a_step_in_float32_is_the_cpu_s(recomputed: Any) -> None:
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(asdict(CONFIGS["tiny_df"]))
    nn.init.normal_(model.proj_out.weight, std=0.1)
    arguments = [randn(2, 16, 5, 8, 8, seed=1), torch.rand(2, 5) * 1000, randn(2, 9, 32, seed=2), torch.tensor([16, 24])]
    results = []
    for device in ("cpu", "cuda"):
        model = model.to(device)
        model.zero_grad()
        model.recomputed = "none" if device == "cpu" else recomputed
        out = model(*(argument.to(device) for argument in arguments))
        out.square().mean().backward()
        results.append([out.detach().cpu(), *(p.grad.cpu() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 20
    for theirs, ours in zip(*results, strict=True):
        close(ours, theirs, 2e-3)  # some gradients are differences of large numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_film_of_two_windows(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config({**TRANSFORMER, "in_channels": 16, "out_channels": 16}).to("cuda", dtype).eval()
    nn.init.normal_(model.proj_out.weight, std=0.1)
    plan = FilmPlan(
        num_frames=29, height=32, width=48, base_num_frames=17, overlap_history=5, num_steps=4, shift=2.0, guidance_scale=3.0, ar_step=2,
        block_size=1, addnoise_condition=20, fps=24, seed=5,
    )  # fmt: skip
    films = [sample_film(model, DctCodec(16), randn(5, 8, seed=1), torch.zeros(5, 8), plan) for _ in range(2)]
    assert films[0].shape == (1, 3, 29, 32, 48)
    assert films[0].isfinite().all()
    close(films[0], films[1], 1e-3 if dtype == torch.float32 else 0.05)  # a seed decides, up to the kernels' order of sums


def train(run_dir: Path) -> dict[str, Any]:
    """One rank, to the end of its spec; the result file."""
    command = [sys.executable, "-W", "ignore", "-m", "model.train", "--spec", str(run_dir / "spec.json")]
    environment = {**os.environ, "MASTER_PORT": str(free_port())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((run_dir / "result.json").read_text())


def losses(run_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run_dir / "losses.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_latents(tmp_path_factory.mktemp("data") / "latents")


@pytest.fixture(scope="module")
def on_cpu(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    run = tmp_path_factory.mktemp("cpu") / "run"
    make_spec(run, latents)
    train(run)
    return losses(run)


WAYS = [
    {"zero_stage": 1},
    {"zero_stage": 1, "dtype": "bfloat16", "activation_checkpointing": "all_but_attention"},
    {"zero_stage": 2, "dtype": "bfloat16", "offload": "optimizer", "activation_checkpointing": "all", "activation_offload": True},
    {"zero_stage": 3, "dtype": "bfloat16", "offload": "all", "micro_batches": 2},
]


@pytest.mark.parametrize("changes", WAYS, ids=str)
def test_training_follows_the_cpu_and_resumes(changes: dict[str, Any], latents: Path, on_cpu: list[float], tmp_path: Path) -> None:
    make_spec(tmp_path, latents, accelerator="cuda", max_steps_this_run=6, **changes)
    assert not train(tmp_path)["complete"]
    make_spec(tmp_path, latents, accelerator="cuda", **changes)
    assert train(tmp_path)["complete"]
    tolerance = 0.03 if "dtype" in changes else 1e-3
    assert losses(tmp_path) == pytest.approx(on_cpu, rel=tolerance)


@pytest.mark.parametrize("changes", [{}, {"activation_checkpointing": "all_but_attention"}, {"activation_offload": True}], ids=str)
def test_the_memory_estimate_is_the_peak(changes: dict[str, Any], tmp_path: Path) -> None:
    """A model of 0.2 billion parameters whose activations lead. The estimate may be above by its margin and allocation, never far below."""
    from model.latents import EMPTY_TEXT, LatentClip, write_latents

    folder = tmp_path / "latents"
    folder.mkdir()
    clips = [LatentClip(clip_id=f"clip_{i}", shot_id="s", shard="", shape=(), fps=24, text="t") for i in range(2)]
    text = {"t": randn(64, 256, seed=0), EMPTY_TEXT: torch.zeros(64, 256)}
    write_latents(folder, [(clip, randn(16, 13, 40, 64, seed=1)) for clip in clips], text, shard_clips=2)
    model = {**TRANSFORMER, "num_attention_heads": 12, "attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "text_dim": 256,
             "freq_dim": 256, "ffn_dim": 8960, "num_layers": 4}  # fmt: skip
    spec: TrainSpec = make_spec(
        tmp_path / "run", folder, transformer=model, batch_size=2, num_steps=2, checkpoint_every=2, dtype="bfloat16",
        accelerator="cuda", **changes,
    )  # fmt: skip
    peak = train(tmp_path / "run")["peak_memory_bytes"]
    estimate = sum(Stage.of(spec, 1).needs().device.values())
    print(f"{changes}: estimated {estimate / 2**30:.2f} GiB, reserved at most {peak / 2**30:.2f} GiB")
    assert 0.8 < estimate / peak < 1.3
