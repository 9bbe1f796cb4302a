"""Steps between the matrix products that remember their inputs alone and recompute the cheap rest in the backward pass.

Autograd keeps every intermediate of a norm, a rotation or an activation: about half of what a transformer block holds in training.
Each function here is one such step as an `autograd.Function`: it computes in float32 whatever the tensors' dtype (as the reference
does for norms, modulation, gates and rotations), returns the dtype it was given, and saves tensors in that dtype.

On a GPU each step is compiled to few kernels (model.compiled): as single operations they would carry float32 copies of every
activation through memory.

Weights are used only inside the module that owns them, through its call. So hooks (ZeRO-3 gathering, LoRA layers put in a linear
layer's place, activation checkpointing) see what they would see with plain modules.

Legend of suffixes: B batch, F latent frames, N tokens of one frame, L = F * N, D width, H heads, E channels of a head, P pairs = E / 2.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model.compiled import compiled_on_gpu


def modulated_norm(
    x_BFND: Tensor, shift_BF1D: Tensor, scale_BF1D: Tensor, eps: float, dtype: torch.dtype | None = None
) -> Tensor:
    """LayerNorm without weights, then `* (1 + scale) + shift` per frame; (B, F, N, D) in `dtype` (default: of x).

    Shift and scale are float32 and may have one frame for all. Saved for backward: x, and mean and rstd per token; not the
    normalized tensor, nor a float32 copy of x.
    """
    return _ModulatedNorm.apply(x_BFND, shift_BF1D, scale_BF1D, eps, dtype or x_BFND.dtype)  # type: ignore[return-value]


class _ModulatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        y, mean, rstd = _modulate(x, shift, scale, eps, dtype)
        ctx.save_for_backward(x, scale, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        return *_modulate_backward(grad, *ctx.saved_tensors), None, None


@compiled_on_gpu
def _modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The result, and mean and rstd of each token."""
    y, mean, rstd = torch.native_layer_norm(x.float(), x.shape[-1:], None, None, eps)
    y = torch.addcmul(shift, y, 1 + scale, out=y)
    return y.to(dtype), mean, rstd


@compiled_on_gpu
def _modulate_backward(grad: Tensor, x: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, shift and scale."""
    wide, grad = x.float(), grad.float()
    normed = torch.addcmul(-mean * rstd, wide, rstd)
    grad_scale = normed.mul_(grad).sum_to_size(scale.shape)
    del normed
    grad_normed = grad * (1 + scale)
    grad_x = torch.ops.aten.native_layer_norm_backward(
        grad_normed, wide, x.shape[-1:], mean, rstd, None, None, [True, False, False]
    )[0]
    return grad_x.to(x.dtype), grad.sum_to_size(scale.shape), grad_scale


def gated_add(x_BFND: Tensor, branch_BFND: Tensor, gate_BF1D: Tensor) -> Tensor:
    """x + branch * gate per frame, in x's dtype. Saved for backward: the branch in its own dtype."""
    return _GatedAdd.apply(x_BFND, branch_BFND, gate_BF1D)  # type: ignore[return-value]


class _GatedAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
        ctx.save_for_backward(branch, gate)
        return _add_gated(x, branch, gate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return grad, *_add_gated_backward(grad, *ctx.saved_tensors)


@compiled_on_gpu
def _add_gated(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(x.float(), branch.float(), gate).to(x.dtype)


@compiled_on_gpu
def _add_gated_backward(grad: Tensor, branch: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of branch and gate."""
    wide = grad.float()
    grad_gate = (wide * branch).sum_to_size(gate.shape)
    return (wide * gate).to(branch.dtype), grad_gate


class RotaryNorm(nn.RMSNorm):
    """RMSNorm over all heads' channels, then rotation of interleaved channel pairs; parameter `weight` as in nn.RMSNorm.

    Saved for backward: the input and one float per token. Plain autograd keeps four tensors of the input's size.
    """

    def forward(self, x: Tensor, rotary_LP: Tensor | None = None) -> Tensor:
        """x: (B, L, D), D = H * 2 P. rotary_LP: complex64 unit numbers, or None for the norm alone. Returns (B, L, D)."""
        return _RotaryNorm.apply(x, self.weight, rotary_LP, self.eps)  # type: ignore[return-value]


class _RotaryNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rotary_LP: Tensor | None, eps: float) -> Tensor:
        y, rrms_BL1 = _norm_and_rotate(x, weight, None if rotary_LP is None else torch.view_as_real(rotary_LP), eps)
        ctx.save_for_backward(x, weight, rrms_BL1, rotary_LP)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, rrms_BL1, rotary_LP = ctx.saved_tensors
        rotary_LP2 = None if rotary_LP is None else torch.view_as_real(rotary_LP)
        return *_norm_and_rotate_backward(grad, x, weight, rrms_BL1, rotary_LP2), None, None


@compiled_on_gpu
def _norm_and_rotate(x: Tensor, weight: Tensor, rotary_LP2: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """The result, and one over each token's root mean square."""
    wide = x.float()
    norm_BL1 = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    rrms_BL1 = (norm_BL1.square_().div_(x.shape[-1]).add_(eps)).rsqrt_()
    return _scaled_and_rotated(wide * weight.float(), rrms_BL1, rotary_LP2, back=False).to(x.dtype), rrms_BL1


@compiled_on_gpu
def _norm_and_rotate_backward(
    grad: Tensor, x: Tensor, weight: Tensor, rrms_BL1: Tensor, rotary_LP2: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight."""
    wide = x.float()
    grad_x = _scaled_and_rotated(grad.float().contiguous(), rrms_BL1, rotary_LP2, back=True)  # of x * weight, times rrms
    product = grad_x * wide
    grad_weight = product.flatten(0, -2).sum(0).to(weight.dtype)
    along_BL1 = (product @ weight.float())[..., None]
    del product
    # y = x w r(x) with dr/dx = -r^3 x / D; one r is in grad_x already
    grad_x.mul_(weight).addcmul_(wide, along_BL1 * rrms_BL1.square(), value=-1 / x.shape[-1])
    return grad_x.to(x.dtype), grad_weight


def _scaled_and_rotated(x_BLD: Tensor, scale_BL1: Tensor, rotary_LP2: Tensor | None, *, back: bool) -> Tensor:
    """Each token times its scale, its pairs rotated, in one pass: both are one complex factor. Forward, x is overwritten."""
    if rotary_LP2 is None:
        return x_BLD * scale_BL1 if back else x_BLD.mul_(scale_BL1)
    pairs_BLHP2 = x_BLD.unflatten(-1, (-1, *rotary_LP2.shape[1:]))
    if x_BLD.device.type == "cuda":  # compilers make no kernels of complex numbers
        real, imaginary = (pairs_BLHP2 * scale_BL1[..., None, None]).unbind(-1)
        cos, sin = rotary_LP2[:, None].unbind(-1)
        sin = -sin if back else sin
        return torch.stack((real * cos - imaginary * sin, real * sin + imaginary * cos), -1).flatten(-3)
    rotary_LP, pairs_BLHP = torch.view_as_complex(rotary_LP2), torch.view_as_complex(pairs_BLHP2)
    factor_BL1P = ((rotary_LP.conj() if back else rotary_LP) * scale_BL1)[:, :, None, :]
    if back:
        return torch.view_as_real(pairs_BLHP * factor_BL1P).flatten(-3)
    pairs_BLHP.mul_(factor_BL1P)
    return x_BLD


class WideLinear(nn.Linear):
    """A linear layer computed in float32 whatever its weights' dtype, as the reference does for time, frame rate and head.

    Saved for backward: the weight as it is stored, not its float32 copy (0.6 GB in a 14B model's time projection).
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., features in) of any dtype to float32 (..., features out)."""
        if self.weight.dtype == torch.float32:
            return F.linear(input.float(), self.weight, self.bias)
        return _WideLinear.apply(input, self.weight, self.bias)  # type: ignore[return-value]


class _WideLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x.float(), weight.float(), bias.float())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        grad_weight = rows.T @ x.flatten(0, -2).float()
        return (grad @ weight.float()).to(x.dtype), grad_weight.to(weight.dtype), rows.sum(0).to(weight.dtype)
