"""The command that starts a training job: DeepSpeed's own launcher, for the ranks of this machine or over a hostfile."""

import base64
import json
import socket
import sys
from pathlib import Path

from skyreels_platform.recipe import LaunchSettings


def deepspeed_command(spec: Path, launch: LaunchSettings) -> list[str]:
    """`deepspeed ... --module model.train --spec SPEC` as an argument list.

    With a hostfile DeepSpeed's runner reaches every host; on one machine its node launcher is started directly, which saves the
    import of DeepSpeed in one more process (4 s) and binds the rendezvous, which knows no authentication, to loopback.
    """
    job = ["--master_port", str(_free_port()), "--module", "model.train", "--spec", str(spec)]
    if launch.hostfile:
        return [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", launch.hostfile, *job]
    world = base64.urlsafe_b64encode(json.dumps({"localhost": list(range(launch.num_ranks))}).encode()).decode()
    return [sys.executable, "-m", "deepspeed.launcher.launch", "--world_info", world, "--master_addr", "127.0.0.1", *job]


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
