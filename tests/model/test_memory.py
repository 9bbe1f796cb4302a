"""The memory estimate: known parts, what lowers it, and the error that says so. Against real peaks: benchmarks/training_memory.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.configs import Recomputed, TransformerConfig
from model.memory import GIB, OutOfMemoryError, Stage, alternatives, memory_limit, require_fit
from model.step_memory import step_memory
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import make_latents, make_spec

CONFIG = {
    "num_attention_heads": 4, "attention_head_dim": 32, "in_channels": 16, "out_channels": 16, "text_dim": 64, "freq_dim": 32,
    "ffn_dim": 512, "num_layers": 6,
}  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    spec = make_spec(tmp_path / "run", tmp_path, transformer=CONFIG, batch_size=8, ema_decay=0.9, zero_stage=2)
    return Stage(spec=spec, config=TransformerConfig.from_dict(CONFIG), shape=(16, 9, 32, 32), text_tokens=16, ranks=2)


def test_states_are_counted_by_parameters_and_shared_by_ranks(stage: Stage) -> None:
    total = sum(p.numel() for p in SkyReelsTransformer(stage.config).parameters())
    parts = stage.needs().device
    assert (parts["weights"], parts["AdamW moments"], parts["moving average"]) == (4 * total, 4 * total, 2 * total)
    alone = replace(stage, ranks=1).needs().device
    assert (alone["weights"], alone["AdamW moments"]) == (4 * total, 8 * total)
    sharded = replace(stage, spec=replace(stage.spec, zero_stage=3)).needs().device
    assert sharded["weights"] == 2 * total


def test_the_largest_bucket_counts(tmp_path: Path) -> None:
    latents = make_latents(tmp_path / "latents")
    assert Stage.of(make_spec(tmp_path / "run", latents), 2).shape == (4, 3, 4, 6)


@pytest.mark.parametrize("recomputed", ["none", "all_but_attention", "all"])
def test_saved_activations_are_those_of_a_real_pass(recomputed: Recomputed) -> None:
    """Real tensors' bytes, counted while autograd saves them on the CPU, against the estimate's growth per block."""
    saved: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not isinstance(tensor._base, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # no address is used twice
        return tensor

    def real(layers: int) -> int:
        torch.manual_seed(0)
        saved.clear()
        model = SkyReelsTransformer.from_config({**CONFIG, "num_layers": layers})
        model.recomputed = recomputed
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.randn(2, 16, 5, 16, 16), torch.rand(2, 5), torch.randn(2, 16, 64))
        return sum(saved.values())

    def estimate(layers: int) -> int:
        config = replace(TransformerConfig.from_dict(CONFIG), num_layers=layers)
        found = step_memory(
            config, (16, 5, 16, 16), 2, text_tokens=16, dtype=torch.float32, recomputed=recomputed, offload_from=None
        )
        return found.device

    # what is kept of attention passes by autograd's hooks: its output, and a number per token and head
    tokens = 2 * 5 * 8 * 8
    attention = 4 * tokens * (4 * 32 + 4) if recomputed == "all_but_attention" else 0
    assert estimate(7) - estimate(6) == pytest.approx(real(3) - real(2) + attention, rel=0.1)


def test_what_saves_memory_saves_memory(stage: Stage) -> None:
    cuda = replace(stage, spec=replace(stage.spec, accelerator="cuda", dtype="bfloat16"))
    whole = cuda.needs().total
    changes = dict(alternatives(cuda))
    assert {"micro_batches = 2", "micro_batches = 4", "activation_checkpointing = 'all'", "launch.offload = 'optimizer'"} <= set(changes)
    assert all(need < whole for need in changes.values()), changes
    offloaded = replace(cuda, spec=replace(cuda.spec, activation_offload=True)).needs()
    assert offloaded.host["activations"] > 0.5 * cuda.needs().device["activations"]
    shared = replace(cuda, spec=replace(cuda.spec, sequence_parallel=2))
    assert shared.clips == 2 * cuda.clips


def test_a_stage_that_does_not_fit_is_refused_with_what_would(stage: Stage) -> None:
    needs = stage.needs().total
    assert require_fit(stage, needs) == stage.needs()
    said = r"tiny: 4 clips per pass of 9x32x32 latents \(batch_size 8, 2 ranks\) need .* would fit: micro_batches = 2"
    with pytest.raises(OutOfMemoryError, match=said):
        require_fit(stage, 0.8 * needs)
    with pytest.raises(OutOfMemoryError, match="nothing of activation checkpointing"):
        require_fit(stage, 1e6)


def test_the_limit_is_the_recipe_s_or_the_machine_s_share(stage: Stage) -> None:
    assert memory_limit(replace(stage.spec, memory_gb=8), 2) == 4 * GIB
    assert memory_limit(replace(stage.spec, memory_gb=80, accelerator="cuda"), 8) == 80 * GIB
    assert 0 < memory_limit(stage.spec, 2) == memory_limit(stage.spec, 1) / 2
