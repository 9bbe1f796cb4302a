"""DeepSpeed around a model: ZeRO stages, offload, bf16 with fp32 master weights, gradient accumulation."""

import importlib
import os
from collections import defaultdict
from typing import Any

import torch
from torch import nn

from model.spec import TrainSpec

BUCKET = 50_000_000
"""Elements per reduction; DeepSpeed's 5e8 would take 2 GB of float32 on every rank (our choice)."""


def init_distributed(accelerator: str) -> None:
    """Join the process group that the launcher's environment describes (gloo on CPU, NCCL on CUDA)."""
    os.environ["DS_ACCELERATOR"] = accelerator
    import deepspeed
    import deepspeed.ops

    if accelerator == "cpu":
        # DeepSpeed would compile a shared-memory all-reduce at this point (55 s, needs g++); gloo serves without it.
        # Declaring every native op incompatible also skips the probing of compilers.
        deepspeed.ops.__dict__["__compatible_ops__"] = defaultdict(bool)
    else:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))  # a collective before the engine is built needs it
    _import_uncompiled("deepspeed.runtime.zero.muon.original_muon")
    deepspeed.init_distributed(dist_backend="gloo" if accelerator == "cpu" else "nccl", verbose=False)


def _import_uncompiled(module: str) -> None:
    """Import a module without its `torch.compile`. DeepSpeed imports its Muon to ask whether our AdamW is one, and that module's one
    compiled function, which nobody calls, brings in the compiler: a third of the time that a rank takes to start."""
    compiled = torch.compile
    try:
        torch.compile = lambda function: function  # type: ignore[assignment]
        importlib.import_module(module)
    finally:
        torch.compile = compiled


def build_engine(model: nn.Module, spec: TrainSpec, ranks_per_clip: int = 1) -> Any:
    """A DeepSpeed engine with torch's AdamW over the trainable parameters; the caller sets the rates of each step.

    ranks_per_clip: size of a sequence-parallel group. DeepSpeed is not told of it: gradients are averaged over all ranks, and
    model.parallel scales its ranks' parts so that this average is the gradient of the whole batch.
    """
    import deepspeed

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=spec.learning_rate, weight_decay=spec.weight_decay, betas=(0.9, 0.99))
    clips = spec.batch_size * ranks_per_clip // torch.distributed.get_world_size()
    config = deepspeed_config(spec, clips)
    if spec.zero_stage == 3:
        _shard(model, config, spec)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)  # type: ignore[arg-type]
    return engine


def _shard(model: nn.Module, config: dict[str, Any], spec: TrainSpec) -> None:
    """Leave each rank its part of every parameter, one after another: `initialize` would first make a copy of all of them in bf16."""
    import deepspeed

    dtype = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    init = deepspeed.zero.Init(module=nn.Module(), config_dict_or_path=config, dtype=dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        init._convert_to_zero_parameters([parameter])


def deepspeed_config(spec: TrainSpec, clips_per_rank: int) -> dict[str, Any]:
    """DeepSpeed's settings for a spec."""
    zero: dict[str, Any] = {
        "stage": spec.zero_stage, "overlap_comm": False, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET,
    }  # fmt: skip
    host = {"device": "cpu", "pin_memory": spec.accelerator == "cuda"}
    if spec.offload != "none":
        zero["offload_optimizer"] = host
    if spec.offload == "all":
        zero["offload_param"] = host
    half = spec.dtype == "bfloat16"
    return {
        "train_micro_batch_size_per_gpu": clips_per_rank // spec.micro_batches,
        "gradient_accumulation_steps": spec.micro_batches,
        "gradient_clipping": spec.grad_clip,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # DeepSpeedCPUAdam is compiled on first use (80 s) and is another AdamW to the bit
        "bf16": {"enabled": half},
        "data_types": {"grad_accum_dtype": "fp32"},  # micro-batches in bf16 would lose what they add
        "steps_per_print": 10**9,
    }
