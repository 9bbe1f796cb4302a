"""Less memory for activations: recompute blocks in the backward pass, and keep what is saved in host memory.

Checkpointing saves the input of each block instead of everything inside it, at the price of one more forward pass. At 51,000 tokens
most of that price is attention, whose output is one tensor of the input's size: `all_but_attention` saves it as well. Offload moves
what is still saved to pinned host memory and back; with checkpointing that is little more than one tensor per block (paper: checkpoints
of block inputs in bf16, selective offload to the CPU). All give the same gradients to the bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from model.configs import Recomputed

_ATTENTION = {
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}

_MIN_BYTES = 1 << 20
"""Smaller tensors are not worth a transfer (our choice)."""


def run_block(block: nn.Module, recomputed: Recomputed, *arguments: Any) -> Any:
    """Call a block so that its backward pass computes again what it should. Attention's outputs stay on the device under offload."""
    if recomputed == "none" or not torch.is_grad_enabled():
        return block(*arguments)
    if recomputed == "all":
        return checkpoint(block, *arguments, use_reentrant=False)
    return checkpoint(
        block, *arguments, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, _keep_attention)
    )


def _keep_attention(_: object, operation: object, *args: Any, **__: Any) -> CheckpointPolicy:
    """Keep attention among video tokens. Attention to the text, whose keys are fewer than its queries, costs little to repeat."""
    if operation in _ATTENTION and args[0].shape[-2] <= args[1].shape[-2]:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


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
