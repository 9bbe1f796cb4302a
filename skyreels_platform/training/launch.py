"""The command that starts a training job: DeepSpeed's own launcher, on this machine's ranks or over a hostfile."""

import socket
import sys
from pathlib import Path

from skyreels_platform.recipe import LaunchSettings


def deepspeed_command(spec: Path, launch: LaunchSettings) -> list[str]:
    """`deepspeed ... --module model.train --spec SPEC` as an argument list; the same by hand, from an asset and over a hostfile."""
    placement = ["--hostfile", launch.hostfile] if launch.hostfile else ["--num_accelerators", str(launch.num_ranks)]
    # Loopback unless a hostfile says otherwise: the rendezvous has no authentication.
    address = [] if launch.hostfile else ["--master_addr", "127.0.0.1"]
    return [
        sys.executable, "-m", "deepspeed.launcher.runner", *placement, *address, "--master_port", str(_free_port()),
        "--module", "model.train", "--spec", str(spec),
    ]  # fmt: skip


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
