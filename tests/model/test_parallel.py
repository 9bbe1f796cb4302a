"""Two ranks that share a clip's tokens: velocity and gradients of one process, exactly as many of them as there are."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from model.parallel import SequenceGroup
from model.transformer import SkyReelsTransformer

_CONFIG = {
    "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "text_dim": 8, "freq_dim": 8, "ffn_dim": 32,
    "num_layers": 2, "inject_sample_info": True,
}  # fmt: skip
CASES = {
    "whole shares": ((4, 6), None, False),
    "padded frames": ((6, 10), None, False),
    "padded frames, block-causal": ((6, 10), 2, False),
    "recomputed blocks": ((6, 10), None, True),
}


def one_step(case: str, sequence: SequenceGroup | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Velocity of random input and gradients of its squared sum."""
    (height, width), block, recompute = CASES[case]
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(_CONFIG)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    model.recomputed = "all" if recompute else "none"
    if sequence:
        model.enable_sequence_parallel(sequence)
    latents, text = torch.randn(2, 4, 5, height, width), torch.randn(2, 3, 8)
    velocity = model(latents, torch.rand(2, 5) * 1000, text, torch.tensor([16, 24]), attention_block=block)
    velocity.square().mean().backward()
    return velocity.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    sequence = SequenceGroup(2, num_heads=2)
    for case in CASES:
        velocity, gradients = one_step(case, sequence)
        for gradient in gradients.values():
            dist.all_reduce(gradient)
            gradient /= 2  # ZeRO's average over all ranks
        torch.save((velocity, gradients), Path(folder) / f"{case} {rank}.pt")
    with pytest.raises(ValueError, match="3 attention heads do not divide among sequence_parallel 2; choose a divisor of 3"):
        SequenceGroup(2, num_heads=3)
    with pytest.raises(ValueError, match="sequence_parallel 3 does not divide the 2 ranks"):
        SequenceGroup(3, num_heads=3)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(rank_main, args=(str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_ranks_that_share_tokens_equal_one_process(case: str, rank: int, two_ranks: Path) -> None:
    velocity, gradients = one_step(case, None)
    ours, our_gradients = torch.load(two_ranks / f"{case} {rank}.pt", weights_only=True)
    torch.testing.assert_close(ours, velocity, rtol=1e-5, atol=1e-6)
    assert set(our_gradients) == set(gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
