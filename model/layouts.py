"""The two layouts of published weights: the original one (Wan, SkyReels) and diffusers', mapped name by name in both directions.

Upstream loads with strict=False, so a missing key leaves a random weight without a word. Here a key that the table does not know is
an error, as is one that is missing when the model loads the result.

    model.safetensors + config.json with `dim`                                -> original layout
    diffusion_pytorch_model*.safetensors + config.json with `attention_head_dim` -> diffusers' layout
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from model.configs import TransformerConfig

# original module or parameter -> diffusers' (code: diffusers' conversion script)
_TOP = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "fps_embedding": "fps_embedding",
    "fps_projection.0": "fps_projection.net.0.proj",
    "fps_projection.2": "fps_projection.net.2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
_IMAGE_ATTENTION = {"k_img": "add_k_proj", "v_img": "add_v_proj", "norm_k_img": "norm_added_k"}
_BLOCK = {
    "modulation": "scale_shift_table",
    "norm3": "norm2",  # the one before cross-attention; the other two carry no weights in either layout
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    **{f"self_attn.{theirs}": f"attn1.{name}" for theirs, name in _ATTENTION.items()},
    **{f"cross_attn.{theirs}": f"attn2.{name}" for theirs, name in (_ATTENTION | _IMAGE_ATTENTION).items()},
}
_TOP_BACK, _BLOCK_BACK = ({name: theirs for theirs, name in table.items()} for table in (_TOP, _BLOCK))

_CONFIG = {
    "num_heads": "num_attention_heads", "in_dim": "in_channels", "out_dim": "out_channels", "freq_dim": "freq_dim",
    "ffn_dim": "ffn_dim", "num_layers": "num_layers", "eps": "eps", "inject_sample_info": "inject_sample_info",
    "text_dim": "text_dim",
}  # fmt: skip
_FIXED_IN_CODE: dict[str, tuple[Any, ...]] = {
    "patch_size": ([1, 2, 2], (1, 2, 2)), "text_len": (512,), "window_size": ([-1, -1], (-1, -1)), "qk_norm": (True,),
    "cross_attn_norm": (True,),
}  # fmt: skip
_MODEL_TYPES = ("t2v", "i2v")
_IMAGE_DIM = 1280  # code: width of the CLIP features, a constant of upstream's image embedder


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json belongs to the original layout."""
    return "dim" in config


def from_original_config(config: Mapping[str, Any]) -> TransformerConfig:
    """A config.json of the original layout. Raises ValueError on an unknown key, or a value that upstream's code ignores."""
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    known = {*_CONFIG, *_FIXED_IN_CODE, "dim", "model_type"}
    if wrong := sorted(set(values) - known):
        raise ValueError(f"unknown keys {wrong} in a config of the original layout; known keys: {sorted(known)}")
    if missing := sorted({"dim", "num_heads", "model_type"} - set(values)):
        raise ValueError(f"keys {missing} are missing in a config of the original layout")
    for key, allowed in _FIXED_IN_CODE.items():
        if key in values and values[key] not in allowed:
            raise ValueError(f"{key} is {values[key]!r} in a config of the original layout; upstream's code has {allowed[0]!r}")
    if values["model_type"] not in _MODEL_TYPES:
        raise ValueError(f"model_type is {values['model_type']!r}; known: {', '.join(_MODEL_TYPES)}")
    if values["dim"] % values["num_heads"]:
        raise ValueError(f"dim {values['dim']} does not divide among {values['num_heads']} heads")
    fields: dict[str, Any] = {ours: values[theirs] for theirs, ours in _CONFIG.items() if theirs in values}
    if values["model_type"] == "i2v":
        fields |= {"image_dim": _IMAGE_DIM, "added_kv_proj_dim": values["dim"]}
    return TransformerConfig(**fields, attention_head_dim=values["dim"] // values["num_heads"])


def to_original_config(config: TransformerConfig) -> dict[str, Any]:
    """config.json of the original layout. Raises ValueError where that layout cannot say what the config does."""
    if config.patch_size != (1, 2, 2) or not config.cross_attn_norm or config.image_dim not in (None, _IMAGE_DIM):
        raise ValueError(
            f"the original layout fixes patch_size (1, 2, 2), cross_attn_norm true and image_dim {_IMAGE_DIM}; this model has "
            f"{config.patch_size}, {config.cross_attn_norm} and {config.image_dim}: write it in diffusers' layout"
        )
    return {
        "_class_name": "WanModel", "dim": config.dim, "model_type": "i2v" if config.image_dim else "t2v", "text_len": 512,
        **{theirs: getattr(config, ours) for theirs, ours in _CONFIG.items()},
    }  # fmt: skip


def from_original_name(name: str) -> str:
    """diffusers' name of a parameter; KeyError if the original layout has none of this name."""
    return _translate(name, _TOP, _BLOCK)


def to_original_name(name: str) -> str:
    """The original name of a parameter; KeyError if diffusers' layout has none of this name."""
    return _translate(name, _TOP_BACK, _BLOCK_BACK)


def rename(state: Mapping[str, Tensor], translate: Callable[[str], str]) -> dict[str, Tensor]:
    """A state dict under the other layout's names; the tensors are the same objects. Raises ValueError naming unknown keys."""
    renamed, unknown = {}, []
    for name, tensor in state.items():
        try:
            renamed[translate(name)] = tensor
        except KeyError:
            unknown.append(name)
    if unknown:
        raise ValueError(f"weights that no layout of this model knows: {', '.join(sorted(unknown)[:10])} ({len(unknown)} in all)")
    return renamed


def _translate(name: str, top: Mapping[str, str], block: Mapping[str, str]) -> str:
    if name.startswith("blocks."):
        _, number, rest = name.split(".", 2)
        return f"blocks.{int(number)}.{_translate(rest, block, {})}"
    if name in top:
        return top[name]
    module, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        raise KeyError(name)
    return f"{top[module]}.{leaf}"
