"""The SkyReels-V2 video transformer (Wan2.1 DiT with per-frame timesteps), weight-compatible with diffusers' layout.

Two facts shape it. The modulation stays per frame, (B, F, 6, D), and is broadcast over a frame's tokens: materialized per token,
as upstream does, it takes 6.3 GB for a 14B model at 540p. And attention blocks belong to a call, not to the weights: no sampling
option can switch a bidirectional checkpoint to causal attention behind the caller's back.

Legend of suffixes: B batch, C channels, F latent frames, N tokens of one frame, L = F * N, D model width, S text tokens.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model.activations import run_block
from model.attention import Attention, RotaryPositions, SequenceParallel
from model.configs import Recomputed, TransformerConfig
from model.fused import WideLinear, gated_add, modulated_norm
from model.gelu import LinearOfGelu
from model.layouts import from_original_config, from_original_name, is_original, rename, to_original_config, to_original_name
from model.patches import PatchEmbedding

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
ORIGINAL_WEIGHTS_NAME = "model.safetensors"
DIFFUSERS_CLASS = "SkyReelsV2Transformer3DModel"


class _Projection(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.proj = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class _Mlp(nn.Module):
    """Linear, activation, Linear under diffusers' FeedForward names (net.0.proj, net.2)."""

    def __init__(self, first: nn.Linear, activation: nn.Module, last: nn.Linear) -> None:
        super().__init__()
        self.net = nn.Sequential(_Projection(first), activation, last)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _FeedForward(_Mlp):
    """A block's feed-forward; the activation and what follows it are one step, unless another layer sits in the last one's place."""

    def __init__(self, dim: int, dim_hidden: int) -> None:
        super().__init__(nn.Linear(dim, dim_hidden), nn.GELU(approximate="tanh"), LinearOfGelu(dim_hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        first, _, last = self.net
        return last(first(x), of_gelu=True) if type(last) is LinearOfGelu else self.net(x)


class _Embedder(nn.Module):
    """Linear, activation, Linear under diffusers' names (linear_1, linear_2)."""

    def __init__(self, linear_1: nn.Linear, activation: nn.Module, linear_2: nn.Linear) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = linear_1, activation, linear_2

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(x)))


class _ImageEmbedder(nn.Module):
    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim_in), nn.LayerNorm(dim)
        self.ff = _Mlp(nn.Linear(dim_in, dim_in), nn.GELU(), nn.Linear(dim_in, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.ff(self.norm1(x)))


class _ConditionEmbedder(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.freq_dim = config.freq_dim
        self.time_embedder = _Embedder(WideLinear(config.freq_dim, dim), nn.SiLU(), WideLinear(dim, dim))
        self.time_proj = WideLinear(dim, 6 * dim)
        self.text_embedder = _Embedder(nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.image_embedder = _ImageEmbedder(config.image_dim, dim) if config.image_dim else None

    def time(self, t_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps (0..1000, float or int) to the head's vector (B, F, D) and the blocks' modulation (B, F, 6, D), float32."""
        half = self.freq_dim // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=t_BF.device) / half)
        angles = t_BF.double()[..., None] * frequencies
        wave = torch.cat((angles.cos(), angles.sin()), dim=-1).float()
        temb = self.time_embedder(wave)
        return temb, self.time_proj(F.silu(temb)).unflatten(-1, (6, -1))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward; the first and last modulated and gated per frame."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.eps = config.eps
        self.attn1 = Attention(dim, config.num_attention_heads, config.eps)
        self.attn2 = Attention(dim, config.num_attention_heads, config.eps, config.added_kv_proj_dim)
        self.norm2 = nn.LayerNorm(dim, config.eps) if config.cross_attn_norm else nn.Identity()
        self.ffn = _FeedForward(dim, config.ffn_dim)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self, x_BFND: Tensor, text_BSD: Tensor, image_BID: Tensor | None, e_BF6D: Tensor, rotary_LP: Tensor,
        attention_block: int | None,
    ) -> Tensor:  # fmt: skip
        """Tokens by frame to tokens by frame; under sequence parallelism N and L count this rank's share of each frame."""
        frames = x_BFND.shape[1]
        modulation = (self.scale_shift_table.float() + e_BF6D.float())[:, :, :, None, :]  # (B, F, 6, 1, D)
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = modulation.unbind(2)

        h = modulated_norm(x_BFND, shift_sa, scale_sa, self.eps).flatten(1, 2)
        h = self.attn1.self_attend(h, rotary_LP, frames, attention_block).unflatten(1, (frames, -1))
        x_BFND = gated_add(x_BFND, h, gate_sa)

        h = self.norm2(x_BFND).flatten(1, 2)
        x_BFND = x_BFND + self.attn2.cross_attend(h, text_BSD, image_BID).unflatten(1, (frames, -1))

        h = self.ffn(modulated_norm(x_BFND, shift_ff, scale_ff, self.eps))
        return gated_add(x_BFND, h, gate_ff)


class SkyReelsTransformer(nn.Module):
    """Velocity of noised latents; see the module docstring. Build with `from_config` or `from_pretrained`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.rope = RotaryPositions(config.attention_head_dim)
        self.patch_embedding = PatchEmbedding(config.in_channels, dim, config.patch_size)
        self.condition_embedder = _ConditionEmbedder(config)
        self.blocks = nn.ModuleList([TransformerBlock(config) for _ in range(config.num_layers)])
        self.proj_out = WideLinear(dim, config.out_channels * math.prod(config.patch_size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        if config.inject_sample_info:
            self.fps_embedding = nn.Embedding(2, dim)
            self.fps_projection = _Mlp(WideLinear(dim, dim), nn.SiLU(), WideLinear(dim, 6 * dim))
        self.recomputed: Recomputed = "none"
        """What the backward pass of a block computes again."""
        self.sequence_parallel: SequenceParallel | None = None

    def enable_sequence_parallel(self, parallel: SequenceParallel) -> None:
        """Spread the tokens of every frame over ranks; latents, timesteps and text are whole on each of them, as is the output."""
        self.sequence_parallel = parallel
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            block.attn1.sequence_parallel = parallel

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """From diffusers' config dict, with the reference's initialization for training from scratch."""
        model = cls(TransformerConfig.from_dict(config))
        model.init_weights()
        return model

    @classmethod
    def from_text_to_video(cls, parent: "SkyReelsTransformer", image_dim: int = 1280) -> Self:
        """An image-to-video model that starts as its text-to-video parent (paper): zero weights wherever the image enters.

        New are 20 input channels (4 of a mask, 16 of the encoded image) and the attention to image tokens; zero are the input
        channels' weights and the image values' (code: zero_init_i2v_cross_attn), so its velocity is the parent's at first.
        """
        old = parent.config
        config = replace(old, in_channels=old.in_channels + 4 + old.out_channels, image_dim=image_dim, added_kv_proj_dim=old.dim)
        model = cls.from_config(asdict(config))
        weights = parent.state_dict()
        patch = torch.zeros_like(model.patch_embedding.weight)
        patch[:, : old.in_channels] = weights["patch_embedding.weight"]
        model.load_state_dict(model.state_dict() | weights | {"patch_embedding.weight": patch}, strict=True)
        with torch.no_grad():
            for block in model.blocks:
                assert isinstance(block, TransformerBlock)
                block.attn2.add_v_proj.weight.zero_()
                block.attn2.add_v_proj.bias.zero_()
        return model

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype | None = torch.float32) -> Self:
        """From config.json and the safetensors files of a folder, in diffusers' or the original layout. Every key must match.

        Holds the model and one tensor more at a time: it is built without memory and takes each weight as it is read. With dtype None
        the weights stay in the files, mapped, as they are stored: whoever reads them pays, and all processes of a machine share it.
        """
        folder = Path(folder)
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        original = is_original(values)
        with torch.device("meta"):
            model = cls(from_original_config(values) if original else TransformerConfig.from_dict(values))
        state = _read_weights(folder, dtype)
        model.load_state_dict(rename(state, from_original_name) if original else state, strict=True, assign=True)
        return model

    def save_pretrained(self, folder: str | Path, *, original: bool = False) -> None:
        """Write config.json and one safetensors file that diffusers' class loads too, or upstream's with `original`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        if original:
            config = to_original_config(self.config)
            save_file(rename(state, to_original_name), folder / ORIGINAL_WEIGHTS_NAME)
        else:
            config = {"_class_name": DIFFUSERS_CLASS, "qk_norm": "rms_norm_across_heads", **asdict(self.config)}
            save_file(state, folder / WEIGHTS_NAME)
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

        Returns: (B, C_out, F, H, W), float32. Raises ValueError on shapes that do not fit.
        """
        batch, channels, frames, height, width = hidden_states.shape
        _, patch_h, patch_w = self.config.patch_size
        if channels != self.config.in_channels or height % patch_h or width % patch_w:
            raise ValueError(
                f"hidden_states has shape {tuple(hidden_states.shape)}; this model takes {self.config.in_channels} channels and "
                f"heights and widths that {patch_h} x {patch_w} patches divide"
            )
        rows, columns = height // patch_h, width // patch_w
        t_BF = self._frame_timesteps(timestep, batch, frames)
        temb_BFD, e_BF6D = self.condition_embedder.time(t_BF)
        e_BF6D = self._add_fps(e_BF6D, fps, batch)

        x_BFND = self.patch_embedding(hidden_states)
        text_BSD = self.condition_embedder.text_embedder(encoder_hidden_states)
        image_BID = self._image(encoder_hidden_states_image)
        rotary_FNP = self.rope(frames, rows, columns, x_BFND.device)
        if self.sequence_parallel is not None:
            x_BFND, rotary_FNP = self.sequence_parallel.split(x_BFND, 2), self.sequence_parallel.split(rotary_FNP, 1)
        rotary_LP = rotary_FNP.flatten(0, 1)
        for block in self.blocks:
            x_BFND = run_block(block, self.recomputed, x_BFND, text_BSD, image_BID, e_BF6D, rotary_LP, attention_block)

        shift, scale = (self.scale_shift_table.float() + temb_BFD[:, :, None, :])[:, :, :, None, :].unbind(2)
        out = self.proj_out(modulated_norm(x_BFND, shift, scale, self.config.eps, torch.float32))
        if self.sequence_parallel is not None:
            out = self.sequence_parallel.gather(out, 2)
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

    def _image(self, image: Tensor | None) -> Tensor | None:
        embedder = self.condition_embedder.image_embedder
        if (embedder is None) != (image is None):
            given = "was given, but this config has no image_dim: not an i2v model" if image is not None else "is missing"
            raise ValueError(f"encoder_hidden_states_image {given}")
        return None if embedder is None else embedder(image)


def _read_weights(folder: Path, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files, copied out of the files and converted, or mapped with dtype None."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no .safetensors file in {folder}")
    state: dict[str, Tensor] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            if twice := sorted(set(file.keys()) & set(state)):
                raise ValueError(f"{path.name} repeats weights of other files, such as {twice[0]}; keep one variant in {folder}")
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                tensor = file.get_tensor(name)
                state[name] = tensor if dtype is None else tensor.to(dtype, copy=True)
    return state
