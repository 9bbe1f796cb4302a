"""Recomputed and offloaded activations: the same gradients to the bit, and less saved."""

import pytest
import torch

from model.activations import offload_activations
from model.transformer import SkyReelsTransformer

_CONFIG = {
    "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "text_dim": 8, "freq_dim": 8, "ffn_dim": 32,
    "num_layers": 3,
}  # fmt: skip


def gradients(*, checkpointing: bool, offload: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one step, and the bytes that the model saved for it (recomputation and hooks included)."""
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(_CONFIG)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    model.gradient_checkpointing = checkpointing
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


@pytest.mark.parametrize(("checkpointing", "offload"), [(True, False), (False, True), (True, True)])
def test_gradients_are_the_same_to_the_bit(checkpointing: bool, offload: bool) -> None:
    plain, _ = gradients(checkpointing=False, offload=False)
    ours, _ = gradients(checkpointing=checkpointing, offload=offload)
    assert set(ours) == set(plain)
    assert all(torch.equal(ours[name], gradient) for name, gradient in plain.items())


def test_checkpointing_saves_little() -> None:
    _, plain = gradients(checkpointing=False, offload=False)
    _, little = gradients(checkpointing=True, offload=False)
    assert little < plain / 3


def test_offload_copies_what_is_large_and_leaves_weights() -> None:
    moved = torch.randn(64, requires_grad=True) * 2
    weight = torch.nn.Parameter(torch.randn(64))
    with offload_activations(min_bytes=256):
        product = moved * weight
    first, second = product.grad_fn._saved_self, product.grad_fn._saved_other  # type: ignore[union-attr]
    assert torch.equal(first, moved)
    assert first.data_ptr() != moved.data_ptr(), "unpacked from a copy"
    assert second.data_ptr() == weight.data_ptr()
