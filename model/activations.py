"""Less memory for activations: recompute blocks in the backward pass, and keep what is saved in host memory.

Checkpointing saves the input of each block instead of everything inside it, at the price of one more forward pass. Offload moves what
is still saved to pinned host memory and back; with checkpointing that is little more than one tensor per block (paper: checkpoints of
block inputs in bf16, selective offload to the CPU). Both give the same gradients to the bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_MIN_BYTES = 1 << 20
"""Smaller tensors are not worth a transfer (our choice)."""


@contextmanager
def offload_activations(min_bytes: int = _MIN_BYTES) -> Iterator[None]:
    """Tensors that autograd saves in this context wait on the host until the backward pass asks for them; weights stay.

    On the CPU this copies without any gain.
    """

    def pack(tensor: Tensor) -> Tensor | tuple[torch.device, Tensor]:
        is_weight = isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)
        if is_weight or tensor.numel() * tensor.element_size() < min_bytes:
            return tensor
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        # the copy runs on the current stream, before whatever reuses the tensor's memory there
        return tensor.device, host.copy_(tensor, non_blocking=tensor.is_cuda)

    def unpack(packed: Tensor | tuple[torch.device, Tensor]) -> Tensor:
        return packed if isinstance(packed, Tensor) else packed[1].to(packed[0], non_blocking=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
