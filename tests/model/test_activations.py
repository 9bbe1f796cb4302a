"""Recomputed and offloaded activations: the same gradients to the bit, and less saved."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model.activations import offload_activations
from model.configs import Recomputed
from model.transformer import SkyReelsTransformer

_CONFIG = {
    "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "text_dim": 8, "freq_dim": 8, "ffn_dim": 32,
    "num_layers": 3,
}  # fmt: skip


def gradients(*, recomputed: Recomputed, offload: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one step, and the bytes that the model saved for it (recomputation and hooks included)."""
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(_CONFIG)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    model.recomputed = recomputed
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    def forward() -> torch.Tensor:
        return model(torch.randn(2, 4, 3, 8, 8), torch.rand(2, 3) * 1000, torch.randn(2, 5, 8)).square().mean()

    if offload:
        with offload_activations(min_bytes=0):
            loss = forward()
    else:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = forward()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, sum(saved.values())


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("recomputed", ["none", "all_but_attention", "all"])
def test_gradients_are_the_same_to_the_bit(recomputed: Recomputed, offload: bool) -> None:
    plain, _ = gradients(recomputed="none", offload=False)
    ours, _ = gradients(recomputed=recomputed, offload=offload)
    assert set(ours) == set(plain)
    assert all(torch.equal(ours[name], gradient) for name, gradient in plain.items())


def test_checkpointing_saves_little() -> None:
    _, plain = gradients(recomputed="none", offload=False)
    _, little = gradients(recomputed="all", offload=False)
    assert little < plain / 3


def test_attention_is_not_repeated_where_its_output_is_kept() -> None:
    """Of each block's two attentions the one among video tokens runs once, the one to the text again."""
    calls = 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal calls
            calls += func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
            return func(*args, **(kwargs or {}))

    counts = {}
    for recomputed in ("none", "all_but_attention", "all"):
        calls = 0
        with Count():
            gradients(recomputed=recomputed, offload=False)
        counts[recomputed] = calls
    assert counts == {"none": 6, "all_but_attention": 9, "all": 12}


def test_offload_copies_what_is_large_and_leaves_weights() -> None:
    moved = torch.randn(64, requires_grad=True) * 2
    weight = torch.nn.Parameter(torch.randn(64))
    with offload_activations(min_bytes=256):
        product = moved * weight
    first, second = product.grad_fn._saved_self, product.grad_fn._saved_other  # type: ignore[union-attr]
    assert torch.equal(first, moved)
    assert first.data_ptr() != moved.data_ptr(), "unpacked from a copy"
    assert second.data_ptr() == weight.data_ptr()
