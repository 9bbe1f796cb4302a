"""Settings of the model, of what stands before it (the video codec, the text encoder), and of the film that it makes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skyreels_platform.recipe.section import Count, Frames, Positive, Section


class CodecSettings(Section):
    """Pixels to latents."""

    backend: Literal["dct", "wan"]
    """`dct`: a fixed orthonormal DCT of 4x8x8 blocks, no weights. `wan`: AutoencoderKLWan (needs weights)."""
    channels: Count = 16
    weights: str | None = None
    """Folder or hub id of the production weights."""


class TextSettings(Section):
    """Prompts to features."""

    backend: Literal["hash", "umt5"]
    """`hash`: one fixed random vector per word. `umt5`: umT5-xxl (needs weights)."""
    dim: Count
    length: Count
    """Tokens per prompt; shorter ones are padded with zero vectors, longer ones cut."""
    weights: str | None = None


class ModelSettings(Section):
    """The DiT; field names are diffusers' `SkyReelsV2Transformer3DModel` config."""

    patch_size: Annotated[tuple[Count, Count, Count], Field(strict=False)] = (1, 2, 2)  # TOML has lists only
    """Latents, latent rows and latent columns per token."""
    num_attention_heads: Count
    attention_head_dim: Count
    in_channels: Count = 16
    out_channels: Count = 16
    text_dim: Count = 4096
    freq_dim: Count = 256
    ffn_dim: Count
    num_layers: Count
    cross_attn_norm: bool = True
    eps: Positive = 1e-6
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    inject_sample_info: bool = False
    """A learned embedding of the frame rate, 16 or 24."""

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.attention_head_dim % 2:
            raise ValueError(f"attention_head_dim is {self.attention_head_dim}; rotary positions need an even number")
        return self


class FilmSettings(Section):
    """The film at the end of the graph."""

    prompt: str
    """Empty: the most frequent caption of the training snapshot."""
    num_frames: Frames
    base_num_frames: Frames
    """Frames per window."""
    overlap_history: Frames
    """Pixel frames of the film so far that start the next window."""
    num_steps: Count
    shift: Positive
    guidance_scale: Annotated[float, Field(ge=1)]
    ar_step: Annotated[int, Field(ge=0)]
    causal_block_size: Count
    addnoise_condition: Annotated[int, Field(ge=0, le=60)]
    """Noise level (of 1000) on history latents."""
    seed: int
    fps: Literal[16, 24]
    dataset: str = ""
    """Data set whose commonest clip size the film has, such as 540p; empty: that of the clips that its checkpoint was trained on."""
    upscale: Count = 1
    """Nearest-neighbour enlargement of the written file, so that a 32-pixel film can be watched."""

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.overlap_history >= self.base_num_frames:
            raise ValueError(f"overlap_history {self.overlap_history} leaves nothing new in a window of base_num_frames "
                             f"{self.base_num_frames}; make it smaller")  # fmt: skip
        num_latents = (self.base_num_frames - 1) // 4 + 1
        if num_latents % self.causal_block_size:
            raise ValueError(f"causal_block_size {self.causal_block_size} does not divide the {num_latents} latents of "
                             f"base_num_frames {self.base_num_frames}; choose a divisor")  # fmt: skip
        return self
