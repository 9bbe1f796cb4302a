"""Per-frame noise levels of diffusion-forcing training.

FoPP (paper: frame-oriented probability propagation, from AR-Diffusion) draws one anchor frame and one timestep for it, both
uniform, then completes the sequence uniformly among all non-decreasing ones through the anchor: earlier frames are cleaner.
The paper does it with tables of path counts; drawing each side as a uniform multiset and sorting it has exactly that
distribution and needs no table.

FoPP alone hardly ever draws equal timesteps (0.4 % of draws at 25 frames stay within 0.05), nor clean history before noise,
yet these are the states of synchronous sampling and of image-to-video and extension. So training mixes three (our choice).

Code convention: sigma = 1 is noise, 0 is data. Shapes: B samples, F latent frames, K draws.
"""

from dataclasses import dataclass

import torch

from model.schedule import shift_sigma


@dataclass(frozen=True, kw_only=True)
class Sigmas:
    """Noise levels of one training batch."""

    sigma_BF: torch.Tensor
    """float32 in 0..1; 1 is noise."""
    is_clean_BF: torch.Tensor
    """bool: a history frame, fed as clean data (sigma 0), that carries no loss."""


def sample_fopp(
    num_frames: int, num_timesteps: int, batch_size: int, generator: torch.Generator | None = None, block: int = 1
) -> torch.Tensor:
    """Timesteps 1..num_timesteps per frame, int64 (B, F), non-decreasing along F, distributed as FoPP; larger is noisier.

    block: latent frames that share a level, counted from the first; the last block may be shorter. The blocks then are FoPP's
    frames. 1 is the paper's; larger ones match a sampler whose schedule blocks move together (our choice).
    Lies on the generator's device. Exact up to the 53-bit resolution of the uniforms.
    """
    for name, value in (
        ("num_frames", num_frames), ("num_timesteps", num_timesteps), ("batch_size", batch_size), ("block", block)
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if block > 1:
        blocks = sample_fopp(-(-num_frames // block), num_timesteps, batch_size, generator)
        return blocks.repeat_interleave(block, dim=1)[:, :num_frames]
    anchor_frame_B1, anchor_B1 = (
        _integers_below(torch.full((batch_size, 1), bound), generator) for bound in (num_frames, num_timesteps)
    )
    anchor_B1 = anchor_B1 + 1
    # before: from 1..anchor, after: from anchor..T; both at once
    drawn_BK = _multisets(torch.cat([anchor_B1, num_timesteps - anchor_B1 + 1]), num_frames - 1, generator)
    before_BK, after_BK = 1 + drawn_BK[:batch_size], anchor_B1 + drawn_BK[batch_size:]
    # Both sides are drawn at full length; a leading part of such a draw is itself a uniform multiset, so the surplus is
    # pushed beyond T and sorted away.
    draw_K = torch.arange(num_frames - 1, device=anchor_B1.device)
    surplus = num_timesteps + 1
    before_BK = before_BK.masked_fill(draw_K >= anchor_frame_B1, surplus)
    after_BK = after_BK.masked_fill(draw_K >= num_frames - 1 - anchor_frame_B1, surplus)
    return torch.cat([before_BK, anchor_B1, after_BK], dim=1).sort(dim=1).values[:, :num_frames]


def _multisets(num_values_B1: torch.Tensor, num_draws: int, generator: torch.Generator | None) -> torch.Tensor:
    """Multisets of num_draws values from 0..num_values - 1, all equally likely; (B, num_draws), in order of drawing.

    Draw k takes one of num_values + k tickets: a value, or a copy of one of the k earlier draws. Such an urn (Polya's) makes
    every multiset equally likely, while independent draws would favour those with few repeats.
    """
    draw_K = torch.arange(num_draws, device=num_values_B1.device)
    ticket_BK = _integers_below(num_values_B1 + draw_K, generator)
    # A copy may be of a copy. Following all pointers twice as far each time resolves any chain in log2(draws) rounds.
    source_BK = torch.where(ticket_BK < num_values_B1, draw_K, ticket_BK - num_values_B1)
    for _ in range((num_draws - 1).bit_length()):
        source_BK = source_BK.gather(1, source_BK)
    return ticket_BK.gather(1, source_BK)


def _integers_below(bound: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Uniform integers 0..bound - 1 with a bound per element, on the generator's device."""
    device = generator.device if generator is not None else bound.device
    return (torch.rand(bound.shape, dtype=torch.float64, device=device, generator=generator) * bound.to(device)).long()


def sample_sigmas(
    batch: int,
    frames: int,
    *,
    p_fopp: float,
    p_sync: float,
    p_prefix: float,
    mean: float,
    std: float,
    shift: float,
    num_timesteps: int = 1000,
    fopp_block: int = 1,
    generator: torch.Generator,
) -> Sigmas:
    """Noise levels of a training batch, each sample of one kind drawn with the given probabilities (they add up to 1):

    - sync: one sigma for all frames: sigmoid(mean + std * normal), then warped by `shift` (paper: logit-normal; values ours);
    - fopp: sample_fopp / num_timesteps, so 1/T..1 without warp, earlier frames cleaner, `fopp_block` frames sharing a level;
    - prefix: the first k latent frames are clean history, k uniform in 1..frames // 2, and the rest is sync.

    A single frame is always sync. Every draw comes from `generator`, and equally many whatever the probabilities, so two runs
    that differ only in the mixture see the same noise levels where they draw the same kind.
    """
    _check_mixture(p_fopp, p_sync, p_prefix)
    kind_B1 = torch.rand((batch, 1), dtype=torch.float64, device=generator.device, generator=generator)
    normal_B1 = torch.randn((batch, 1), device=generator.device, generator=generator)
    fopp_BF = sample_fopp(frames, num_timesteps, batch, generator, fopp_block).float() / num_timesteps
    prefix_B1 = 1 + _integers_below(torch.full((batch, 1), max(frames // 2, 1)), generator)
    sync_BF = shift_sigma(torch.sigmoid(mean + std * normal_B1), shift).expand(batch, frames)
    if frames == 1:
        return Sigmas(sigma_BF=sync_BF.clone(), is_clean_BF=torch.zeros_like(sync_BF, dtype=torch.bool))
    is_fopp_B1 = kind_B1 < p_fopp
    is_prefix_B1 = ~is_fopp_B1 & (kind_B1 >= 1 - p_prefix)
    is_clean_BF = is_prefix_B1 & (torch.arange(frames, device=generator.device) < prefix_B1)
    return Sigmas(sigma_BF=torch.where(is_fopp_B1, fopp_BF, sync_BF).masked_fill(is_clean_BF, 0.0), is_clean_BF=is_clean_BF)


def _check_mixture(p_fopp: float, p_sync: float, p_prefix: float) -> None:
    shares = {"p_fopp": p_fopp, "p_sync": p_sync, "p_prefix": p_prefix}
    shown = ", ".join(f"{name} = {value:g}" for name, value in shares.items())
    if any(not 0 <= value <= 1 for value in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"{shown}: each must lie in 0..1 and together they must be 1")
