"""The model that a run trains: from random weights, a parent, or a checkpoint; with LoRA's factors where the spec asks for them.

ZeRO 3 is for models that no rank holds whole. There the weights stay in files, mapped, until the engine takes each rank's part of one
after another; ranks of one machine share what the system keeps of the files. A start from random weights writes them to a file first.
"""

import shutil
from pathlib import Path

import torch

from model.checkpoint import Checkpoint
from model.growth import grow
from model.lora import add_lora, read_adapter
from model.spec import TrainSpec
from model.training_state import ADAPTERS
from model.transformer import SkyReelsTransformer

_START = ".start"
"""Folder in the run's for random weights that ranks map."""


def build_model(spec: TrainSpec, resume: Checkpoint | None) -> SkyReelsTransformer:
    """The model before the engine wraps it, on the host: in float32, or under ZeRO 3 as its files have it. Collective under ZeRO 3."""
    mapped = spec.zero_stage == 3
    dtype = None if mapped else torch.float32  # published weights may come in bf16; the master weights are not
    if resume and not spec.lora:
        model = SkyReelsTransformer.from_pretrained(resume.path / "transformer", dtype)
    elif spec.parent_dir:
        model = grow(spec.parent_dir, spec.transformer, dtype)
    elif mapped:
        model = _through_a_file(spec)
    else:
        model = _random(spec)
    model.recomputed = spec.activation_checkpointing
    if spec.lora:
        add_lora(model, spec.lora, spec.seed)
        if resume:
            # merged weights are rounded: base and factors are read as they were
            factors = dict(read_adapter(resume.path / ADAPTERS["transformer"]))
            missing, unexpected = model.load_state_dict(factors, strict=False)
            if wrong := [*unexpected, *(name for name in missing if ".lora_" in name)]:
                raise ValueError(f"{resume.path}: factors that do not fit the spec's lora: {wrong}")
    return model


def _random(spec: TrainSpec) -> SkyReelsTransformer:
    torch.manual_seed(spec.seed)
    return SkyReelsTransformer.from_config(spec.transformer)


def _through_a_file(spec: TrainSpec) -> SkyReelsTransformer:
    """Rank 0's random weights, mapped by every rank; the file goes once all have it open."""
    folder, is_first = Path(spec.run_dir) / _START, torch.distributed.get_rank() == 0
    if is_first:
        _random(spec).save_pretrained(folder)
    torch.distributed.barrier()
    model = SkyReelsTransformer.from_pretrained(folder, None)
    torch.distributed.barrier()
    if is_first:
        shutil.rmtree(folder)
    return model
