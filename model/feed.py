"""What one rank trains on at one step: clips, noise and noise levels, cut into micro-batches.

Everything random derives from (seed, step, place in the batch). Ranks of one sequence-parallel group hold the same places, so they
see the same clips and the same noise without exchanging them; another number of ranks or micro-batches sees the same step.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.batch_sizes import run_sampler
from model.buckets import rank_slice
from model.forcing import Sigmas, sample_sigmas
from model.latents import LatentClip, LatentSet
from model.objectives import add_noise
from model.spec import TrainSpec


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Clips of one forward pass, on the device. Suffixes: B clips, C channels, F latent frames, S text tokens."""

    noised_BCFHW: Tensor
    latents_BCFHW: Tensor
    noise_BCFHW: Tensor
    sigma_BF: Tensor
    is_clean_BF: Tensor
    text_BSD: Tensor
    fps_B: Tensor


class Feed:
    """The batches of one of `shares` equal parts of every step; a part is a rank, or a sequence-parallel group of ranks."""

    def __init__(self, spec: TrainSpec, share: int, shares: int, device: torch.device) -> None:
        if spec.batch_size % (shares * spec.micro_batches):
            raise ValueError(
                f"batch_size {spec.batch_size} does not divide among {shares} ranks or groups in {spec.micro_batches} micro-batches; "
                f"set a multiple of {shares * spec.micro_batches}"
            )
        self.spec, self.share, self.shares, self.device = spec, share, shares, device
        self.data = LatentSet(spec.latents_dir)
        self.sampler = run_sampler(self.data, spec)

    def batch_clips(self, step: int) -> list[LatentClip]:
        """All shares' clips, in the batch's order."""
        return [self.data.clips[position] for position in self.sampler.batch(step)]

    def own_clips(self, step: int) -> list[LatentClip]:
        """This share's clips."""
        clips = self.batch_clips(step)
        return [clips[place] for place in rank_slice(range(len(clips)), self.share, self.shares)]

    def micro_batches(self, step: int) -> Iterator[MicroBatch]:
        """This share's part of step `step`."""
        positions = self.sampler.batch(step)
        shape = self.data.clips[positions[0]].shape
        sigmas, dropped = self._draw_levels(step, len(positions), shape[1])
        mine = rank_slice(range(len(positions)), self.share, self.shares)
        size = len(mine) // self.spec.micro_batches
        for first in range(0, len(mine), size):
            places = mine[first : first + size]
            batch = self.data.batch(
                [self.data.clips[positions[at]] for at in places], [dropped[at] for at in places], self.device
            )
            noise = torch.stack([torch.randn(shape, generator=self._generator(step, at)) for at in places]).to(self.device)
            sigma_BF = sigmas.sigma_BF[places].to(self.device)
            yield MicroBatch(
                noised_BCFHW=add_noise(batch.latents_BCFHW, noise, sigma_BF), latents_BCFHW=batch.latents_BCFHW, noise_BCFHW=noise,
                sigma_BF=sigma_BF, is_clean_BF=sigmas.is_clean_BF[places].to(self.device), text_BSD=batch.text_BSD, fps_B=batch.fps_B,
            )  # fmt: skip

    def _draw_levels(self, step: int, batch_size: int, frames: int) -> tuple[Sigmas, list[bool]]:
        """Noise levels and caption dropout of the whole step's batch; every rank draws the same and takes its part."""
        spec, generator = self.spec, self._generator(step, "levels")
        sigmas = sample_sigmas(
            batch_size, frames, p_fopp=spec.p_fopp, p_sync=spec.p_sync, p_prefix=spec.p_prefix, mean=spec.timestep_mean,
            std=spec.timestep_std, shift=spec.timestep_shift, fopp_block=spec.fopp_block, generator=generator,
        )  # fmt: skip
        return sigmas, (torch.rand(batch_size, generator=generator) < spec.caption_dropout).tolist()

    def _generator(self, step: int, place: object) -> torch.Generator:
        """Random numbers of one place in one step, whatever rank draws them and whatever was drawn before."""
        digest = hashlib.sha256(f"{self.spec.seed} {step} {place}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
