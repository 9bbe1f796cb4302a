"""The start of a stage from its parent's weights: everything is taken over as it is, but for one removal that the paper describes.

Another resolution or duration needs no surgery, since rotary positions are computed. From the first fine-tuning on all data has 24
frames per second and the FPS embedding goes (paper; the published 14B checkpoints have none). At 24 frames per second what it adds to
the blocks' modulation is one constant vector: it moves into the bias of the projection that it was added to, so the smaller
model's output at 24 frames per second is its parent's (our choice: the paper does not say what becomes of it).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from model.transformer import SkyReelsTransformer, TransformerConfig

_FPS = ("fps_embedding.", "fps_projection.")
_FLAG = "inject_sample_info"
_BIAS = "condition_embedder.time_proj.bias"
_INDEX_24 = 1  # row of the embedding: 16 -> 0, everything else -> 1 (code)


def grow(parent: str | Path, config: Mapping[str, Any], dtype: torch.dtype | None = torch.float32) -> SkyReelsTransformer:
    """A model of `config` with the weights of a checkpoint folder in diffusers' layout; dtype as for `from_pretrained`.

    ValueError if the two differ in anything but an FPS embedding that only the parent has.
    """
    wanted = TransformerConfig.from_dict(config)
    model = SkyReelsTransformer.from_pretrained(parent, dtype)
    is_dropped = model.config.inject_sample_info and not wanted.inject_sample_info
    have = asdict(replace(model.config, inject_sample_info=False) if is_dropped else model.config)
    if wrong := [f"{key} {have[key]}, not {value}" for key, value in asdict(wanted).items() if have[key] != value]:
        raise ValueError(f"{parent} has {'; '.join(wrong)}; start from a checkpoint of the recipe's model")
    return _without_fps(model, wanted) if is_dropped else model


def removed_parameters(parent: str | Path, config: Mapping[str, Any]) -> list[str]:
    """Names of the parent's parameters that `grow` leaves out, sorted; read from its config alone."""
    values = json.loads((Path(parent) / "config.json").read_text(encoding="utf-8"))
    if not values.get(_FLAG) or config.get(_FLAG):
        return []
    with torch.device("meta"):
        names = SkyReelsTransformer(TransformerConfig.from_dict(values)).state_dict()
    return sorted(name for name in names if name.startswith(_FPS))


@torch.no_grad()
def _without_fps(model: SkyReelsTransformer, config: TransformerConfig) -> SkyReelsTransformer:
    constant = model.fps_projection(model.fps_embedding.weight[_INDEX_24])
    with torch.device("meta"):
        smaller = SkyReelsTransformer(config)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith(_FPS)}
    weights[_BIAS] = weights[_BIAS] + constant
    smaller.load_state_dict(weights, strict=True, assign=True)
    return smaller
