"""What one training process is told: a JSON file of plain values, complete, hashed, stored beside everything it makes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self


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
    max_steps_this_run: int | None = None
    """Stop after this many steps with a checkpoint; a smoke test's handle. Not part of the hash."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "checkpoint_every", "threads_per_rank", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.zero_stage == 3 and self.ema_decay:
            raise ValueError("ema_decay needs whole parameters on one rank; set it to 0 with ZeRO stage 3")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a spec; an unknown or missing key raises ValueError naming it."""
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {field.name for field in fields(cls)}
        if wrong := sorted(set(values) - known):
            raise ValueError(f"{path}: unknown keys {wrong}")
        if missing := sorted(known - set(values) - {"keep_last", "milestone_every", "max_steps_this_run"}):
            raise ValueError(f"{path}: missing keys {missing}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def hash(self) -> str:
        """16 hex digits over everything that decides the weights. Where files lie and how often they are saved does not."""
        skip = {"run_dir", "latents_dir", "parent_dir", "checkpoint_every", "keep_last", "milestone_every", "max_steps_this_run"}
        return hash_values({key: value for key, value in self.to_dict().items() if key not in skip})


def hash_values(values: Mapping[str, Any]) -> str:
    """16 hex digits over a JSON object, independent of key order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
