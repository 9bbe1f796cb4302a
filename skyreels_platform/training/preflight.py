"""`skyreels train STAGE --dry-run`: what a stage would need on this machine, and whether it would start."""

from dataclasses import dataclass

from skyreels_platform.recipe import LaunchSettings
from skyreels_platform.training.ranks import read_slots
from skyreels_platform.training.stages import StagePlan

_GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Memory of one rank in GiB."""

    stage: str
    batch: str
    device: dict[str, float]
    """Part -> GiB on the device (the machine's memory where the accelerator is cpu)."""
    host: dict[str, float]
    """What offload keeps in host memory."""
    needs: float
    """Sum of `device` with a margin."""
    has: float | None
    """None: unknown here; launch.memory_gb tells."""
    problem: str | None
    """Why the stage would not start, with what would fit; None if it would."""


def preflight(plan: StagePlan, launch: LaunchSettings) -> Preflight:
    """Estimate a planned stage; nothing is loaded or started."""
    import torch

    from model.memory import OutOfMemoryError, Stage, memory_limit, require_fit

    slots = read_slots(launch.hostfile, launch.num_ranks)
    stage = Stage.of(plan.spec, len(slots))
    ranks_here = max(sum(slot.host == host for slot in slots) for host in {slot.host for slot in slots})
    known = plan.spec.accelerator == "cpu" or plan.spec.memory_gb is not None or torch.cuda.is_available()
    limit = memory_limit(plan.spec, ranks_here) if known else None
    needs, problem = stage.needs(), None
    if limit is not None:
        try:
            require_fit(stage, limit)
        except OutOfMemoryError as error:
            problem = str(error)
    _, frames, height, width = stage.shape
    return Preflight(
        stage=plan.stage, batch=f"{stage.clips} clips of {frames}x{height}x{width} latents per pass, {len(slots)} ranks",
        device={name: size / _GIB for name, size in needs.device.items()}, host={name: size / _GIB for name, size in needs.host.items()},
        needs=needs.total / _GIB, has=None if limit is None else limit / _GIB, problem=problem,
    )  # fmt: skip
