"""Where the work on files runs: processes of this machine, or an existing Ray cluster.

    SKYREELS_COMPUTE    local (default) | ray: the cluster that RAY_ADDRESS names
    SKYREELS_WORKERS    calls at the same time; default: every processor of this machine, or of the cluster
"""

import os
from collections.abc import Mapping
from typing import Self

import dagster as dg

from skyreels_platform.errors import SkyreelsError
from skyreels_platform.workers import MEMORY_BYTES, TIMEOUT_S, LocalWorkers, Workers

BACKENDS = ("local", "ray")


class ComputeResource(dg.ConfigurableResource):
    """Chooses the workers; cheap to make."""

    backend: str = "local"
    """local | ray."""
    num_workers: int = 0
    """Calls at the same time; 0: every processor."""
    threads_per_worker: int = 1
    """Threads that each numeric library takes in a worker."""
    memory_gb: float = MEMORY_BYTES / 2**30
    """Private writable memory of each worker, GiB."""
    timeout_s: float = TIMEOUT_S
    """Wall clock of one call."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables; SkyreelsError names one that cannot be used."""
        backend, number = environment.get("SKYREELS_COMPUTE") or "local", environment.get("SKYREELS_WORKERS") or "0"
        if backend not in BACKENDS:
            raise SkyreelsError(f"SKYREELS_COMPUTE = {backend!r}: known are {' and '.join(BACKENDS)}")
        if not number.isdecimal():
            raise SkyreelsError(f"SKYREELS_WORKERS = {number!r}: give a whole number, 0 for every processor")
        return cls(backend=backend, num_workers=int(number))

    def workers(self) -> Workers:
        """The workers; they start with their first work. SkyreelsError for an unknown backend, or Ray without an address."""
        memory_bytes = round(self.memory_gb * 2**30)
        if self.backend == "local":
            return LocalWorkers(
                num_workers=self.num_workers or max(1, num_processors() // self.threads_per_worker), memory_bytes=memory_bytes,
                timeout_s=self.timeout_s, threads_per_worker=self.threads_per_worker,
            )  # fmt: skip
        if self.backend == "ray":
            from skyreels_platform.ray_workers import RayWorkers

            return RayWorkers(
                num_workers=self.num_workers or None, memory_bytes=memory_bytes, timeout_s=self.timeout_s,
                threads_per_worker=self.threads_per_worker,
            )  # fmt: skip
        raise SkyreelsError(f"compute backend {self.backend!r}: known are {' and '.join(BACKENDS)}")


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
