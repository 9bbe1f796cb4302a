"""Attention over video tokens: 3D rotary positions, block-causal masking without a dense mask, cross-attention with image tokens.

Legend of suffixes: B batch, F latent frames, N tokens of one frame, L = F * N tokens, H heads, E channels of one head, D = H * E,
P = E / 2 rotated pairs.

A block-causal mask over 51,000 tokens is 2.6 GB as booleans and rules out flash kernels. Frames of one block share their visible
keys, so the same result comes from one unmasked call per block over the keys up to that block's end.
"""

from functools import cache, lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.fused import RotaryNorm

_FLEX_FROM_BLOCKS = 32
"""On CUDA, more blocks go to one FlexAttention kernel. Our choice: up to there each block fills the GPU with a plain kernel of its own,
which is faster per product (25 blocks of 2,040 tokens, 40 heads, forward and backward on an H200: 221 ms against 263), but its backward
adds a full-length gradient of keys per block."""


class SequenceParallel(Protocol):
    """How the tokens of one clip are spread over ranks, each with the same share of every frame's tokens (Ulysses).

    Cut within frames rather than along the whole sequence, every rank keeps the (B, F, n, D) shape, and modulation per frame
    broadcasts as on one rank; there is no index from token to frame.
    """

    def split(self, x: Tensor, dim: int) -> Tensor:
        """This rank's share along a dimension of N tokens; ValueError if it does not divide. Its backward gathers."""
        ...

    def gather(self, x: Tensor, dim: int) -> Tensor:
        """All ranks' shares along a dimension, in order of ranks. Its backward splits."""
        ...

    def to_heads(self, x_BLHE: Tensor, frames: int) -> Tensor:
        """A share of tokens and all heads to all tokens, frame by frame, and a share of heads."""
        ...

    def to_tokens(self, x_BLHE: Tensor, frames: int) -> Tensor:
        """The way back."""
        ...


class RotaryPositions(nn.Module):
    """3D rotary positions of Wan2.1: E channels split t : h : w = E - 4 (E // 6) : 2 (E // 6) : 2 (E // 6), theta 10000."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        side = 2 * (head_dim // 6)
        self.splits = (head_dim - 2 * side, side, side)
        self._cache: dict[tuple[object, ...], Tensor] = {}

    def forward(self, frames: int, height: int, width: int, device: torch.device) -> Tensor:
        """Unit complex numbers (F, N, P), complex64 rounded from float64; tokens of a frame in (row, column) order."""
        key = (frames, height, width, device)
        if key not in self._cache:
            if len(self._cache) >= 32:  # buckets in use are few; an endless stream of shapes must not grow memory
                self._cache.clear()
            self._cache[key] = self._table(frames, height, width).to(device)
        return self._cache[key]

    def _table(self, frames: int, height: int, width: int) -> Tensor:
        with torch.device("cpu"):  # whatever device a caller builds on
            grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, height, width)), indexing="ij")
            angles = torch.cat(
                [
                    axis.reshape(frames, height * width, 1) * 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
                    for axis, dim in zip(grid, self.splits, strict=True)
                ],
                dim=-1,
            )
            return torch.complex(angles.cos().float(), angles.sin().float())


def attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
    """Every query sees every key: scaled dot-product attention by the fastest kernel there is."""
    if q_BHLE.device.type != "cuda" or q_BHLE.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE)
    # torch prefers its own flash kernel; on Hopper cuDNN's uses the asynchronous tensor cores
    kernels = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kernels, set_priority=True):
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE)


def block_causal_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, frames: int, block: int) -> Tensor:
    """Attention in which a frame sees every frame of its own block and of all earlier blocks.

    `block` counts latent frames; the last block may be shorter. Equals scaled dot-product attention under the dense mask
    floor(j / block) <= floor(i / block), to float rounding.
    """
    if q_BHLE.device.type == "cuda" and frames > block * _FLEX_FROM_BLOCKS:
        return flex_block_causal(q_BHLE, k_BHLE, v_BHLE, frames, block)
    return piecewise_block_causal(q_BHLE, k_BHLE, v_BHLE, frames, block)


def piecewise_block_causal(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, frames: int, block: int) -> Tensor:
    """`block_causal_attention` by one unmasked call per block: exactly the products that count, by any SDPA kernel."""
    tokens = q_BHLE.shape[2] // frames
    ends = [min(start + block, frames) * tokens for start in range(0, frames, block)]
    starts = [0, *ends[:-1]]
    pieces = [
        attention(q_BHLE[:, :, start:end], k_BHLE[:, :, :end], v_BHLE[:, :, :end])
        for start, end in zip(starts, ends, strict=True)
    ]
    return torch.cat(pieces, dim=2)


def flex_block_causal(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, frames: int, block: int) -> Tensor:
    """`block_causal_attention` by FlexAttention with a block mask: one kernel however many blocks; compiled on CUDA."""
    mask = _block_mask(frames, q_BHLE.shape[2] // frames, block, q_BHLE.device)
    return _flex_kernel(q_BHLE.device.type)(q_BHLE, k_BHLE, v_BHLE, block_mask=mask)  # type: ignore[operator]


@cache
def _flex_kernel(device_type: str) -> object:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False) if device_type == "cuda" else flex_attention


@lru_cache(32)
def _block_mask(frames: int, tokens: int, block: int, device: torch.device) -> object:
    from torch.nn.attention.flex_attention import create_block_mask

    step, length = tokens * block, frames * tokens

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key // step <= query // step

    # compiled on CUDA: built eagerly, the mask would pass through the dense L x L form that it exists to avoid
    return create_block_mask(sees, None, None, length, length, device=device, _compile=device.type == "cuda")


class Attention(nn.Module):
    """Self- or cross-attention with RMSNorm over all heads on queries and keys (Wan2.1). Parameter names are diffusers'."""

    def __init__(self, dim: int, num_heads: int, eps: float, added_kv_dim: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = RotaryNorm(dim, eps=eps)
        self.norm_k = RotaryNorm(dim, eps=eps)
        self.added_kv_dim = added_kv_dim
        if added_kv_dim is not None:
            self.add_k_proj = nn.Linear(added_kv_dim, dim)
            self.add_v_proj = nn.Linear(added_kv_dim, dim)
            self.norm_added_k = RotaryNorm(dim, eps=eps)
        self.sequence_parallel: SequenceParallel | None = None
        """Set on self-attention by SkyReelsTransformer.enable_sequence_parallel."""

    def self_attend(self, x_BLD: Tensor, rotary_LP: Tensor, frames: int, block: int | None) -> Tensor:
        """Every token sees every token, or with `block` its own and earlier blocks of that many latent frames."""
        q = self._split(self.norm_q(self.to_q(x_BLD), rotary_LP))
        k = self._split(self.norm_k(self.to_k(x_BLD), rotary_LP))
        v = self._split(self.to_v(x_BLD))
        if self.sequence_parallel is not None:
            q, k, v = (self.sequence_parallel.to_heads(t, frames) for t in (q, k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        if block is not None and block < frames:
            out = block_causal_attention(q, k, v, frames, block).transpose(1, 2)
        else:
            out = attention(q, k, v).transpose(1, 2)
        if self.sequence_parallel is not None:
            out = self.sequence_parallel.to_tokens(out, frames)
        return self.to_out[0](out.flatten(2))

    def cross_attend(self, x_BLD: Tensor, text_BSD: Tensor, image_BID: Tensor | None) -> Tensor:
        """Text tokens, zero padding included as in the reference, plus image tokens through their own keys and values."""
        q = self._split(self.norm_q(self.to_q(x_BLD))).transpose(1, 2)
        out = self._look_up(q, self.norm_k(self.to_k(text_BSD)), self.to_v(text_BSD))
        if image_BID is not None:
            out = out + self._look_up(q, self.norm_added_k(self.add_k_proj(image_BID)), self.add_v_proj(image_BID))
        return self.to_out[0](out.transpose(1, 2).flatten(2))

    def _look_up(self, q_BHLE: Tensor, k_BSD: Tensor, v_BSD: Tensor) -> Tensor:
        k, v = (self._split(t).transpose(1, 2) for t in (k_BSD, v_BSD))
        return attention(q_BHLE, k, v)

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.num_heads, -1))
