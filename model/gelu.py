"""The second half of a feed-forward layer: GELU (tanh form) and the linear layer after it as one step that saves the activation's input.

Like the steps of model.fused it recomputes the cheap part in the backward pass. On a CPU in float32 it takes rows in tiles and GELU in
strips of a tile: 0.5 u (1 + tanh z) is u sigmoid(2 z), and one sigmoid gives value and derivative. In passes over a core's cache that is
1.4 ns an element forward and 2.1 backward (AVX-512); torch's own kernels take 2.0 and 4.3.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_TILE = 1 << 21
"""Elements of an activation that a product takes at a time (our choice): 8 MB in float32; products of lower tiles are up to 8 % slower."""
_STRIP = 1 << 17
"""Elements that the passes of GELU take at a time (our choice): 512 KB in float32, so that input, value and slope fit a core's 2 MB of
cache; on smaller strips the calls cost more than the memory."""
_LINEAR = 2 * (2 / torch.pi) ** 0.5
_CUBIC = _LINEAR * 0.044715
"""2 z = _LINEAR u + _CUBIC u^3."""


class LinearOfGelu(nn.Linear):
    """`linear(gelu(u))` (tanh form) that saves u alone: not the activation, which is as large. A plain linear layer otherwise.

    Who puts another layer in its place (LoRA) must see an ordinary `linear(x)`, so the activation is asked for by argument.
    """

    def forward(self, input: Tensor, of_gelu: bool = False) -> Tensor:
        """(..., features in) to (..., features out); with `of_gelu` the input is the activation's."""
        if not of_gelu:
            return F.linear(input, self.weight, self.bias)
        return _LinearOfGelu.apply(input, self.weight, self.bias)  # type: ignore[return-value]


class _LinearOfGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(u, weight)
        rows = u.flatten(0, -2)
        out = rows.new_empty(len(rows), len(weight))
        for tile, value in _tiles(rows):
            _gelu(rows[tile], value)
            torch.addmm(bias, value, weight.T, out=out[tile])
        return out.unflatten(0, u.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, weight = ctx.saved_tensors
        rows, grad = u.flatten(0, -2), grad.reshape(-1, len(weight))
        grad_u, grad_weight = torch.empty_like(rows), torch.zeros_like(weight)
        in_strips = _is_wide_on_cpu(rows)
        for tile, value in _tiles(rows):
            if in_strips:
                _gelu_and_slope(rows[tile], value, grad_u[tile])
            else:
                torch.ops.aten.gelu.out(rows[tile], approximate="tanh", out=value)
            grad_weight.addmm_(grad[tile].T, value)
            torch.mm(grad[tile], weight, out=value)
            if in_strips:
                grad_u[tile].mul_(value)
            else:
                torch.ops.aten.gelu_backward.grad_input(value, rows[tile], approximate="tanh", grad_input=grad_u[tile])
        return grad_u.view_as(u), grad_weight, grad.sum(0)


def _is_wide_on_cpu(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and rows.dtype == torch.float32


def _tiles(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Row ranges one after another, each with a buffer of its size: few rows in float32 on CPU, as they fit near the core.

    Else all at once: sums over tiles would round in a 16-bit dtype, and a GPU wants large kernels.
    """
    height = max(1, _TILE // rows.shape[1] if _is_wide_on_cpu(rows) else len(rows))
    buffer = rows.new_empty(min(len(rows), height), rows.shape[1])
    for start in range(0, len(rows), height):
        tile = slice(start, min(start + height, len(rows)))
        yield tile, buffer[: tile.stop - tile.start]


def _gelu(u: Tensor, value: Tensor) -> None:
    """GELU of u into `value`."""
    if not _is_wide_on_cpu(u):
        torch.ops.aten.gelu.out(u, approximate="tanh", out=value)
        return
    for strip in _strips(u):
        _twice_z(u[strip], value[strip]).sigmoid_().mul_(u[strip])


def _gelu_and_slope(u: Tensor, value: Tensor, slope: Tensor) -> None:
    """GELU of u into `value`, its derivative into `slope`, from one sigmoid s: s + u s (1 - s) d(2 z)/du."""
    for strip in _strips(u):
        part, z2 = u[strip], _twice_z(u[strip], slope[strip])
        sigmoid = torch.sigmoid(z2, out=value[strip])
        z2.add_(part, alpha=-2 / 3 * _LINEAR)  # u d(2 z)/du = _LINEAR u + 3 _CUBIC u^3 = 3 (2 z) - 2 _LINEAR u: a third of it
        torch.ops.aten.sigmoid_backward.grad_input(z2, sigmoid, grad_input=z2)  # times s (1 - s)
        torch.add(sigmoid, z2, alpha=3, out=z2)
        sigmoid.mul_(part)


def _strips(u: Tensor) -> Iterator[slice]:
    height = max(1, _STRIP // u.shape[1])
    for start in range(0, len(u), height):
        yield slice(start, start + height)


def _twice_z(u: Tensor, out: Tensor) -> Tensor:
    torch.mul(u, u, out=out)
    return torch.add(torch.tensor(_LINEAR), out, alpha=_CUBIC, out=out).mul_(u)
