"""The same calls on an existing Ray cluster, through Ray Data: one call is one block, so that a lost node costs what it was doing.

The cluster is the one that RAY_ADDRESS names (`host:port` of its head, or `auto` on one of its nodes); none is ever started here. Every
node needs this package at the same version, and sees the footage under the same URIs. A task that is lost with its node or worker is
run again elsewhere by Ray. Inside a task the call runs in a bounded child process, as on one machine (`workers`): a hostile file is met
by the same limits and never by Ray. Rows are equal to those of LocalWorkers, because the same function makes them of the same arguments.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from skyreels_platform.errors import MissingExtraError, SkyreelsError
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.workers import MEMORY_BYTES, TIMEOUT_S, Call, Outcome, answer, check_numbers, with_threads

ADDRESS = "RAY_ADDRESS"

_PART_BYTES = 256 << 20  # of calls that wait in the cluster's object store (our choice)

_children: dict[tuple[int, float], BoundedWorker] = {}  # of this Ray worker process, kept because imports take seconds


class RayWorkers:
    """Workers on the nodes of a Ray cluster."""

    def __init__(
        self, *, num_workers: int | None = None, memory_bytes: int = MEMORY_BYTES, timeout_s: float = TIMEOUT_S,
        threads_per_worker: int = 1, address: str | None = None,
    ) -> None:  # fmt: skip
        """num_workers: None takes every CPU of the cluster. address: None reads RAY_ADDRESS. Limits are those of LocalWorkers.

        Raises SkyreelsError without an address; connects at the first use.
        """
        check_numbers(num_workers=num_workers or 1, threads_per_worker=threads_per_worker)
        self.address = address or os.environ.get(ADDRESS, "")
        if self.address in ("", "local"):
            remedy = f"set {ADDRESS} to the host:port of a running cluster's head; no cluster is started here"
            raise SkyreelsError(f"{ADDRESS} = {self.address!r}: {remedy}")
        self.memory_bytes = memory_bytes
        self.timeout_s = timeout_s
        self.threads_per_worker = threads_per_worker
        self._num_workers = num_workers

    @property
    def num_workers(self) -> int:
        """Calls that run at the same time, at most; asks the cluster if it was not told."""
        if self._num_workers is None:
            with _connected(self.address) as ray:
                self._num_workers = max(1, int(ray.cluster_resources().get("CPU", 0)) // self.threads_per_worker)
        return self._num_workers

    def map(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Outcome]:
        """See Workers. Hands calls to the cluster, which holds them until they are run, in parts of at most 256 MB.

        Raises SkyreelsError if the cluster cannot be reached.
        """
        settings = {
            "function": pickle.dumps(with_threads(function, self.threads_per_worker)),
            "memory_bytes": self.memory_bytes, "timeout_s": self.timeout_s,
        }  # fmt: skip
        parts = _parts(calls)
        part = next(parts, None)
        if part is None:
            return
        with _connected(self.address) as ray:
            while part is not None:
                yield from self._map_part(ray, part, settings)
                part = next(parts, None)

    def _map_part(self, ray: Any, items: list[dict[str, Any]], settings: dict[str, Any]) -> Iterator[Outcome]:
        pool = ray.data.TaskPoolStrategy(self._num_workers and min(self._num_workers, len(items)))
        blocks = ray.data.from_items(items, override_num_blocks=len(items))
        answers = blocks.map(run_item, fn_kwargs=settings, num_cpus=self.threads_per_worker, compute=pool)
        waiting = {item["index"] for item in items}
        for row in answers.iter_rows():
            outcomes = pickle.loads(row["outcomes"])
            if isinstance(outcomes, SkyreelsError):
                raise outcomes
            # a block that was lost after it had been read is made again, and the caller hears of each call once
            if outcomes[-1].index in waiting:
                waiting.remove(outcomes[-1].index)
                yield from outcomes


def _parts(calls: Iterable[Call]) -> Iterator[list[dict[str, Any]]]:
    """Calls as rows of a data set, in lists of a bounded size; calls may carry pictures."""
    part: list[dict[str, Any]] = []
    size = 0
    for index, call in enumerate(calls):
        data = pickle.dumps(call)
        if part and size + len(data) > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append({"index": index, "call": data})
        size += len(data)
    if part:
        yield part


def run_item(item: dict[str, Any], *, function: bytes, memory_bytes: int, timeout_s: float) -> dict[str, bytes]:
    """One call, in the bounded child of this Ray worker; runs on the cluster. Answers with its Outcomes, or with an error for the map."""
    child = _children.setdefault((memory_bytes, timeout_s), BoundedWorker(memory_bytes=memory_bytes, timeout_s=timeout_s))
    index, parts = item["index"], []
    try:
        last = answer(child, pickle.loads(function), index, pickle.loads(item["call"]), on_part=parts.append)
        outcomes = [*(Outcome(index=index, value=part, is_last=False) for part in parts), last]
    except Exception as error:  # Ray would run the call again: it is the caller who has to know
        kind = "" if isinstance(error, SkyreelsError) else f"{type(error).__name__}: "
        outcomes = SkyreelsError(f"{kind}{error}")
    return {"outcomes": pickle.dumps(outcomes)}


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected; the connection of whoever connected before stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray Data reports what it runs unless it is told not to
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray[data]", "ray", f"a Ray cluster ({ADDRESS} = {address})") from error

    is_ours = not ray.is_initialized()
    if is_ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SkyreelsError(f"{ADDRESS} = {address!r}: no Ray cluster answers there: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # whoever maps shows its own
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()
