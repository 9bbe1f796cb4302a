"""A run's weights, AdamW moments and moving average by parameter name, whatever ZeRO stage shards them.

DeepSpeed's own checkpoints are pickles cut by rank. Here whole tensors are gathered per parameter and stored as safetensors: safe to
open, independent of the number of ranks, exact to the bit on the same number.

The moving average is one more state of the optimizer beside AdamW's moments. So it is sharded as they are, each rank averages its own
part of the fp32 master weights, and it moves to host memory with them under offload.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.configs import TransformerConfig
from model.lora import merge, read_adapter, save_adapter
from model.transformer import SkyReelsTransformer
from model.writer import host_copy

MOMENTS = ("exp_avg", "exp_avg_sq")
EMA = "ema"
MASTER = None  # in place of a state's name: the fp32 weights themselves
OPTIMIZER = "optimizer.safetensors"
ADAPTERS = {"transformer": "adapter", EMA: "adapter_ema"}
"""Folder of LoRA's factors beside the folder of the merged weights."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Whole tensors in rank 0's host memory, as gathered; writing them needs no other rank."""

    config: TransformerConfig
    weights: dict[str, Tensor]
    """fp32 master weights of what is trained."""
    frozen: dict[str, Tensor]
    """The rest of the model: empty, or the base of LoRA's factors."""
    ema: dict[str, Tensor] | None
    moments: dict[str, Tensor]
    lora: Mapping[str, Any] | None

    def save(self, folder: Path) -> None:
        """Write `transformer/`, `ema/` (if kept) and `optimizer.safetensors` into an existing folder; LoRA's factors beside them."""
        for name, trained in (("transformer", self.weights), ("ema", self.ema)):
            if trained is not None:
                save_weights(self.config, self.whole(trained), folder / name)
                if self.lora:
                    save_adapter(trained, self.lora, folder / ADAPTERS[name])
        save_file(self.moments, folder / OPTIMIZER)

    def whole(self, trained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """All weights of the plain model."""
        return merge({**self.frozen, **trained}, self.lora) if self.lora else trained


def build_plain(config: TransformerConfig, weights: Mapping[str, Tensor]) -> SkyReelsTransformer:
    """A model around named tensors, which must be exactly its own; nothing is copied."""
    with torch.device("meta"):
        model = SkyReelsTransformer(config)
    model.load_state_dict(dict(weights), strict=True, assign=True)
    return model


def save_weights(config: TransformerConfig, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write named tensors in diffusers' layout."""
    build_plain(config, weights).save_pretrained(folder)


def start_optimizer(engine: Any, step: int, *, ema: bool, weights: Mapping[str, Tensor] | None = None) -> None:
    """Make AdamW's state, which torch would make at the first step, so that a checkpoint can be read into it.

    weights: fp32 values for the master weights. DeepSpeed makes them from the model's after rounding it to bf16.
    """
    if weights is not None:
        scatter(engine, MASTER, weights.__getitem__)
    base = engine.optimizer.optimizer if engine.zero_optimization() else engine.optimizer
    for owner in _owners(engine):
        moments = {moment: torch.zeros_like(owner.data) for moment in MOMENTS}
        average = {EMA: owner.detach().clone()} if ema else {}
        base.state[owner] = {"step": torch.tensor(float(step)), **moments, **average}
    if engine.zero_optimization() and engine.zero_optimization_stage() < 3:
        engine.optimizer._lazy_init_hp_params_optimizer_state()  # lets DeepSpeed map parameters to the new state


def load_optimizer(engine: Any, checkpoint: Path) -> None:
    """Fill moments and moving average from a checkpoint folder; `start_optimizer` comes before."""
    tensors = load_file(checkpoint / OPTIMIZER)
    for moment in MOMENTS:
        scatter(engine, moment, lambda name, moment=moment: tensors[f"{moment}.{name}"])
    if (checkpoint / EMA).is_dir():
        factors = checkpoint / ADAPTERS[EMA]
        average = dict(read_adapter(factors)) if factors.is_dir() else _read_folder(checkpoint / EMA)
        scatter(engine, EMA, average.__getitem__)


@torch.no_grad()
def update_ema(engine: Any, decay: float) -> None:
    """Move the average towards the weights; each rank its own part."""
    base = engine.optimizer.optimizer if engine.zero_optimization() else engine.optimizer
    for owner in _owners(engine):
        base.state[owner][EMA].lerp_(owner.detach(), 1 - decay)


def gather(engine: Any, state: str | None, *, keep: bool) -> dict[str, Tensor]:
    """Whole fp32 tensors of a state (MASTER, a moment, EMA) of the trainable parameters on the host, by name.

    Collective: every rank calls it. Only ranks with `keep` hold what they receive.
    """
    gathered: dict[str, Tensor] = {}
    for name, parameter in _trainable(engine):
        value = _whole(engine, parameter, state)
        if keep:
            gathered |= host_copy({name: value.detach().float()})
    return gathered


def gather_frozen(engine: Any, *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors of the parameters that are not trained, as `gather`."""
    gathered: dict[str, Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            with _assembled(parameter):
                if keep:
                    gathered |= host_copy({name: parameter.detach().float()})
    return gathered


def scatter(engine: Any, state: str | None, read: Callable[[str], Tensor]) -> None:
    """Fill a state from whole tensors; every rank reads the same ones and keeps its own part. No communication."""
    with torch.no_grad():
        for name, parameter in _trainable(engine):
            _fill(engine, parameter, state, read(name))


def _trainable(engine: Any) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad)


def _assembled(parameter: nn.Parameter) -> AbstractContextManager[Any]:
    if not hasattr(parameter, "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([parameter])


def _owners(engine: Any) -> list[Tensor]:
    """The tensors that this rank's optimizer steps: parameters, or its flat parts of the fp32 master weights."""
    if not engine.zero_optimization():
        return [parameter for group in engine.optimizer.param_groups for parameter in group["params"]]
    for kind in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition"):
        if owners := getattr(engine.optimizer, kind, None):  # ZeRO-3, ZeRO-1/2, ZeRO-1 with bf16
            return list(owners)
    raise RuntimeError(
        f"{type(engine.optimizer).__name__} keeps its master weights elsewhere; deepspeed is not the pinned version"
    )


def _whole(engine: Any, parameter: nn.Parameter, state: str | None) -> Tensor:
    if not engine.zero_optimization():
        return parameter if state is MASTER else engine.optimizer.state[parameter][state]
    sharded: Any = parameter  # DeepSpeed puts a method on each parameter of stages 1 and 2
    value = (
        engine.optimizer.get_full_hp_param(parameter, state) if hasattr(parameter, "ds_id") else sharded.get_full_hp_param(state)
    )
    assert value is not None
    return value


def _fill(engine: Any, parameter: nn.Parameter, state: str | None, value: Tensor) -> None:
    if not engine.zero_optimization():
        (parameter if state is MASTER else engine.optimizer.state[parameter][state]).copy_(value)
    elif hasattr(parameter, "ds_id"):
        # DeepSpeed's setter asks for more elements than a parameter has where its last part is padded
        part, _ = engine.optimizer._get_fp32_opt_state_partition(parameter, release_swap_buffers=False, optim_state_key=state)
        start = part.numel() * torch.distributed.get_rank()
        own = value.flatten()[start : start + part.numel()]
        part[: own.numel()].copy_(own)
    else:
        parameter.set_full_hp_param(value.to(torch.float32), state)  # type: ignore[attr-defined]


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    return tensors
