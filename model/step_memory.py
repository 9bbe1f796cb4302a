"""Memory of one forward and backward pass, found by running it on tensors without data.

The model's own code runs on torch's meta device, so the figure follows the code: what autograd saves, what checkpointing recomputes,
what the backward pass needs in passing. Every storage is counted from the operation that makes it until it is freed. Two and three
blocks are run; the cost of one more block is their difference, so a model of any depth takes as long.

Attention is the flash kernel for GPUs, which keeps inputs, output and row sums; left to choose, the meta device would build the whole
matrix. Memory that allocators lose between tensors is not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model.configs import Recomputed, TransformerConfig
from model.transformer import SkyReelsTransformer


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes beyond weights and their gradients."""

    device: int
    """Peak of saved activations and working space."""
    host: int
    """Activations that were offloaded."""


def step_memory(
    config: TransformerConfig, shape: tuple[int, ...], clips: int, *, text_tokens: int, dtype: torch.dtype, recomputed: Recomputed,
    offload_from: int | None, token_shares: int = 1,
) -> StepMemory:  # fmt: skip
    """Peak of one pass over `clips` clips of latents `shape` (C, F, H, W).

    offload_from: bytes from which saved tensors go to the host, None = none does. token_shares: ranks that share a clip's tokens.
    """
    rows = -(-shape[2] // token_shares)  # shares are cut within frames, by tokens; rows of latents come close
    rows += rows % config.patch_size[1]
    mine = (*shape[:2], rows, shape[3])
    peaks = [
        _run(replace(config, num_layers=layers), mine, clips, text_tokens, dtype, recomputed, offload_from)
        for layers in (2, 3)
    ]
    blocks = config.num_layers - 2
    return StepMemory(
        device=peaks[0].device + blocks * (peaks[1].device - peaks[0].device),
        host=peaks[0].host + blocks * (peaks[1].host - peaks[0].host),
    )


def _run(
    config: TransformerConfig, shape: tuple[int, ...], clips: int, text_tokens: int, dtype: torch.dtype, recomputed: Recomputed,
    offload_from: int | None,
) -> StepMemory:  # fmt: skip
    host = 0

    def pack(tensor: Tensor) -> Tensor | tuple[torch.Size, torch.dtype]:
        nonlocal host
        size = tensor.numel() * tensor.element_size()
        if (
            offload_from is None
            or size < offload_from
            or isinstance(tensor, nn.Parameter)
            or isinstance(tensor._base, nn.Parameter)
        ):
            return tensor
        host += size
        return tensor.shape, tensor.dtype

    def unpack(packed: Tensor | tuple[torch.Size, torch.dtype]) -> Tensor:
        return packed if isinstance(packed, Tensor) else torch.empty(packed[0], dtype=packed[1], device="meta")

    with torch.device("meta"):
        model = SkyReelsTransformer(config).to(dtype)
        model.recomputed = recomputed
        latents, text = torch.empty(clips, *shape, dtype=dtype), torch.empty(clips, text_tokens, config.text_dim, dtype=dtype)
        times = torch.empty(clips, shape[1])
        fps = torch.empty(clips, dtype=torch.long) if config.inject_sample_info else None
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
        with _Peak(model.parameters()) as memory, _fused_attention():
            with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
                loss = model(latents, times, text, fps).float().square().mean()
            loss.backward()
    return StepMemory(device=memory.peak, host=host)


def _drop_gradient(parameter: Tensor) -> None:
    """Where gradients are added up is the optimizer's side of the account."""
    parameter.grad = None


class _Peak(TorchDispatchMode):
    """Sum of the storages alive, and its maximum; those of `known` tensors, of which views are made, do not count."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, Any] = {tensor.untyped_storage()._cdata: None for tensor in known}

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()

        def free(_: object) -> None:
            self.now -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, free)
        self.now += size
        self.peak = max(self.peak, self.now)


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Put the kernel for GPUs into torch's choice's place; a function mode would not reach what the backward pass recomputes."""
    real = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = real
