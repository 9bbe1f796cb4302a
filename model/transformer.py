"""The SkyReels-V2 video transformer (Wan2.1 DiT with per-frame timesteps), weight-compatible with diffusers' layout.

Two facts shape it. The modulation stays per frame, (B, F, 6, D), and is broadcast over a frame's tokens: materialized per token,
as upstream does, it takes 6.3 GB for a 14B model at 540p. And attention blocks belong to a call, not to the weights: no sampling
option can switch a bidirectional checkpoint to causal attention behind the caller's back.

Legend of suffixes: B batch, C channels, F latent frames, N tokens of one frame, L = F * N, D model width, S text tokens.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from model.attention import Attention, RotaryPositions

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
DIFFUSERS_CLASS = "SkyReelsV2Transformer3DModel"
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


class _Projection(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class _Mlp(nn.Module):
    """Linear, activation, Linear under diffusers' FeedForward names (net.0.proj, net.2)."""

    def __init__(self, dim_in: int, dim_hidden: int, dim_out: int, activation: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(_Projection(dim_in, dim_hidden), activation, nn.Linear(dim_hidden, dim_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _Embedder(nn.Module):
    """Linear, activation, Linear under diffusers' names (linear_1, linear_2)."""

    def __init__(self, dim_in: int, dim: int, activation: nn.Module) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = nn.Linear(dim_in, dim), activation, nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(x)))


class _ImageEmbedder(nn.Module):
    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim_in), nn.LayerNorm(dim)
        self.ff = _Mlp(dim_in, dim_in, dim, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.ff(self.norm1(x)))


class _ConditionEmbedder(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.freq_dim = config.freq_dim
        self.time_embedder = _Embedder(config.freq_dim, dim, nn.SiLU())
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text_embedder = _Embedder(config.text_dim, dim, nn.GELU(approximate="tanh"))
        self.image_embedder = _ImageEmbedder(config.image_dim, dim) if config.image_dim else None

    def time(self, t_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps (0..1000, float or int) to the head's vector (B, F, D) and the blocks' modulation (B, F, 6, D)."""
        half = self.freq_dim // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=t_BF.device) / half)
        angles = t_BF.double()[..., None] * frequencies
        wave = torch.cat((angles.cos(), angles.sin()), dim=-1).to(self.time_proj.weight.dtype)
        temb = self.time_embedder(wave)
        return temb, self.time_proj(F.silu(temb)).unflatten(-1, (6, -1))


def _modulate(x_BFND: Tensor, norm_eps: float, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights, then a per-frame affine; float32 inside, the input's dtype outside."""
    normed = F.layer_norm(x_BFND.float(), x_BFND.shape[-1:], eps=norm_eps)
    return (normed * (1 + scale) + shift).type_as(x_BFND)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward; the first and last modulated and gated per frame."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.eps = config.eps
        self.attn1 = Attention(dim, config.num_attention_heads, config.eps)
        self.attn2 = Attention(dim, config.num_attention_heads, config.eps, config.added_kv_proj_dim)
        self.norm2 = nn.LayerNorm(dim, config.eps) if config.cross_attn_norm else nn.Identity()
        self.ffn = _Mlp(dim, config.ffn_dim, dim, nn.GELU(approximate="tanh"))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self, x_BFND: Tensor, text_BSD: Tensor, image_BID: Tensor | None, e_BF6D: Tensor,
        rotary: tuple[Tensor, Tensor], attention_block: int | None,
    ) -> Tensor:  # fmt: skip
        frames = x_BFND.shape[1]
        modulation = (self.scale_shift_table.float() + e_BF6D.float())[:, :, :, None, :]  # (B, F, 6, 1, D)
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = modulation.unbind(2)

        h = _modulate(x_BFND, self.eps, shift_sa, scale_sa).flatten(1, 2)
        h = self.attn1.self_attend(h, rotary, frames, attention_block).unflatten(1, (frames, -1))
        x_BFND = (x_BFND.float() + h * gate_sa).type_as(x_BFND)

        h = self.norm2(x_BFND).flatten(1, 2)
        x_BFND = x_BFND + self.attn2.cross_attend(h, text_BSD, image_BID).unflatten(1, (frames, -1))

        h = self.ffn(_modulate(x_BFND, self.eps, shift_ff, scale_ff))
        return (x_BFND.float() + h.float() * gate_ff).type_as(x_BFND)


class SkyReelsTransformer(nn.Module):
    """Velocity of noised latents; see the module docstring. Build with `from_config` or `from_pretrained`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.rope = RotaryPositions(config.attention_head_dim)
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, kernel_size=config.patch_size, stride=config.patch_size)
        self.condition_embedder = _ConditionEmbedder(config)
        self.blocks = nn.ModuleList([TransformerBlock(config) for _ in range(config.num_layers)])
        self.proj_out = nn.Linear(dim, config.out_channels * math.prod(config.patch_size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        if config.inject_sample_info:
            self.fps_embedding = nn.Embedding(2, dim)
            self.fps_projection = _Mlp(dim, dim, 6 * dim, nn.SiLU())
        self.gradient_checkpointing = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """From diffusers' config dict, with the reference's initialization for training from scratch."""
        model = cls(TransformerConfig.from_dict(config))
        model.init_weights()
        return model

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """From a folder in diffusers' layout (config.json, one or several safetensors files). Every key must match."""
        folder = Path(folder)
        model = cls(TransformerConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8"))))
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"no .safetensors file in {folder}")
        state = {key: value for file in files for key, value in load_file(file).items()}
        model.load_state_dict(state, strict=True)
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and one safetensors file that diffusers' class loads too."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}, folder / WEIGHTS_NAME)
        config = {"_class_name": DIFFUSERS_CLASS, "qk_norm": "rms_norm_across_heads", **asdict(self.config)}
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @torch.no_grad()
    def init_weights(self) -> None:
        """Upstream's initialization [code: init_weights]; diffusers has none, so its class cannot be trained from scratch."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        assert self.patch_embedding.bias is not None
        nn.init.zeros_(self.patch_embedding.bias)
        for embedder in (self.condition_embedder.time_embedder, self.condition_embedder.text_embedder):
            nn.init.normal_(embedder.linear_1.weight, std=0.02)
            nn.init.normal_(embedder.linear_2.weight, std=0.02)
        if self.config.inject_sample_info:
            nn.init.normal_(self.fps_embedding.weight, std=0.02)
            first, last = (module for module in self.fps_projection.modules() if isinstance(module, nn.Linear))
            nn.init.normal_(first.weight, std=0.02)
            nn.init.zeros_(last.weight)  # the embedding starts without effect
        nn.init.zeros_(self.proj_out.weight)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        fps: Tensor | None = None,
        encoder_hidden_states_image: Tensor | None = None,
        attention_block: int | None = None,
    ) -> Tensor:
        """Velocity (noise - data) of noised latents.

        Args:
            hidden_states: (B, C, F, H, W) latents x = (1 - sigma) * data + sigma * noise; i2v models take 36 channels.
            timestep: (B,) or per frame (B, F), 1000 * sigma, 0 = clean.
            encoder_hidden_states: (B, S, text_dim) text features, zero vectors where padded.
            fps: (B,) frames per second of each clip, 16 or 24 (or diffusers' indices 0 and 1); needed if and only if the
                model carries the FPS embedding.
            encoder_hidden_states_image: (B, I, image_dim) CLIP features of an i2v model.
            attention_block: latent frames per block of block-causal attention; None = every frame sees every frame.

        Returns: (B, C_out, F, H, W). Raises ValueError on shapes that do not fit.
        """
        batch, _, frames, height, width = hidden_states.shape
        rows, columns = height // self.config.patch_size[1], width // self.config.patch_size[2]
        t_BF = self._frame_timesteps(timestep, batch, frames)
        temb_BFD, e_BF6D = self.condition_embedder.time(t_BF)
        e_BF6D = self._add_fps(e_BF6D, fps, batch)

        x_BFND = self.patch_embedding(hidden_states).flatten(3).permute(0, 2, 3, 1)
        text_BSD = self.condition_embedder.text_embedder(encoder_hidden_states)
        image_BID = None if encoder_hidden_states_image is None else self._image(encoder_hidden_states_image)
        rotary = self.rope(frames, rows, columns, x_BFND.device)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x_BFND = checkpoint(
                    block, x_BFND, text_BSD, image_BID, e_BF6D, rotary, attention_block, use_reentrant=False
                )  # type: ignore[assignment]
            else:
                x_BFND = block(x_BFND, text_BSD, image_BID, e_BF6D, rotary, attention_block)

        shift, scale = (self.scale_shift_table.float() + temb_BFD.float()[:, :, None, :])[:, :, :, None, :].unbind(2)
        out = self.proj_out(_modulate(x_BFND, self.config.eps, shift, scale))
        patch_h, patch_w = self.config.patch_size[1:]
        out = out.reshape(batch, frames, rows, columns, patch_h, patch_w, -1)
        return out.permute(0, 6, 1, 2, 4, 3, 5).reshape(batch, -1, frames, height, width)

    def _frame_timesteps(self, timestep: Tensor, batch: int, frames: int) -> Tensor:
        if timestep.shape == (batch,):
            return timestep[:, None]  # one column, broadcast over frames
        if timestep.shape == (batch, frames):
            return timestep
        raise ValueError(f"timestep has shape {tuple(timestep.shape)}; expected ({batch},) or ({batch}, {frames})")

    def _add_fps(self, e_BF6D: Tensor, fps: Tensor | None, batch: int) -> Tensor:
        if not self.config.inject_sample_info:
            return e_BF6D  # 24 fps only models dropped the embedding at the first SFT (paper)
        if fps is None or fps.shape != (batch,):
            raise ValueError(f"this model carries the FPS embedding: give fps with shape ({batch},), values 16 or 24")
        index = ((fps != 16) & (fps != 0)).long().to(e_BF6D.device)  # code: 16 -> 0, all else -> 1
        return e_BF6D + self.fps_projection(self.fps_embedding(index)).unflatten(-1, (6, -1))[:, None]

    def _image(self, image: Tensor) -> Tensor:
        if self.condition_embedder.image_embedder is None:
            raise ValueError("encoder_hidden_states_image was given, but this config has no image_dim: not an i2v model")
        return self.condition_embedder.image_embedder(image)
