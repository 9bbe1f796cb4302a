"""GELU and the layer after it: values and gradients against plain autograd, tiles and strips that do not divide, what is kept."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.gelu import LinearOfGelu, _gelu, _gelu_and_slope
from model.transformer import _FeedForward
from tests.model.test_fused import B, D, agree, randn, saved_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_linear_of_gelu(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("model.gelu._TILE", 3 * D)  # tiles of three rows, the last one shorter
    monkeypatch.setattr("model.gelu._STRIP", 2 * D)
    module = LinearOfGelu(D, 8)
    u, weight, bias = randn(B, 5, D, seed=0, dtype=dtype), randn(8, D, seed=1, dtype=dtype), randn(8, seed=2, dtype=dtype)

    def ours(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (u, True))

    agree(ours, lambda u, weight, bias: F.linear(F.gelu(u, approximate="tanh"), weight, bias), u, weight, bias)
    x = randn(2, D, seed=3)
    assert torch.equal(module(x), F.linear(x, module.weight, module.bias))  # an ordinary linear layer unless asked


def test_value_and_slope_over_the_whole_range():
    u = torch.cat((torch.linspace(-12, 12, 4001), torch.tensor([-1e6, -100.0, 100.0, 1e6, 0.0])))[:, None]
    exact = u.double().requires_grad_()
    expected = F.gelu(exact, approximate="tanh")
    (slope_of,) = torch.autograd.grad(expected.sum(), exact)
    value, alone, slope = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
    _gelu_and_slope(u, value, slope)
    _gelu(u, alone)
    assert torch.equal(value, alone)
    torch.testing.assert_close(value.double(), expected.detach(), rtol=5e-7, atol=5e-7)
    torch.testing.assert_close(slope.double(), slope_of, rtol=1e-6, atol=1e-6)


def test_nothing_is_kept_beside_the_inputs():
    last = LinearOfGelu(D, 8)
    u = randn(B, 5, D, seed=0)
    assert saved_bytes(lambda u, *_: last(u, True), u, last.weight, last.bias) == 0


def test_another_layer_in_the_last_ones_place_sees_the_activation():
    """As peft puts LoRA layers: `linear(x)` must mean the same as in diffusers."""
    feed_forward = _FeedForward(D, 32)
    x = randn(2, D, seed=0)
    expected = feed_forward(x)

    class Wrapped(nn.Module):
        def __init__(self, base_layer: nn.Module) -> None:
            super().__init__()
            self.base_layer = base_layer

        def forward(self, x: Tensor) -> Tensor:
            return self.base_layer(x)

    feed_forward.net[2] = Wrapped(feed_forward.net[2])
    torch.testing.assert_close(feed_forward(x), expected, rtol=0, atol=1e-6)
