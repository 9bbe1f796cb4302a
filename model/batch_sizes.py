"""How many clips of each bucket train at once: as many as cost the same, and no more than fit into memory.

All ranks take clips of one bucket at each step, so none waits for another (paper: each node draws its own bucket per iteration; that mixes
buckets within a step and costs the time by which the slowest is slower). Ranks that share the tokens of a clip hold the same clips anyway.

Peak memory of a step grows with what is kept per token, so it is described by three numbers that a handful of measured steps give:

    peak = fixed + clips * (per clip + tokens * per token)

Attention adds nothing quadratic: its kernels keep one number per row. The paper profiles each bucket on its GPUs instead (4.2).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from model.buckets import JointSampler
from model.spec import TrainSpec

if TYPE_CHECKING:
    from model.latents import LatentSet  # needs torch, which who plans a stage has not loaded


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One training step that was run."""

    tokens: int
    """Of one clip."""
    clips: int
    peak_bytes: float
    """Most memory that was in use at any moment of the step."""


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """Peak memory of one training step on one rank, in bytes."""

    fixed_bytes: float
    """Weights, gradients, optimizer state and the process itself."""
    clip_bytes: float
    """Per clip: text features and what attends to them."""
    token_bytes: float
    """Per token: what is kept for the backward pass."""

    def peak(self, tokens: int, clips: int) -> float:
        """Bytes of a step of `clips` clips of `tokens` tokens each."""
        return self.fixed_bytes + clips * (self.clip_bytes + tokens * self.token_bytes)

    def max_clips(self, tokens: int, budget_bytes: float) -> int:
        """Most clips of `tokens` tokens whose step stays within the budget; 0 if not even one does."""
        return max(0, int((budget_bytes - self.fixed_bytes) // (self.clip_bytes + tokens * self.token_bytes)))

    @classmethod
    def fit(cls, steps: Sequence[Measurement]) -> Self:
        """The model with the least sum of squared relative errors and no negative number.

        ValueError unless at least three steps differ in clips and in tokens.
        """
        rows = np.array([[1.0, step.clips, step.clips * step.tokens] for step in steps])
        if len(steps) < 3 or np.linalg.matrix_rank(rows) < 2 or len({step.tokens for step in steps}) < 2:
            raise ValueError(f"{len(steps)} measured steps do not tell the three numbers apart; vary clips and tokens")
        peaks = np.array([step.peak_bytes for step in steps])
        best, least = np.zeros(3), np.inf
        for used in chain.from_iterable(combinations(range(3), size) for size in (3, 2, 1)):  # three unknowns: try every active set
            columns = list(used)
            found = np.linalg.lstsq(rows[:, columns] / peaks[:, None], np.ones(len(peaks)), rcond=None)[0]
            error = float(((rows[:, columns] @ found / peaks - 1) ** 2).sum())
            if found.min() >= 0 and error < least - 1e-12:
                best, least = np.zeros(3), error
                best[columns] = found
        return cls(fixed_bytes=float(best[0]), clip_bytes=float(best[1]), token_bytes=float(best[2]))


def batch_unit(max_parts: int, batch_size: int) -> int:
    """Clips that every bucket's batch must be a multiple of: then it divides into each number of parts up to `max_parts` into which
    `batch_size` itself divides, and a run goes on with fewer ranks. Never more than `batch_size`."""
    return math.lcm(*(parts for parts in range(1, max_parts + 1) if batch_size % parts == 0))


def batch_sizes(
    buckets: Mapping[Any, tuple[int, int]], *, batch_size: int, multiple: int = 1, memory: MemoryModel | None = None,
    budget_bytes: float = 0.0,
) -> dict[Any, int]:  # fmt: skip
    """Clips per batch of each bucket.

    buckets: key -> (tokens of one clip, clips in the data). batch_size: clips per batch of the bucket with the most tokens. The others
    get as many as make the same number of tokens, so that a step takes the same time whatever its bucket; but not more than
    the bucket has clips, which would only repeat them, unless that is fewer than `batch_size`. multiple: parts that a batch is cut
    into; every size divides by it. memory, budget_bytes: what one part may take on one rank; without a model nothing is held against
    it. ValueError if `batch_size` does not divide, or if one clip per part of some bucket does not fit.
    """
    if batch_size % multiple:
        raise ValueError(f"batch_size {batch_size} does not divide into {multiple} parts; set a multiple")
    most = max(tokens for tokens, _ in buckets.values())
    sizes = {}
    for key, (tokens, clips) in buckets.items():
        size = min(batch_size * most // tokens, max(batch_size, clips))
        if memory is not None:
            fitting = memory.max_clips(tokens, budget_bytes)
            if not fitting:
                raise ValueError(
                    f"bucket {key}: one clip of {tokens} tokens takes {memory.peak(tokens, 1) / 2**30:.2f} GiB of "
                    f"{budget_bytes / 2**30:.2f}; use a smaller resolution, shorter durations or a larger budget"
                )
            size = min(size, fitting * multiple)
        sizes[key] = max(size // multiple, 1) * multiple
    return sizes


def run_sampler(data: "LatentSet", spec: TrainSpec) -> JointSampler:
    """The batches of a run on these clips, from its batch size, patch size, share of images and seed."""
    keys, patch = data.bucket_keys(), spec.transformer.get("patch_size", (1, 2, 2))
    tokens = {key: math.prod(clip.shape[1:]) // math.prod(patch) for key, clip in zip(keys, data.clips, strict=True)}
    buckets = {key: (tokens[key], count) for key, count in Counter(keys).items()}
    sizes = batch_sizes(buckets, batch_size=spec.batch_size, multiple=spec.batch_unit)
    return JointSampler(keys, [clip.shape[1] == 1 for clip in data.clips], sizes, spec.seed, image_share=spec.image_share)
