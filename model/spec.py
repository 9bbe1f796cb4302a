"""What one training process is told: a JSON file of plain values, complete, hashed, stored beside everything it makes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from model.configs import Recomputed


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """One training run. Paths are absolute; everything else is copied from the recipe, so the process needs no recipe."""

    stage: str
    run_dir: str
    """Checkpoints, losses.jsonl, seen.jsonl and result.json go here."""
    latents_dir: str
    parent_dir: str | None
    """Published checkpoint (diffusers' layout) to start from; None = from scratch."""
    transformer: dict[str, Any]
    """diffusers config of the model."""
    seed: int
    num_steps: int
    batch_size: int
    """Clips per step of the bucket with the most tokens; see model.batch_sizes for the others."""
    batch_unit: int = 1
    """Every bucket's batch is a multiple of this, so that it divides among the ranks, however many of them are left."""
    image_share: float = 0.0
    """Share of the steps that see images."""
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    schedule: str
    ema_decay: float
    grad_clip: float
    caption_dropout: float
    checkpoint_every: int
    timestep_mean: float
    timestep_std: float
    timestep_shift: float
    p_fopp: float
    p_sync: float
    p_prefix: float
    zero_stage: int
    dtype: str
    accelerator: str
    threads_per_rank: int
    inputs: dict[str, str]
    """Content hashes of the parent and the latents: paths alone do not say what was read."""
    keep_last: int = 2
    """Newest checkpoints that stay while the run goes on. Not part of the hash."""
    milestone_every: int = 0
    """Checkpoints at multiples of this many steps stay for good; 0 = none. Not part of the hash."""
    micro_batches: int = 1
    """Forward and backward passes per optimizer step; each rank's clips are cut into this many equal parts."""
    offload: str = "none"
    """none | optimizer: master weights, moments and average live in host memory | all: the weights between uses too (ZeRO 3)."""
    sequence_parallel: int = 1
    """Ranks that share the tokens of the same clips (Ulysses)."""
    phases: Sequence[Mapping[str, Any]] = ()
    """{until_step, learning_rate, weight_decay} one after another; empty = the two values above from first to last step."""
    activation_checkpointing: Recomputed = "none"
    """What of a block the backward pass computes again."""
    activation_offload: bool = False
    """Keep saved activations in host memory (CUDA)."""
    lora: Mapping[str, Any] | None = None
    """{rank, alpha, targets}: train factors beside frozen weights; needs a parent."""
    validation: Mapping[str, Any] | None = None
    """Films while training; see model.validation.ValidationFilms."""
    memory_gb: float | None = None
    """Memory of one device (CUDA) or of this machine (CPU) in GiB; None = what is found."""
    fopp_block: int = 1
    """Latent frames that share a level in FoPP draws."""
    loss_weighting: Literal["none", "cosmap"] = "none"
    """Weight of a frame's error by its noise level; see model.objectives.level_weights."""
    max_steps_this_run: int | None = None
    """Stop after this many steps with a checkpoint; a smoke test's handle. Not part of the hash."""

    def __post_init__(self) -> None:
        for name in (
            "num_steps",
            "batch_size",
            "batch_unit",
            "checkpoint_every",
            "threads_per_rank",
            "micro_batches",
            "sequence_parallel",
            "keep_last",
            "fopp_block",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError(
                "dtype is bfloat16 with zero_stage 0, which keeps no fp32 master weights; set zero_stage to 1 or more"
            )
        least = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(f"offload {self.offload!r} needs zero_stage {least} or more; it is {self.zero_stage}")
        if (heads := self.transformer.get("num_attention_heads", 16)) % self.sequence_parallel:
            raise ValueError(
                f"{heads} attention heads do not divide among sequence_parallel {self.sequence_parallel}; choose a divisor"
            )
        if self.lora and not self.parent_dir:
            raise ValueError("lora trains beside weights that are there: set a parent, or init_from in the recipe")
        if self.phases and self.phases[-1]["until_step"] != self.num_steps:
            raise ValueError(f"the last phase ends at step {self.phases[-1]['until_step']}; num_steps is {self.num_steps}")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a spec; an unknown or missing key raises ValueError naming it."""
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {field.name for field in fields(cls)}
        if wrong := sorted(set(values) - known):
            raise ValueError(f"{path}: unknown keys {wrong}")
        if missing := sorted(field.name for field in fields(cls) if field.default is MISSING and field.name not in values):
            raise ValueError(f"{path}: missing keys {missing}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def hash(self) -> str:
        """16 hex digits over everything that decides the weights. Where files lie, how often they are saved and what is recomputed
        or watched on the way does not."""
        skip = {
            "run_dir", "latents_dir", "parent_dir", "checkpoint_every", "keep_last", "milestone_every", "max_steps_this_run",
            "activation_checkpointing",
            "activation_offload", "validation", "memory_gb",
        }  # fmt: skip
        return hash_values({key: value for key, value in self.to_dict().items() if key not in skip})


def hash_values(values: Mapping[str, Any]) -> str:
    """16 hex digits over a JSON object, independent of key order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
