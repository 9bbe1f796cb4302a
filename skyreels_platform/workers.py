"""Many calls of one function in bounded child processes, and their outcomes as they come.

    with_one_each = LocalWorkers(num_workers=4, memory_bytes=6 << 30, timeout_s=3600)
    for outcome in with_one_each.map(observe_source, [(row,) for row in rows]):
        ...

A hostile file harms nothing but its own call: every worker is a thread that drives one `BoundedWorker`, and a child that hangs, runs
out of memory or dies is replaced. A child that dies without a word (a crash, or a kill from outside) has its call tried once more in
a fresh child, because a kill says nothing about the file. A call that ran out of time or memory is not tried again: it would do so
again. What a call returns depends on its arguments alone, so the number of workers changes the order of outcomes and nothing else.
"""

import importlib
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from skyreels_platform.errors import SkyreelsError, SourceError
from skyreels_platform.media.bounded import BoundedWorker

Call = tuple[Any, ...]
"""Arguments of one call: plain values that can be pickled."""

MEMORY_BYTES = 6 << 30
"""Private writable memory of one child, libraries included (our choice): a 2-hour film is held below 1.5 GB, 8k footage above."""
TIMEOUT_S = 3600.0
"""Wall-clock seconds of one call (our choice)."""

# OpenMP (torch, DIS flow), MKL, OpenBLAS (numpy) and OpenCV read these when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one call."""

    index: int
    """Position of the call among all calls, from 0."""
    value: Any = None
    """What the function returned; None if it failed."""
    error: SkyreelsError | None = None
    """Why this call has no value: a SourceError or DecodeError about its file."""
    is_last: bool = True
    """False: `value` is one of the parts that a generator yields on its way to its result."""


class Workers(Protocol):
    """Somewhere to run one function over many files."""

    @property
    def num_workers(self) -> int:
        """Calls that run at the same time, at most."""
        ...

    def map(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Outcome]:
        """Run a module-level function once per call, each in a bounded child process; outcomes in order of completion.

        Every call has exactly one last outcome. Where the function is a generator, one for each part that it yields comes before; a call
        that is tried again gives its parts again. A SourceError (DecodeError is one) is the outcome of its call; any other error of ours,
        such as a package that is not installed, is about no single file: it ends the map. To leave the loop early ends the work.
        """
        ...


class LocalWorkers:
    """Workers on this machine."""

    def __init__(
        self, *, num_workers: int, memory_bytes: int = MEMORY_BYTES, timeout_s: float = TIMEOUT_S, threads_per_worker: int = 1
    ) -> None:  # fmt: skip
        """memory_bytes: private writable memory of each child. timeout_s: wall clock of each call. Threads: of each library in it."""
        check_numbers(num_workers=num_workers, threads_per_worker=threads_per_worker)
        self.num_workers = num_workers
        self.memory_bytes = memory_bytes
        self.timeout_s = timeout_s
        self.threads_per_worker = threads_per_worker

    def map(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Outcome]:
        """See Workers. Takes calls as they are needed, so that `calls` may be a long iterator."""
        limited = with_threads(function, self.threads_per_worker)
        tasks: queue.SimpleQueue[tuple[int, Call] | None] = queue.SimpleQueue()
        results: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        crew: list[_Worker] = []
        upcoming = enumerate(calls)
        num_open = 0
        try:
            while True:
                # one call waits for each that runs, so that no worker idles while the caller writes rows
                while num_open < 2 * self.num_workers and (task := next(upcoming, None)) is not None:
                    tasks.put(task)
                    num_open += 1
                    if len(crew) < min(num_open, self.num_workers):
                        crew.append(_Worker(self, limited, tasks, results))
                if not num_open:
                    return
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                num_open -= result.is_last
                yield result
        finally:
            for worker in crew:
                worker.is_wanted = False
            for _ in crew:
                tasks.put(None)
            for worker in crew:
                worker.end()


class _Worker:
    """One thread and its child process."""

    def __init__(self, limits: LocalWorkers, function: Callable[..., Any], tasks: Any, results: Any) -> None:
        self.is_wanted = True
        self._child = _Child(memory_bytes=limits.memory_bytes, timeout_s=limits.timeout_s)
        self._thread = threading.Thread(target=self._run, args=(function, tasks, results), name="bounded-worker", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread, whatever its child is doing."""
        while self._thread.is_alive():
            self._child.kill()
            self._thread.join(timeout=0.05)

    def _run(self, function: Callable[..., Any], tasks: Any, results: Any) -> None:
        with self._child:
            while (task := tasks.get()) is not None and self.is_wanted:
                index, call = task
                def on_part(part: Any, index: int = index) -> None:
                    results.put(Outcome(index=index, value=part, is_last=False))

                try:
                    results.put(answer(self._child, function, index, call, on_part=on_part, is_wanted=lambda: self.is_wanted))
                except BaseException as error:  # the caller's thread raises it
                    results.put(error)


class _Child(BoundedWorker):
    """A bounded worker that another thread may interrupt."""

    def kill(self) -> None:
        """End the running child, if there is one; the thread that waits for it sees it crash."""
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def answer(
    child: BoundedWorker, function: Callable[..., Any], index: int, call: Call, *, on_part: Callable[[Any], None],
    is_wanted: Callable[[], bool] = lambda: True,
) -> Outcome:  # fmt: skip
    """One call in a child, tried once more if the child died without the function raising. `on_part` is told what it yields. Raises what
    is about no single file."""
    try:
        try:
            return Outcome(index=index, value=child.call_in_parts(on_part, function, *call))
        except SourceError as error:
            # a broken pipe is how a child that died shows; limits and errors of the function have no such cause
            if not isinstance(error.__cause__, EOFError | ConnectionError) or not is_wanted():
                raise
            return Outcome(index=index, value=child.call_in_parts(on_part, function, *call))
    except SourceError as error:
        return Outcome(index=index, error=error)


def with_threads(function: Callable[..., Any], num_threads: int) -> Callable[..., Any]:
    """The module-level function; whoever unpickles it limits the threads of numeric libraries before its module is imported."""
    return _Limited(function, num_threads)


class _Limited:
    def __init__(self, function: Callable[..., Any], num_threads: int) -> None:
        self._function, self._num_threads = function, num_threads
        self.__qualname__ = function.__qualname__  # what error messages say

    def __call__(self, *call: Any) -> Any:
        return self._function(*call)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str, int]]:
        return _load, (self._function.__module__, self.__qualname__, self._num_threads)


def _load(module: str, qualname: str, num_threads: int) -> Callable[..., Any]:
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(num_threads)))
    function = importlib.import_module(module)
    for name in qualname.split("."):
        function = getattr(function, name)
    return _Limited(function, num_threads)  # type: ignore[arg-type]


def check_numbers(**counts: int) -> None:
    """Raise SkyreelsError on a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise SkyreelsError(f"{name} = {count}: at least 1 is needed")
