"""Denoising with per-frame noise levels: one window, and films of any length window by window.

A later window starts with the film's last frames. They are taken as pixels and encoded again, so that the window's first latent is a
one-frame latent as in training (carrying latents over, as diffusers does, puts a four-frame latent there). The history is shown to
the model slightly noised (`addnoise_condition`), which keeps errors from building up; all noise comes from the film's generator.
The solver is Euler (our choice; upstream: UniPC of order 2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.codec import SPATIAL_STRIDE, Codec
from model.schedule import Window, flow_sigmas, step_matrix, windows


@dataclass(frozen=True, kw_only=True)
class FilmPlan:
    """How one film is sampled."""

    num_frames: int
    """Pixel frames, 4k + 1."""
    height: int
    width: int
    base_num_frames: int
    """Pixel frames per window."""
    overlap_history: int
    """Pixel frames of the film so far that start the next window."""
    num_steps: int
    shift: float
    guidance_scale: float
    """1 = no guidance, one forward per step instead of two."""
    ar_step: int
    """0 denoises all frames of a window together; larger values let earlier blocks run ahead."""
    block_size: int
    """Latent frames per schedule block."""
    addnoise_condition: int
    """Noise level, of 1000, at which history latents are shown to the model."""
    fps: int
    seed: int

    def windows(self) -> list[Window]:
        """The windows of the film; ValueError names the nearest legal length."""
        return windows(self.num_frames, self.base_num_frames, self.overlap_history, block_size=self.block_size)


@torch.inference_mode()
def sample_film(
    model: nn.Module, codec: Codec, text_SD: Tensor, empty_SD: Tensor, plan: FilmPlan,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:  # fmt: skip
    """Pixels (1, 3, F, H, W) in [-1, 1]. `on_step(done, total)` counts denoising rows over all windows."""
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(plan.seed)
    text_BSD = torch.stack([text_SD, empty_SD][: 1 if plan.guidance_scale == 1 else 2]).to(device)
    matrices = [
        step_matrix(w.partition(plan.block_size), plan.num_steps, plan.ar_step, w.num_history_latents) for w in plan.windows()
    ]
    done, total = 0, sum(len(matrix.index) for matrix in matrices)
    film: Tensor | None = None
    for window, matrix in zip(plan.windows(), matrices, strict=True):
        history = codec.encode(film[:, :, -window.num_history :]).to(device) if film is not None and window.num_history else None
        shape = (1, codec.channels, window.num_latents, plan.height // SPATIAL_STRIDE, plan.width // SPATIAL_STRIDE)
        x = torch.randn(shape, generator=generator, device=device)
        for index_F, update_F in zip(matrix.index, matrix.update, strict=True):
            x = _row(model, x, history, text_BSD, index_F.to(device), update_F.to(device), plan, generator)
            done += 1
            on_step(done, total)
        if history is not None:
            x[:, :, : history.shape[2]] = history
        pixels = codec.decode(x)
        film = pixels if film is None else torch.cat((film, pixels[:, :, window.num_history :].to(film)), dim=2)
    assert film is not None
    return film


def _row(
    model: nn.Module, x: Tensor, history: Tensor | None, text_BSD: Tensor, index_F: Tensor, update_F: Tensor, plan: FilmPlan,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """One forward: every frame whose `update` is set moves from its noise level to the next lower one."""
    sigmas = flow_sigmas(plan.num_steps, plan.shift).to(x.device)
    sigma_F = sigmas[index_F]
    seen = x.clone()
    if history is not None:
        level, ready = plan.addnoise_condition / 1000, history.shape[2]
        eps = torch.randn(history.shape, generator=generator, device=x.device)
        seen[:, :, :ready] = (1 - level) * history + level * eps
        sigma_F = sigma_F.clone()
        sigma_F[:ready] = level
    velocity = _guided_velocity(model, seen, sigma_F, text_BSD, plan)
    step_F = torch.where(update_F, sigmas[(index_F + 1).clamp(max=plan.num_steps)] - sigmas[index_F], 0.0)
    return x + step_F[:, None, None] * velocity


def _guided_velocity(model: nn.Module, x: Tensor, sigma_F: Tensor, text_BSD: Tensor, plan: FilmPlan) -> Tensor:
    """Velocity with classifier-free guidance; both branches in one batch."""
    batch = len(text_BSD)
    dtype = next(model.parameters()).dtype
    fps = torch.full((batch,), plan.fps, device=x.device) if model.config.inject_sample_info else None  # type: ignore[union-attr]
    velocity = model(
        x.expand(batch, -1, -1, -1, -1).to(dtype), 1000 * sigma_F.expand(batch, -1), text_BSD.to(dtype), fps
    ).float()
    if batch == 1:
        return velocity
    conditional, unconditional = velocity[:1], velocity[1:]
    return unconditional + plan.guidance_scale * (conditional - unconditional)
