"""LoRA by peft: small trainable factors beside frozen weights, saved as peft's adapter and merged into the weights.

    transformer/    base + alpha / rank * B A in diffusers' layout: loads wherever a full checkpoint does
    adapter/        adapter_config.json, adapter_model.safetensors: peft's format, on the same base

The factors live inside the model (peft's `inject_adapter_in_model`), so ZeRO, checkpoints and the moving average see ordinary
parameters. A resumed run reads base and factors and is exact; the merged weights are never read back.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.configs import TransformerConfig
from model.transformer import SkyReelsTransformer

_NAME = "default"
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of a PeftModel, which peft's files are written from


def add_lora(model: nn.Module, lora: Mapping[str, Any], seed: int) -> None:
    """Freeze a model and add factors to its linear layers; in place.

    lora: rank, alpha, and targets, the layers' last names (`to_q`, `net.2`). B starts as zero, A from the seed. ValueError if a
    target names no layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in lora["targets"]:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            known = sorted({name.rpartition(".")[2] for name in names if not name.rpartition(".")[2].isdigit()})
            raise ValueError(f"lora target {target!r} names no linear layer of the model; its layers end in {', '.join(known)}")
    model.requires_grad_(False)
    torch.manual_seed(seed)
    inject_adapter_in_model(
        LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=list(lora["targets"])), model, _NAME
    )


def factor_count(config: TransformerConfig, lora: Mapping[str, Any]) -> int:
    """Parameters that `add_lora` adds to a model of this config."""
    with torch.device("meta"):
        model = SkyReelsTransformer(config)
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = [m for name, m in layers if any(name == target or name.endswith(f".{target}") for target in lora["targets"])]
    return sum(lora["rank"] * (module.in_features + module.out_features) for module in chosen)


def merge(weights: Mapping[str, Tensor], lora: Mapping[str, Any]) -> dict[str, Tensor]:
    """Named tensors of a model with factors to those of the plain model: W + alpha / rank * B A, in float32."""
    scale = lora["alpha"] / lora["rank"]
    merged = {}
    for name, value in weights.items():
        if ".lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            layer = name.removesuffix(".base_layer.weight")
            a, b = (weights[f"{layer}.lora_{side}.{_NAME}.weight"].float() for side in "AB")
            value = value.float() + scale * (b @ a)
        merged[name.replace(".base_layer.", ".")] = value
    return merged


def save_adapter(factors: Mapping[str, Tensor], lora: Mapping[str, Any], folder: Path) -> None:
    """Write factors (named as in the model) in peft's format."""
    folder.mkdir(parents=True)
    save_file({_PREFIX + name.replace(f".{_NAME}.", "."): value for name, value in factors.items()}, folder / _WEIGHTS)
    config = {
        "peft_type": "LORA", "r": lora["rank"], "lora_alpha": lora["alpha"], "target_modules": list(lora["targets"]), "bias": "none",
        "lora_dropout": 0.0, "inference_mode": True, "task_type": None,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_adapter(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Factors under their names in the model."""
    for name, value in load_file(folder / _WEIGHTS).items():
        layer, side, kind = name.removeprefix(_PREFIX).rsplit(".", 2)
        yield f"{layer}.{side}.{_NAME}.{kind}", value
