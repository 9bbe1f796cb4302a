"""The command that starts a training job: on this machine `model.start`, over a hostfile DeepSpeed's own launcher."""

import socket
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from skyreels_platform.recipe import LaunchSettings, Recipe
from skyreels_platform.training.ranks import LOCAL, Slot


def deepspeed_command(spec: Path, launch: LaunchSettings, slots: Sequence[Slot], attempt: int) -> list[str]:
    """The argument list that runs `model.train --spec SPEC` with one rank on each slot.

    With a hostfile DeepSpeed's runner reaches every host. On one machine its launchers would import DeepSpeed in one or two more
    processes, 4 s each; model.start does without, and binds the rendezvous, which knows no authentication, to loopback.
    """
    job = ["--spec", str(spec), "--attempt", str(attempt)]
    port = ["--master_port", str(_free_port())]
    places = {host: [slot.index for slot in group] for host, group in groupby(slots, key=lambda slot: slot.host)}
    if launch.hostfile:
        include = "@".join(f"{host}:{','.join(map(str, indices))}" for host, indices in places.items())
        runner = [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", launch.hostfile, "--include", include]
        return [*runner, *port, "--module", "model.train", *job]
    return [sys.executable, "-m", "model.start", "--devices", ",".join(map(str, places[LOCAL])), *port, "--", *job]


def spec_values(recipe: Recipe, stage: str) -> dict[str, Any]:
    """What a TrainSpec takes from the recipe alone; the model and where the stage stands in the graph are the caller's."""
    settings, launch = recipe.stages[stage], recipe.launch
    names = ("zero_stage", "offload", "sequence_parallel", "dtype", "accelerator", "threads_per_rank", "memory_gb")
    backends = {"codec": recipe.codec.model_dump(), "text": recipe.text.model_dump()}
    return {
        **settings.model_dump(mode="json", exclude={"init_from"}), **{name: getattr(launch, name) for name in names}, "stage": stage,
        "seed": recipe.seed * 1000 + settings.seed,
        "validation": {**settings.validation.model_dump(mode="json"), **backends} if settings.validation else None,
    }  # fmt: skip


def launch_environment(launch: LaunchSettings) -> dict[str, str]:
    """Variables that the launcher and its ranks need beside the caller's own."""
    return {
        "DS_ACCELERATOR": launch.accelerator,
        "OMP_NUM_THREADS": str(launch.threads_per_rank),  # read when torch is imported, before the spec is
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
