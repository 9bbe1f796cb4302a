"""Attention over video tokens: 3D rotary positions, block-causal masking without a mask, cross-attention with image tokens.

Legend of suffixes: B batch, F latent frames, N tokens of one frame, L = F * N tokens, H heads, E channels of one head, D = H * E.

A block-causal mask over 51,000 tokens is 2.6 GB as booleans and rules out flash kernels. Frames of one block share their visible
keys, so the same result comes from one unmasked call per block over the keys up to that block's end.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RotaryPositions(nn.Module):
    """3D rotary positions of Wan2.1: E channels split t : h : w = E - 4 (E // 6) : 2 (E // 6) : 2 (E // 6), theta 10000."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        side = 2 * (head_dim // 6)
        self.splits = (head_dim - 2 * side, side, side)
        self._cache: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def forward(self, frames: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosine and sine, each (L, E / 2), float32, tokens in (frame, row, column) order."""
        key = (frames, height, width, device)
        if key not in self._cache:
            if len(self._cache) >= 32:  # buckets in use are few; an endless stream of shapes must not grow memory
                self._cache.clear()
            self._cache[key] = self._table(frames, height, width, device)
        return self._cache[key]

    def _table(self, frames: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, height, width)), indexing="ij")
        angles = [
            axis.reshape(-1, 1) * 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
            for axis, dim in zip(grid, self.splits, strict=True)
        ]
        table = torch.cat(angles, dim=1)
        return table.cos().float().to(device), table.sin().float().to(device)


def rotate(x_BLHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved channel pairs by the token's angles; computed in float32, returned in the input's dtype."""
    even, odd = x_BLHE.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).type_as(x_BLHE)


def block_causal_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, frames: int, block: int) -> Tensor:
    """Attention in which a frame sees every frame of its own block and of all earlier blocks.

    `block` counts latent frames; the last block may be shorter. Equals scaled dot-product attention under the dense mask
    floor(j / block) <= floor(i / block), to float rounding.
    """
    tokens = q_BHLE.shape[2] // frames
    ends = [min(start + block, frames) * tokens for start in range(0, frames, block)]
    starts = [0, *ends[:-1]]
    pieces = [
        F.scaled_dot_product_attention(q_BHLE[:, :, start:end], k_BHLE[:, :, :end], v_BHLE[:, :, :end])
        for start, end in zip(starts, ends, strict=True)
    ]
    return torch.cat(pieces, dim=2)


class Attention(nn.Module):
    """Self- or cross-attention with RMSNorm over all heads on queries and keys (Wan2.1). Parameter names are diffusers'."""

    def __init__(self, dim: int, num_heads: int, eps: float, added_kv_dim: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = nn.RMSNorm(dim, eps=eps)
        self.norm_k = nn.RMSNorm(dim, eps=eps)
        self.added_kv_dim = added_kv_dim
        if added_kv_dim is not None:
            self.add_k_proj = nn.Linear(added_kv_dim, dim)
            self.add_v_proj = nn.Linear(added_kv_dim, dim)
            self.norm_added_k = nn.RMSNorm(dim, eps=eps)

    def self_attend(self, x_BLD: Tensor, rotary: tuple[Tensor, Tensor], frames: int, block: int | None) -> Tensor:
        """Every token sees every token, or with `block` its own and earlier blocks of that many latent frames."""
        q, k, v = self.norm_q(self.to_q(x_BLD)), self.norm_k(self.to_k(x_BLD)), self.to_v(x_BLD)
        q, k = (rotate(t.unflatten(-1, (self.num_heads, -1)), *rotary).transpose(1, 2) for t in (q, k))
        v = self._split(v)
        if block is None or block >= frames:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = block_causal_attention(q, k, v, frames, block)
        return self._merge(out)

    def cross_attend(self, x_BLD: Tensor, text_BSD: Tensor, image_BID: Tensor | None) -> Tensor:
        """Text tokens, zero padding included as in the reference, plus image tokens through their own keys and values."""
        q = self._split(self.norm_q(self.to_q(x_BLD)))
        k, v = self._split(self.norm_k(self.to_k(text_BSD))), self._split(self.to_v(text_BSD))
        out = F.scaled_dot_product_attention(q, k, v)
        if image_BID is not None:
            k, v = self._split(self.norm_added_k(self.add_k_proj(image_BID))), self._split(self.add_v_proj(image_BID))
            out = out + F.scaled_dot_product_attention(q, k, v)
        return self._merge(out)

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _merge(self, x_BHLE: Tensor) -> Tensor:
        return self.to_out[0](x_BHLE.transpose(1, 2).flatten(2))
