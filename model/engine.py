"""DeepSpeed around a model: ZeRO sharding, and optimizer state that is read and written by parameter name.

DeepSpeed's own checkpoints are pickles cut by rank. Here the moments are gathered per parameter and stored as safetensors, so a
checkpoint is safe to open and resumes on another number of ranks; on the same number it is exact to the bit.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


def init_distributed(accelerator: str) -> None:
    """Join the process group that the launcher's environment describes (gloo on CPU, NCCL on CUDA)."""
    os.environ["DS_ACCELERATOR"] = accelerator
    import deepspeed
    import deepspeed.ops

    if accelerator == "cpu":
        # DeepSpeed would compile a shared-memory all-reduce at this point (55 s, needs g++); gloo serves without it.
        # Declaring every native op incompatible also skips the probing of compilers.
        deepspeed.ops.__dict__["__compatible_ops__"] = defaultdict(bool)
    deepspeed.init_distributed(dist_backend="gloo" if accelerator == "cpu" else "nccl", verbose=False)


def build_engine(model: nn.Module, *, zero_stage: int, dtype: str, batch_per_rank: int, learning_rate: float,
                 weight_decay: float, grad_clip: float) -> Any:  # fmt: skip
    """A DeepSpeed engine with torch's AdamW; the learning rate is set by the caller each step."""
    import deepspeed

    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    config = {
        "train_micro_batch_size_per_gpu": batch_per_rank,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": grad_clip,
        "zero_optimization": {"stage": zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": dtype == "bfloat16"},
        "steps_per_print": 10**9,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return engine


def gather_optimizer(engine: Any, *, write: bool) -> dict[str, Tensor]:
    """The moments of every parameter in host memory of the writing rank. Collective: all ranks call it."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        for moment in MOMENTS:
            value = _get_moment(engine, parameter, moment)
            if write:
                tensors[f"{moment}.{name}"] = value.detach().cpu().contiguous().clone()
        if engine.zero_optimization() and engine.bfloat16_enabled():
            from deepspeed.utils import safe_get_full_fp32_param

            master = safe_get_full_fp32_param(parameter)
            if write and master is not None:
                tensors[f"master.{name}"] = master.detach().cpu().contiguous().clone()
    return tensors


def load_optimizer(engine: Any, path: Path, step: int) -> None:
    """Restore the moments of every parameter and the optimizer's step count; weights are loaded before the engine is built."""
    _allocate_moments(engine, step)
    tensors = load_file(path)
    for name, parameter in engine.module.named_parameters():
        for moment in MOMENTS:
            _set_moment(engine, parameter, moment, tensors[f"{moment}.{name}"])
        if f"master.{name}" in tensors:
            from deepspeed.utils import safe_set_full_fp32_param

            safe_set_full_fp32_param(parameter, tensors[f"master.{name}"].to(parameter.device))


def _allocate_moments(engine: Any, step: int) -> None:
    """AdamW makes its state at the first step; a resumed run needs it before."""
    zero = engine.zero_optimization()
    base = engine.optimizer.optimizer if zero else engine.optimizer
    if not zero:
        owners = [p for group in base.param_groups for p in group["params"]]
    elif engine.zero_optimization_stage() == 3:
        owners = engine.optimizer.fp32_partitioned_groups_flat
    else:
        owners = engine.optimizer.single_partition_of_fp32_groups
    for owner in owners:
        base.state[owner] = {"step": torch.tensor(float(step)), **{m: torch.zeros_like(owner.data) for m in MOMENTS}}
    if zero and engine.zero_optimization_stage() < 3:
        engine.optimizer._lazy_init_hp_params_optimizer_state()  # lets DeepSpeed map parameters to the new state


def _get_moment(engine: Any, parameter: nn.Parameter, moment: str) -> Tensor:
    if not engine.zero_optimization():
        return engine.optimizer.state[parameter][moment]
    from deepspeed.utils import safe_get_full_optimizer_state

    state = safe_get_full_optimizer_state(parameter, moment)
    assert state is not None
    return state


def _set_moment(engine: Any, parameter: nn.Parameter, moment: str, value: Tensor) -> None:
    if not engine.zero_optimization():
        engine.optimizer.state[parameter][moment].copy_(value)
        return
    from deepspeed.utils import safe_set_full_optimizer_state

    safe_set_full_optimizer_state(parameter, value.to(parameter.device), moment)
