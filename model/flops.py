"""Floating-point operations of a training step, and what devices can do: together the model FLOPs utilization (MFU)."""

import torch

from model.configs import TransformerConfig

_PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "B200": 2250e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12}
"""Dense bf16 tensor-core operations per second, by the makers' data sheets; keys are parts of the device's name."""


def forward_flops(config: TransformerConfig, shape: tuple[int, ...], text_tokens: int) -> float:
    """Of one clip with latents `shape` (C, F, H, W): two per multiply-add of every matrix product, attention included.

    Norms, rotations and the embedding of timesteps, under 1 % at published sizes, are left out.
    """
    _, frames, height, width = shape
    tokens = frames * (height // config.patch_size[1]) * (width // config.patch_size[2])
    dim = config.dim
    self_attention = 4 * tokens * dim**2 + 2 * tokens**2 * dim  # q, k, v, o; scores and weighted sum
    cross_attention = (2 * tokens + 2 * text_tokens) * dim**2 + 2 * tokens * text_tokens * dim
    feed_forward = 2 * tokens * dim * config.ffn_dim
    patch = config.patch_size[0] * config.patch_size[1] * config.patch_size[2]
    ends = tokens * dim * patch * (config.in_channels + config.out_channels) + text_tokens * (config.text_dim + dim) * dim
    return 2.0 * (config.num_layers * (self_attention + cross_attention + feed_forward) + ends)


def training_flops(config: TransformerConfig, shape: tuple[int, ...], text_tokens: int) -> float:
    """Forward and backward: three forwards. Recomputed activations are not model FLOPs; frozen weights under LoRA are counted."""
    return 3 * forward_flops(config, shape, text_tokens)


def device_peak(device: torch.device) -> float | None:
    """Dense bf16 peak of a known GPU, else None."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)
