"""Sequence parallelism for long token counts: DeepSpeed-Ulysses' all-to-all around attention (arXiv 2309.14509).

Ranks of a group hold the same clips and share their tokens. Everything but self-attention works token by token; for self-attention
an all-to-all turns "own tokens, all heads" into "all tokens, own heads" and back, so its traffic per rank falls with the group's size.

Tokens are cut within each frame: a rank holds its part of every frame, (B, F, N / P, D). So the modulation stays per frame,
(B, F, 6, D), and is broadcast as without parallelism; cut along the whole sequence, it would have to be gathered per token. A frame
whose tokens do not divide is padded; the padding never reaches attention, where all tokens of a head are in one place.

Every rank of a group computes the same loss from the whole velocity. Its gradient to the own tokens is scaled by the group's size, so
that the average over all ranks, which ZeRO takes anyway, is the gradient of the batch.

Legend: B batch, F latent frames, N tokens of one frame, n = ceil(N / P) of this rank, L = F * N or F * n, H heads, h = H / P of this
rank, E channels of one head, P ranks of the group.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class SequenceGroup:
    """One rank's place in its group of `size` ranks; what model.attention.SequenceParallel asks for."""

    def __init__(self, size: int, num_heads: int) -> None:
        """Collective over all ranks: consecutive ranks form a group. ValueError if ranks or attention heads do not divide."""
        world, rank = dist.get_world_size(), dist.get_rank()
        if world % size:
            raise ValueError(f"sequence_parallel {size} does not divide the {world} ranks; choose a divisor")
        if num_heads % size:
            raise ValueError(f"{num_heads} attention heads do not divide among sequence_parallel {size}; choose a divisor of {num_heads}")
        self.size = size
        self.rank = rank % size
        groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
        self.group = groups[rank // size]
        self._tokens = 0  # N of the clips in flight: a forward splits them first, and shares alone do not tell N from its padding

    def split(self, x: Tensor, dim: int) -> Tensor:
        """This rank's ceil(N / P) of the N tokens along a dimension; the last rank's may end in zeros."""
        self._tokens = x.shape[dim]
        share = -(-self._tokens // self.size)
        return _pad(x, dim, share * self.size).narrow(dim, self.rank * share, share)

    def gather(self, x: Tensor, dim: int) -> Tensor:
        """All N tokens along a dimension, on every rank."""
        return _Gather.apply(x, dim, self).narrow(dim, 0, self._tokens)  # type: ignore[union-attr]

    def to_heads(self, x_BLHE: Tensor, frames: int) -> Tensor:
        """(B, F * n, H, E) to (B, F * N, h, E)."""
        sent = x_BLHE.unflatten(2, (self.size, -1)).movedim(2, 0)
        received: Tensor = _Exchange.apply(sent, self.group)  # type: ignore[assignment] # (P, B, F * n, h, E)
        return received.unflatten(2, (frames, -1)).movedim(0, 2).flatten(2, 3)[:, :, : self._tokens].flatten(1, 2)

    def to_tokens(self, x_BLHE: Tensor, frames: int) -> Tensor:
        """(B, F * N, h, E) to (B, F * n, H, E)."""
        x_BFNHE = x_BLHE.unflatten(1, (frames, -1))
        sent = _pad(x_BFNHE, 2, -(-self._tokens // self.size) * self.size).unflatten(2, (self.size, -1)).movedim(2, 0)
        received: Tensor = _Exchange.apply(sent, self.group)  # type: ignore[assignment] # (P, B, F, n, h, E)
        return received.movedim(0, 3).flatten(3, 4).flatten(1, 2)


def _pad(x: Tensor, dim: int, length: int) -> Tensor:
    """Zeros after the last element along a dimension."""
    if x.shape[dim] == length:
        return x
    return torch.cat((x, x.new_zeros(*x.shape[:dim], length - x.shape[dim], *x.shape[dim + 1 :])), dim)


class _Exchange(torch.autograd.Function):
    """Element p of the first axis goes to rank p; what comes back was sent by rank p. The gradient takes the way back."""

    @staticmethod
    def forward(ctx: Any, x_P: Tensor, group: Any) -> Tensor:
        ctx.group = group
        received = torch.empty_like(x_P, memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, x_P.contiguous(), group=group)
        return received

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Exchange.forward(ctx, gradients[0], ctx.group), None


class _Gather(torch.autograd.Function):
    """All ranks' shares in order. Every rank's loss is the group's, so the gradient is the own part, times the group's size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, sequence: SequenceGroup) -> Tensor:
        ctx.dim, ctx.sequence = dim, sequence
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(sequence.size)]
        dist.all_gather(parts, x.contiguous(), group=sequence.group)
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        sequence = ctx.sequence
        return gradients[0].chunk(sequence.size, ctx.dim)[sequence.rank] * sequence.size, None, None
