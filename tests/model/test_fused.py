"""Each fused step against the same formula in plain autograd, in float32 and bfloat16, and what it keeps for its backward."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.fused import RotaryNorm, WideLinear, gated_add, modulated_norm

B, FRAMES, N, D, PAIRS = 2, 3, 4, 24, 6
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 0.03}


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def agree(ours, theirs, *inputs: Tensor) -> None:
    """Values and the gradients of all inputs, summed in one random direction; to the size of what is compared."""
    results = []
    for function in (ours, theirs):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        out = function(*leaves)
        direction = randn(*out.shape, seed=99)
        results.append([out, *torch.autograd.grad((out.float() * direction).sum(), leaves)])
    for mine, other in zip(*results, strict=True):
        assert mine.dtype == other.dtype
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(mine, other, rtol=0, atol=TOLERANCE[inputs[0].dtype] * scale)


def saved_bytes(function, *inputs: Tensor) -> int:
    """Bytes that the graph keeps beside its inputs."""
    known, total = {tensor.data_ptr() for tensor in inputs}, 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        if tensor.data_ptr() not in known:
            known.add(tensor.data_ptr())
            total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(*(tensor.requires_grad_() for tensor in inputs))
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("frames", [1, FRAMES], ids=["one level", "a level per frame"])
def test_modulated_norm(dtype: torch.dtype, frames: int):
    x = 3 * randn(B, FRAMES, N, D, seed=0, dtype=dtype) + 1
    shift, scale = randn(B, frames, 1, D, seed=1), randn(B, frames, 1, D, seed=2)

    def plain(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return (F.layer_norm(x.float(), (D,), eps=1e-6) * (1 + scale) + shift).to(dtype)

    agree(lambda x, shift, scale: modulated_norm(x, shift, scale, 1e-6), plain, x, shift, scale)
    assert modulated_norm(x, shift, scale, 1e-6, torch.float32).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("frames", [1, FRAMES], ids=["one level", "a level per frame"])
def test_gated_add(dtype: torch.dtype, frames: int):
    x, branch = (randn(B, FRAMES, N, D, seed=seed, dtype=dtype) for seed in (0, 1))
    gate = randn(B, frames, 1, D, seed=2)
    agree(gated_add, lambda x, branch, gate: (x.float() + branch.float() * gate).to(dtype), x, branch, gate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rotated", [False, True])
def test_rotary_norm(dtype: torch.dtype, rotated: bool):
    x, weight = randn(B, N, D, seed=0, dtype=dtype), randn(D, seed=1, dtype=dtype)
    rotary = torch.polar(torch.ones(N, PAIRS), randn(N, PAIRS, seed=2)) if rotated else None
    module = RotaryNorm(D, eps=1e-6)

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight}, (x, rotary))

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        y = F.rms_norm(x.float(), (D,), weight.float(), 1e-6)
        if rotary is None:
            return y.to(dtype)
        even, odd = y.unflatten(-1, (-1, PAIRS, 2)).unbind(-1)
        cos, sin = rotary.real[:, None], rotary.imag[:, None]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-3).to(dtype)

    agree(ours, plain, x, weight)


def test_wide_linear_computes_in_float32_with_16_bit_weights():
    module = WideLinear(D, 8).bfloat16()
    x = randn(3, D, seed=0)
    expected = F.linear(x, module.weight.float(), module.bias.float())
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-6)

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (x,))

    agree(ours, lambda x, w, b: F.linear(x, w.float(), b.float()), x, module.weight.detach(), module.bias.detach())


def test_what_is_kept_beside_the_inputs_is_one_number_or_two_per_token():
    x, other = randn(B, FRAMES, N, D, seed=0), randn(B, FRAMES, N, D, seed=1)
    shift, scale = randn(B, FRAMES, 1, D, seed=2), randn(B, FRAMES, 1, D, seed=3)
    tokens = B * FRAMES * N
    assert saved_bytes(lambda x, shift, scale: modulated_norm(x, shift, scale, 1e-6), x, shift, scale) == 2 * 4 * tokens
    assert saved_bytes(gated_add, x, other, shift) == 0
    norm = RotaryNorm(D, eps=1e-6)
    rotary = torch.polar(torch.ones(FRAMES * N, PAIRS), torch.zeros(FRAMES * N, PAIRS))
    flat = x.detach().flatten(1, 2)
    assert saved_bytes(lambda x, w, r: norm(x, rotary), flat, norm.weight, rotary.real) == 4 * tokens
