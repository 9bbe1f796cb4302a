"""Pixels to latents and back: a causal video codec of stride 4 x 8 x 8 behind one small protocol.

`DctCodec` needs no weights: an orthonormal DCT of 4x8x8 blocks in a luma-chroma basis keeps its 16 strongest coefficients and
scales each to about unit variance. `WanCodec` is the Wan2.1 VAE of the paper. Both encode the first frame alone, so 4k + 1 frames
give k + 1 latent frames and a clip may start with a single image.

Pixels are float (B, 3, F, H, W) in [-1, 1]; latents are (B, C, f, h, w) with F = 4 (f - 1) + 1, H = 8 h, W = 8 w.
"""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

TEMPORAL_STRIDE = 4
SPATIAL_STRIDE = 8

# (temporal, vertical, horizontal, colour) frequency of each latent channel and the standard deviation that scales it; colour 0 is
# luma, 1 red against blue, 2 green against both. Chosen and measured by us: the strongest coefficients of the sample films that are
# also strong in real footage; deviations are rounded geometric means over both (LOG.md, 2026-11-22).
_CHANNELS: tuple[tuple[tuple[int, int, int, int], float], ...] = (
    ((0, 0, 0, 0), 8.0), ((0, 0, 0, 1), 3.6), ((0, 0, 0, 2), 1.8),
    ((0, 1, 0, 0), 2.0), ((0, 0, 1, 0), 1.6), ((0, 1, 0, 1), 1.1), ((0, 0, 1, 1), 1.1), ((0, 1, 0, 2), 0.8), ((0, 0, 1, 2), 0.8),
    ((0, 2, 0, 0), 0.8), ((0, 0, 2, 0), 0.8), ((0, 1, 1, 0), 0.7), ((0, 1, 1, 1), 0.5), ((0, 2, 0, 1), 0.5), ((0, 0, 2, 1), 0.5),
    ((1, 0, 0, 1), 0.4),
    ((0, 1, 1, 2), 0.3), ((0, 2, 0, 2), 0.3), ((0, 0, 2, 2), 0.3), ((1, 0, 0, 0), 0.4), ((1, 0, 0, 2), 0.3),
    ((0, 2, 1, 0), 0.4), ((0, 1, 2, 0), 0.4), ((0, 3, 0, 0), 0.6), ((0, 0, 3, 0), 0.5),
)  # fmt: skip


class Codec(Protocol):
    """What the platform asks of a video codec."""

    channels: int
    fingerprint: str
    """Hash of everything that decides the latents; part of the latents' provenance."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalized latents of pixels in [-1, 1]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels clamped to [-1, 1]."""
        ...


class DctCodec:
    """Fixed DCT codec; about 28 dB on 32-pixel sample films (benchmarks/codec.py)."""

    def __init__(self, channels: int = 16) -> None:
        if not 1 <= channels <= len(_CHANNELS):
            raise ValueError(f"the DCT codec has 1 to {len(_CHANNELS)} channels, not {channels}")
        self.channels = channels
        self.fingerprint = hashlib.sha256(repr(("dct-1", _CHANNELS[:channels])).encode()).hexdigest()[:16]
        self._analysis, self._synthesis = _kernels(channels)

    def encode(self, pixels: Tensor) -> Tensor:
        _check(pixels.shape[2:], pixels.shape)
        first = pixels[:, :, :1].expand(-1, -1, TEMPORAL_STRIDE, -1, -1)  # the first frame alone fills a block by repetition
        x = torch.cat((first, pixels[:, :, 1:]), dim=2)
        batch, colours, frames, height, width = x.shape
        x = x.reshape(batch, colours, frames // 4, 4, height // 8, 8, width // 8, 8)
        return torch.einsum("bcfthywx,kctyx->bkfhw", x, self._analysis.to(x))

    def decode(self, latents: Tensor) -> Tensor:
        x = torch.einsum("bkfhw,kctyx->bcfthywx", latents, self._synthesis.to(latents))
        batch, colours, blocks, _, rows, _, columns, _ = x.shape
        x = x.reshape(batch, colours, 4 * blocks, 8 * rows, 8 * columns)
        return torch.cat((x[:, :, :4].mean(dim=2, keepdim=True), x[:, :, 4:]), dim=2).clamp(-1, 1)


class WanCodec:
    """The Wan2.1 VAE through diffusers' AutoencoderKLWan: posterior mean, normalized by its published mean and deviation."""

    def __init__(self, weights: str | Path, device: str = "cpu") -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

        # fp32: the reference runs this VAE in full precision
        vae: Any = AutoencoderKLWan.from_pretrained(str(weights), torch_dtype=torch.float32)
        self._vae = vae.to(device).eval()
        self.channels = int(self._vae.config["z_dim"])
        mean, std = (torch.tensor(self._vae.config[key]).view(1, -1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
        self._mean, self._std = mean.to(device), std.to(device)
        digest = hashlib.sha256(b"wan-1")
        for key, value in sorted(self._vae.state_dict().items()):
            digest.update(key.encode() + value.float().cpu().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        _check(pixels.shape[2:], pixels.shape)
        posterior = self._vae.encode(pixels.to(self._mean)).latent_dist
        return (posterior.mode() - self._mean) / self._std

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        return self._vae.decode(latents.to(self._mean) * self._std + self._mean).sample.clamp(-1, 1)


def build_codec(backend: str, *, channels: int, weights: str | None = None, device: str = "cpu") -> Codec:
    """The codec that a recipe names: `dct` or `wan`."""
    if backend == "dct":
        return DctCodec(channels)
    if backend == "wan":
        if weights is None:
            raise ValueError("codec backend 'wan' needs codec.weights: a folder or hub id in diffusers' layout")
        return WanCodec(weights, device)
    raise ValueError(f"unknown codec backend {backend!r}; known: dct, wan")


def to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 RGB (F, H, W, 3) to float (1, 3, F, H, W) in [-1, 1]."""
    return (torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1).permute(3, 0, 1, 2)[None]


def to_frames(pixels: Tensor) -> np.ndarray:
    """Float (1, 3, F, H, W) in [-1, 1] to uint8 RGB (F, H, W, 3)."""
    return ((pixels[0].permute(1, 2, 3, 0).float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).contiguous().cpu().numpy()


def _check(size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    frames, height, width = size
    if frames % TEMPORAL_STRIDE != 1 or height % SPATIAL_STRIDE or width % SPATIAL_STRIDE:
        raise ValueError(f"pixels have shape {tuple(shape)}; the codec needs 4k + 1 frames and sides that 8 divides")


def _dct(size: int) -> Tensor:
    """Orthonormal DCT-II matrix, rows are frequencies."""
    k, x = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)[None]
    matrix = torch.cos(torch.pi * (2 * x + 1) * k / (2 * size)) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def _kernels(channels: int) -> tuple[Tensor, Tensor]:
    """Analysis and synthesis kernels (K, 3, 4, 8, 8): the latter is the former's transpose, scaled back."""
    time, space = _dct(TEMPORAL_STRIDE), _dct(SPATIAL_STRIDE)
    colour = torch.tensor([[1.0, 1, 1], [1, 0, -1], [-1, 2, -1]], dtype=torch.float64)
    colour = colour / colour.norm(dim=1, keepdim=True)
    kernels = [torch.einsum("c,t,y,x->ctyx", colour[c], time[t], space[y], space[x]) for (t, y, x, c), _ in _CHANNELS[:channels]]
    deviations = torch.tensor([deviation for _, deviation in _CHANNELS[:channels]], dtype=torch.float64).view(-1, 1, 1, 1, 1)
    basis = torch.stack(kernels)
    return (basis / deviations).float(), (basis * deviations).float()
