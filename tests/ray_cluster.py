"""A Ray cluster of two nodes on loopback, one of which is killed in the middle: `python -m tests.ray_cluster CALLS OUT`.

A process of its own, because Ray leaves threads and handlers behind in whichever process uses it. CALLS: a pickle of what
`observe_source` is called with, once per source. Writes what was seen to OUT as a pickle.
"""

import logging
import os
import pickle
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from skyreels_platform.workers import Outcome
from tests.worker_tasks import die_once, misbehave, observe_slowly

NUM_CALLS = 8
NAP_S = 1.5
LIMITS = {"memory_bytes": 1 << 30, "timeout_s": 30.0}
WORK_LIMITS = {"memory_bytes": 3 << 30, "timeout_s": 240.0}  # of real work on a loaded machine
HOSTILE = [("", 0), ("crash", 1), ("refuse", 2), ("raise", 3), ("exhaust", 4), ("", 5)]
_NODE = {"num_cpus": 2, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1", "include_dashboard": False}

_QUICK = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}  # a dead node is noticed in seconds


def main(calls: list[tuple[Any, ...]], out: Path) -> None:
    # below /tmp itself: the names of Ray's sockets may have 107 bytes
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    os.environ |= {
        "RAY_TMPDIR": temporary, "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # keeps 127.0.0.1: Ray takes the machine's outward address instead, where it can
    }  # fmt: skip
    from ray.cluster_utils import Cluster

    seen: dict[str, Any] = {}
    started = time.monotonic()
    cluster = Cluster()
    try:
        cluster.add_node(_system_config=_QUICK, **_NODE)
        second = cluster.add_node(**_NODE)
        seen["seconds_to_start"] = time.monotonic() - started
        os.environ["RAY_ADDRESS"] = str(cluster.address)
        _work(calls, cluster, second, seen)
    finally:
        cluster.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
    seen["seconds"] = time.monotonic() - started
    out.write_bytes(pickle.dumps(seen))


def _work(sources: list[tuple[Any, ...]], cluster: Any, second: Any, seen: dict[str, Any]) -> None:
    import ray

    from skyreels_platform.ray_workers import RayWorkers

    ray.init(log_to_driver=False, logging_level=logging.ERROR)  # one connection for both maps
    workers = RayWorkers(**LIMITS)
    seen["num_workers"] = workers.num_workers
    with tempfile.TemporaryDirectory() as folder:
        calls = [(how, number) for how, number in HOSTILE]
        seen["hostile"] = list(workers.map(misbehave, calls))
        seen["die_once"] = list(workers.map(die_once, [(str(Path(folder, "note")), 4)]))
    with tempfile.TemporaryDirectory() as folder:
        calls = [(sources[number % len(sources)], number, NAP_S, folder) for number in range(NUM_CALLS)]
        seen["raylets"] = {item.all_processes["raylet"][0].process.pid for item in (cluster.head_node, second)}
        node = second.all_processes["raylet"][0].process.pid
        outcomes: list[Outcome] = []
        for outcome in RayWorkers(**WORK_LIMITS).map(observe_slowly, calls):
            outcomes.append(outcome)
            if "killed" not in seen and (lost := _open_on(node, folder, outcomes)):
                seen |= {"killed": lost, "answered": len(outcomes), "memory_bytes": _memory(), "listeners": _listeners()}
                cluster.remove_node(second, allow_graceful=False)
        seen["outcomes"] = outcomes
        seen["starts"] = [int(path.name.partition("-")[0]) for path in Path(folder).iterdir()]
        seen["nodes"] = {int(path.name.rpartition("-")[2]) for path in Path(folder).iterdir()}
    ray.shutdown()


def _open_on(node: int, folder: str, outcomes: list[Outcome]) -> list[int]:
    """Calls that were started on a node and are not answered yet; none before a third of all is answered."""
    answered = {outcome.index for outcome in outcomes}
    started = [path.name.split("-") for path in Path(folder).iterdir()]
    found = sorted(int(number) for number, _, place in started if int(place) == node and int(number) not in answered)
    return found if len(answered) >= NUM_CALLS // 3 else []


def _memory() -> int:
    """Bytes of this process and all its descendants, shared pages counted once (PSS)."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def _listeners() -> list[str]:
    """Addresses on which this process and its descendants accept connections."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            found |= {item.laddr.ip for item in process.net_connections("inet") if item.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return sorted(found)


if __name__ == "__main__":
    main(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
