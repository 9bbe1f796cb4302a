"""Does a stage fit? Memory of one rank, part by part, before anything is loaded; and what would fit where it does not.

Weights, gradients and optimizer state follow from the parameter counts, the dtype and the ZeRO stage; activations are those of the
stage's largest bucket (model.step_memory). Activations and the optimizer's working space are not alive together: the larger one counts.
Checked against measured peaks by benchmarks/training_memory.py.
"""

import json
import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from model.configs import Recomputed, TransformerConfig
from model.engine import BUCKET
from model.latents import EMPTY_TEXT, INDEX, TEXT
from model.lora import factor_count
from model.spec import TrainSpec
from model.step_memory import StepMemory, step_memory
from model.transformer import SkyReelsTransformer

GIB = 1024**3
_BASE = {"cpu": 0.33 * GIB, "cuda": 0.7 * GIB}
"""An idle rank: torch, DeepSpeed and the process group on the CPU; the context on a GPU (the former measured, the latter our guess)."""
_OFFLOAD_FROM = 1 << 20
_MARGIN = 1.1
"""Room that allocators lose between tensors and that nobody counted (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes of one rank by part."""

    device: Mapping[str, float] = field(default_factory=dict)
    host: Mapping[str, float] = field(default_factory=dict)
    """What offload keeps in host memory; on a CPU rank everything is under `device`."""

    @property
    def total(self) -> float:
        """Bytes on the device, margin included."""
        return _MARGIN * sum(self.device.values())


class OutOfMemoryError(ValueError):
    """A stage that does not fit; the message names stage, batch, need and what would fit."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the estimate knows of a run: its spec, its largest bucket, its ranks."""

    spec: TrainSpec
    config: TransformerConfig
    shape: tuple[int, ...]
    """(C, F, H, W) of the latents with the most tokens."""
    text_tokens: int
    ranks: int
    text_bytes: int = 0
    """Features of all captions, which every rank reads into host memory."""

    @classmethod
    def of(cls, spec: TrainSpec, ranks: int) -> "Stage":
        """Read what is needed from the latents' index; no weights, no latents, no features."""
        folder = Path(spec.latents_dir)
        shapes = {tuple(json.loads(line)["shape"]) for line in (folder / INDEX).read_text(encoding="utf-8").splitlines()}
        if not shapes:
            raise ValueError(f"{folder} holds no clips: the snapshot behind it is empty")
        with safe_open(folder / TEXT, framework="pt") as text:
            tokens = text.get_slice(EMPTY_TEXT).get_shape()[0]
        return cls(
            spec=spec, config=TransformerConfig.from_dict(spec.transformer), ranks=ranks, text_tokens=tokens,
            shape=max(shapes, key=lambda shape: shape[1] * shape[2] * shape[3]), text_bytes=(folder / TEXT).stat().st_size,
        )  # fmt: skip

    @property
    def clips(self) -> int:
        """Clips of one forward pass of one rank."""
        return max(1, self.spec.batch_size * self.spec.sequence_parallel // self.ranks // self.spec.micro_batches)

    def needs(self) -> Needs:
        """Memory of one rank."""
        spec, ranks = self.spec, self.ranks
        total, block = _counts(self.config)
        trained = factor_count(self.config, spec.lora) if spec.lora else total
        if spec.lora:
            total += trained
        part = trained / (ranks if spec.zero_stage else 1)
        weight = 2 if spec.dtype == "bfloat16" else 4
        step = _step(self.config, self.shape, self.clips, self.text_tokens, spec)
        if spec.zero_stage == 3:
            weights, working = weight * total / ranks, 2 * weight * block  # one block gathered, the next on its way
        else:
            weights, working = weight * total, 0
        whole = trained if spec.zero_stage < 2 else part
        gradients = (4 if weight == 4 else 6 if spec.zero_stage == 1 else 4) * whole
        states = {
            "master weights": 4 * part if spec.zero_stage else 0.0, "AdamW moments": 8 * part,
            "moving average": 4 * part if spec.ema_decay else 0.0,
        }  # fmt: skip
        update = 12 * part  # AdamW's temporaries
        # rank 0 copies them to the host; a thread writes them while training goes on
        saved = {"checkpoint (rank 0)": 4.0 * total + (12.0 if spec.ema_decay else 8.0) * trained}
        offloaded = spec.offload != "none" and spec.accelerator == "cuda"
        passing = {"activations": step.device + working, "update": 0.0 if offloaded else update}
        largest = max(passing, key=lambda name: passing[name])
        device: dict[str, float] = {
            "process": _BASE[spec.accelerator], "weights": weights, "gradients": gradients, **states,
            "communication": weight * min(BUCKET, total) if spec.zero_stage else 0.0, largest: passing[largest],
        }  # fmt: skip
        text = {"captions' features": float(self.text_bytes)}
        # a start holds the whole model in float32 on every rank's host, twice where master weights are made apart from it; under ZeRO 3
        # it is mapped from files, and only what starts from random weights is whole in rank 0's memory
        whole_models = float(not spec.parent_dir) if spec.zero_stage == 3 else 2.0 if weight == 2 else 1.0
        start = {"start (until the engine is built)": 4.0 * total * whole_models}
        host = {"activations": float(step.host), **saved, **text, **start} if spec.accelerator == "cuda" else {}
        if spec.accelerator == "cpu":
            device |= {**saved, **text}
        if offloaded:
            host |= {name: device.pop(name) for name in states} | {"gradients": device.pop("gradients"), "update": update}
        if offloaded and spec.offload == "all":
            host["weights"] = device.pop("weights")
        return Needs(device=device, host=host)


def require_memory(spec: TrainSpec) -> None:
    """Raise OutOfMemoryError on a launched rank whose device or machine is too small for the stage."""
    ranks = int(os.environ["WORLD_SIZE"])
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or ranks)  # torchrun's, DeepSpeed's
    require_fit(Stage.of(spec, ranks), memory_limit(spec, here))


def require_fit(stage: Stage, limit: float) -> Needs:
    """The needs of one rank if they fit into `limit` bytes; else OutOfMemoryError with what would fit."""
    needs = stage.needs()
    if needs.total <= limit:
        return needs
    spec = stage.spec
    _, frames, height, width = stage.shape
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in sorted(needs.device.items(), key=lambda item: -item[1])[:4])
    fitting = [f"{change} ({need / GIB:.1f} GiB)" for change, need in alternatives(stage) if need <= limit]
    remedy = f"would fit: {'; '.join(fitting)}" if fitting else "nothing of activation checkpointing, offload, ZeRO 3, LoRA or one clip " \
        "per pass makes it fit: take more or larger devices, or a smaller model or resolution"  # fmt: skip
    raise OutOfMemoryError(
        f"{spec.stage}: {stage.clips} clips per pass of {frames}x{height}x{width} latents (batch_size {spec.batch_size}, {stage.ranks} "
        f"ranks) need {needs.total / GIB:.1f} GiB per rank of {limit / GIB:.1f} GiB (GiB: {parts}); {remedy}"
    )


def alternatives(stage: Stage) -> list[tuple[str, float]]:
    """(recipe change, bytes) of single changes, then of all that save activations together, cheapest in speed first."""
    spec, changes = stage.spec, list[tuple[str, dict[str, Any]]]()
    cuts = [cut for cut in range(2, stage.clips + 1) if stage.clips % cut == 0]
    changes += [(f"micro_batches = {cut * spec.micro_batches}", {"micro_batches": cut * spec.micro_batches}) for cut in cuts]
    saved = ("none", "all_but_attention", "all")
    for recomputed in saved[saved.index(spec.activation_checkpointing) + 1 :]:
        changes.append((f"activation_checkpointing = '{recomputed}'", {"activation_checkpointing": recomputed}))
    if spec.zero_stage < 3 and stage.ranks > 1:
        changes += [(f"launch.zero_stage = {level}", {"zero_stage": level}) for level in range(spec.zero_stage + 1, 4)]
    if spec.accelerator == "cuda" and spec.offload == "none" and spec.zero_stage:
        changes.append(("launch.offload = 'optimizer'", {"offload": "optimizer"}))
    if not spec.lora and spec.parent_dir:
        changes.append(
            ("lora = { rank = 32, ... }", {"lora": {"rank": 32, "alpha": 32, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}})
        )
    least: dict[str, Any] = {"micro_batches": stage.clips * spec.micro_batches, "activation_checkpointing": "all"}
    if spec.accelerator == "cuda":
        least["activation_offload"] = True
    offload = " and activation_offload" if "activation_offload" in least else ""
    both = f"micro_batches = {least['micro_batches']} with activation_checkpointing = 'all'{offload}"
    changes.append((both, least))
    if stage.ranks > 1 and spec.zero_stage < 3:
        changes.append((f"{both} and launch.zero_stage = 3", {**least, "zero_stage": 3}))
    if spec.accelerator == "cuda" and spec.offload == "none":
        everything = {**least, "zero_stage": 3, "offload": "optimizer"}
        changes.append((f"{both}, launch.zero_stage = 3 and launch.offload = 'optimizer'", everything))
    return [(name, replace(stage, spec=replace(spec, **change)).needs().total) for name, change in changes]


def memory_limit(spec: TrainSpec, ranks_here: int) -> float:
    """Bytes that one rank may use: the spec's memory_gb, else the GPU's memory or this machine's share per rank."""
    if spec.memory_gb is not None:
        return spec.memory_gb * GIB / (1 if spec.accelerator == "cuda" else ranks_here)
    if spec.accelerator == "cuda":
        return float(torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", 0))).total_memory)
    return machine_memory() / ranks_here


def machine_memory() -> float:
    """Bytes of this machine or of the container around this process, whichever is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.is_file() and (text := limit.read_text(encoding="utf-8").strip()).isdigit():
            total = min(total, int(text))
    return float(total)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has held at most: on a GPU what torch reserved there, on the CPU its resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@lru_cache
def _counts(config: TransformerConfig) -> tuple[int, int]:
    """Parameters of the model and of one block."""
    with torch.device("meta"):
        model = SkyReelsTransformer(config)
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.blocks[0].parameters())


def _step(config: TransformerConfig, shape: tuple[int, ...], clips: int, text_tokens: int, spec: TrainSpec) -> StepMemory:
    dtype = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    offload = spec.activation_offload and spec.accelerator == "cuda"
    return _cached_step(config, shape, clips, text_tokens, dtype, spec.activation_checkpointing, _OFFLOAD_FROM if offload else None,
                        spec.sequence_parallel)  # fmt: skip


@lru_cache(maxsize=64)
def _cached_step(
    config: TransformerConfig, shape: tuple[int, ...], clips: int, text_tokens: int, dtype: torch.dtype, recomputed: Recomputed,
    offload_from: int | None, shares: int,
) -> StepMemory:  # fmt: skip
    return step_memory(config, shape, clips, text_tokens=text_tokens, dtype=dtype, recomputed=recomputed, offload_from=offload_from,
                       token_shares=shares)  # fmt: skip
