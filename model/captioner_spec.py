"""What one rank of the captioner's training is told: a JSON file of plain values."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from model.spec import hash_values


@dataclass(frozen=True, kw_only=True)
class CaptionerSpec:
    """One fine-tune of a Qwen2.5-VL. Paths are absolute."""

    run_dir: str
    """Checkpoints and losses.jsonl go here."""
    data_dir: str
    """What `model.captioner_data` reads."""
    base_dir: str
    """Weights, tokenizer and processor in transformers' layout."""
    instruction: str
    """The captioner's task; the same words as when it is served."""
    seed: int
    num_epochs: int
    batch_size: int
    """Clips per optimizer step over all ranks; each rank takes its share one by one and accumulates their gradients."""
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    grad_clip: float
    checkpoint_every: int
    lora: dict[str, Any] | None
    """rank, alpha, targets; None trains all weights."""
    zero_stage: int
    offload: str
    dtype: str
    accelerator: str
    threads_per_rank: int
    inputs: dict[str, str]
    """Content hashes of base and data: paths alone do not say what was read."""
    max_steps_this_run: int | None = None
    """Stop after this many steps with a checkpoint; a smoke test's handle. Not part of the hash."""

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size", "checkpoint_every", "threads_per_rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def micro_batches(self) -> int:
        """Clips that each rank accumulates: captions differ in length, so clips go through one at a time and nothing is padded."""
        import torch

        return self.batch_size // torch.distributed.get_world_size()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a spec; an unknown or missing key raises ValueError naming it."""
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {field.name for field in fields(cls)}
        if wrong := sorted(set(values) ^ known):
            raise ValueError(f"{path}: keys that are unknown or missing: {wrong}")
        return cls(**values)

    def to_dict(self) -> Mapping[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def hash(self) -> str:
        """16 hex digits over everything that decides the weights."""
        skip = {"run_dir", "data_dir", "base_dir", "checkpoint_every", "max_steps_this_run"}
        return hash_values({key: value for key, value in self.to_dict().items() if key not in skip})
