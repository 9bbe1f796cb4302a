"""Configurations of the transformer: diffusers' fields, and the sizes of published checkpoints by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

Recomputed = Literal["none", "all_but_attention", "all"]
"""What the backward pass of a block computes again instead of having it saved (activation checkpointing)."""

_IGNORED_KEYS = {"qk_norm", "rope_max_seq_len", "num_frame_per_block", "pos_embed_seq_len"}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """diffusers' config fields; defaults are diffusers'."""

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 16
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 8192
    num_layers: int = 32
    cross_attn_norm: bool = True
    eps: float = 1e-6
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    inject_sample_info: bool = False

    def __post_init__(self) -> None:
        if self.attention_head_dim % 2 or self.attention_head_dim < 6:
            raise ValueError(f"attention_head_dim is {self.attention_head_dim}; rotary positions need an even number >= 6")
        if self.patch_size[0] != 1:
            raise ValueError(f"patch_size is {self.patch_size}; per-frame timesteps need a temporal patch of 1")
        if self.added_kv_proj_dim not in (None, self.dim):
            raise ValueError(f"added_kv_proj_dim is {self.added_kv_proj_dim}; image tokens have the model's width, {self.dim}")
        if (self.image_dim is None) != (self.added_kv_proj_dim is None):
            raise ValueError(
                f"image_dim is {self.image_dim} and added_kv_proj_dim {self.added_kv_proj_dim}; "
                "an image-to-video model needs both, any other model neither"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Accept a diffusers config.json; unknown keys are refused, private ones (`_class_name`) and inert ones dropped."""
        known = {field.name for field in fields(cls)}
        wrong = sorted(k for k in values if k not in known and k not in _IGNORED_KEYS and not k.startswith("_"))
        if wrong:
            raise ValueError(f"unknown transformer config keys {wrong}; known keys: {sorted(known)}")
        kept = {k: v for k, v in values.items() if k in known}
        if "patch_size" in kept:
            kept["patch_size"] = tuple(kept["patch_size"])
        return cls(**kept)

    @property
    def dim(self) -> int:
        """Model width D."""
        return self.num_attention_heads * self.attention_head_dim


def _i2v(config: TransformerConfig, image_dim: int) -> TransformerConfig:
    """16 noised channels, 4 of a mask and 16 of the encoded image; image features enter by cross-attention."""
    return replace(config, in_channels=36, image_dim=image_dim, added_kv_proj_dim=config.dim)


_1_3B = TransformerConfig(num_attention_heads=12, ffn_dim=8960, num_layers=30)
_14B = TransformerConfig(num_attention_heads=40, ffn_dim=13824, num_layers=40)
_TINY = TransformerConfig(num_attention_heads=2, attention_head_dim=12, text_dim=32, freq_dim=32, ffn_dim=48, num_layers=2)

CONFIGS: dict[str, TransformerConfig] = {
    # code: upstream's checkpoints
    "1.3b": _1_3B,
    "1.3b_df": replace(_1_3B, inject_sample_info=True),
    "1.3b_i2v": _i2v(_1_3B, 1280),
    "14b": _14B,  # text-to-video and diffusion forcing alike: the config does not tell them apart, a manifest has to
    "14b_i2v": _i2v(_14B, 1280),
    # our choice, a guess: upstream names a 5B model and published neither weights nor sizes. These are Wan2.2-TI2V-5B's, which
    # goes with another VAE (48 channels); here it keeps the 16 channels of the published models.
    "5b": TransformerConfig(num_attention_heads=24, ffn_dim=14336, num_layers=30),
    # our choice: for tests
    "tiny": _TINY,
    "tiny_df": replace(_TINY, inject_sample_info=True),
    "tiny_i2v": _i2v(_TINY, 20),
}
"""Named sizes; `from_config` of a recipe takes the same fields one by one."""
