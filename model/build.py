"""The model that a run trains: from random weights, a parent, or a checkpoint; with LoRA's factors where the spec asks for them."""

import torch

from model.checkpoint import Checkpoint
from model.growth import grow
from model.lora import add_lora, read_adapter
from model.spec import TrainSpec
from model.training_state import ADAPTERS
from model.transformer import SkyReelsTransformer


def build_model(spec: TrainSpec, resume: Checkpoint | None) -> SkyReelsTransformer:
    """The model before the engine wraps it, on the host, in float32."""
    if resume and not spec.lora:
        model = SkyReelsTransformer.from_pretrained(resume.path / "transformer")
    elif spec.parent_dir:
        model = grow(spec.parent_dir, spec.transformer)
    else:
        torch.manual_seed(spec.seed)
        model = SkyReelsTransformer.from_config(spec.transformer)
    model = model.float()  # published weights may come in bf16; the master weights are not
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
