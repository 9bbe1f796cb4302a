"""No weight is ever changed by a loss or gradient that is not finite.

DeepSpeed leaves such a step out by itself under ZeRO 1 to 3 and reports the norm as infinite; without ZeRO it would take it. Here both
answers are one, for every stage: the optimizer finds no gradient, so AdamW changes neither weight nor moment nor step count. Loss and norm
are sums over all ranks, so every rank decides alike.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from model.latents import LatentClip, LatentSet


class FiniteSteps:
    """The `step` of an engine that refuses numbers which are not finite."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._refused = False
        base = getattr(engine.optimizer, "optimizer", engine.optimizer)  # ZeRO wraps torch's optimizer
        base.register_step_pre_hook(self._drop)

    def step(self, mean_loss: float) -> float | None:
        """Change the weights; `mean_loss` is the mean over all ranks. Returns the gradient's norm, None if the step was refused."""
        own = None if self._engine.zero_optimization() else self._norm()
        self._refused = not (math.isfinite(mean_loss) and (own is None or math.isfinite(own)))
        self._engine.step()
        norm = own if own is not None else float(self._engine.get_global_grad_norm())
        return None if self._refused or not math.isfinite(norm) else norm

    def _norm(self) -> float:
        """Norm of the gradient after it was averaged over the ranks and before it is clipped."""
        return float(torch.nn.utils.get_total_norm([p.grad for p in self._engine.module.parameters() if p.grad is not None]))

    def _drop(self, optimizer: torch.optim.Optimizer, arguments: Any, keywords: Any) -> None:
        norm = getattr(self._engine.optimizer, "_global_grad_norm", None)
        if self._refused or (norm is not None and not math.isfinite(float(norm))):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None


def find_faults(data: LatentSet, clips: Sequence[LatentClip], own_loss: float) -> list[dict[str, Any]]:
    """What each rank saw of a step that was refused: its loss, and those of its clips whose latents or text are not finite. Collective."""
    broken = sorted({clip.clip_id for clip in clips if not data.is_finite(clip)})
    seen: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(seen, {"rank": torch.distributed.get_rank(), "loss": own_loss, "broken": broken})
    return [fault for fault in seen if fault["broken"] or not math.isfinite(fault["loss"])]


def summary(faults: list[dict[str, Any]]) -> str:
    """Which ranks and clips a refused step points at."""
    ranks = sorted({fault["rank"] for fault in faults})
    broken = sorted({clip for fault in faults for clip in fault["broken"]})
    where = f"Rank {', '.join(map(str, ranks))} saw it first" if ranks else "Every loss was finite, the gradient was not"
    return where + (f"; latents that are not finite: {broken}" if broken else "; every clip's latents are finite")
