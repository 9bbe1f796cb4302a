"""A child process in which work on untrusted files runs under limits: a hang, crash or memory bomb costs one file, not the batch.

The child is a fresh interpreter (no fork: PyAV, OpenCV and torch hold threads), reused from call to call because importing them
takes seconds. Limits:

- memory: RLIMIT_DATA, which counts private writable memory. RLIMIT_AS would count address space, of which `import torch` alone
  reserves 1.1 GB while it uses 0.4 GB of data. Interpreter and imported libraries count too: give at least 1 GB with torch.
  Shared mappings are not counted.
- time: wall clock per call, from the moment the function has been imported; then SIGKILL for the child and its own children.
- life: the kernel kills the child when its parent dies (PR_SET_PDEATHSIG, Linux). Elsewhere it ends at its next idle moment.
  The signal follows the thread that started the child: a thread that ends takes its child along; the next call starts another.
"""

import contextlib
import ctypes
import importlib
import inspect
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

from skyreels_platform.errors import DecodeError, SkyreelsError

P = ParamSpec("P")
T = TypeVar("T")

START_TIMEOUT_S = 120
"""Seconds for a child to start and to import the function's module (torch from a cold network disk takes its time)."""
_PR_SET_PDEATHSIG = 1
# How libraries word a refused allocation when they do not raise MemoryError: torch, OpenCV, C++.
_MEMORY_WORDS = ("can't allocate memory", "Cannot allocate memory", "Insufficient memory", "bad_alloc", "can't start new thread")
_SERVE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from skyreels_platform.media.bounded import serve; serve()"


class BoundedWorker:
    """Runs module-level functions in one reused child process under a memory and a time limit.

    One caller at a time; a context manager, so that no child outlives its use. Starts the child at the first call.
    """

    def __init__(self, *, memory_bytes: int, timeout_s: float) -> None:
        """memory_bytes: private writable memory of the child, libraries included. timeout_s: wall-clock seconds per call."""
        self.memory_bytes = memory_bytes
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child. The worker can be used again."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the child leads its own group: its children go with it
            self._process.wait()
        self._process = self._pipe = None

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """function(*args, **kwargs), computed in the child. The function must be importable; arguments and result are pickled.

        An error of ours (SkyreelsError) arrives as itself. Everything else is a DecodeError: the child crashed, ran past
        `timeout_s`, ran out of `memory_bytes` (the next call then starts a fresh child), or the function raised, in which case
        the message names the exception and a note holds its traceback.
        """
        return self._called(_refuse_part, function, *args, **kwargs)

    def call_in_parts(
        self, on_part: Callable[[Any], None], function: Callable[P, Generator[Any, None, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`call` of a generator: `on_part` gets what it yields, each piece as soon as it is there, so that the child need not hold all of
        them; what it returns is the result."""
        return self._called(on_part, function, *args, **kwargs)

    def _called(self, on_part: Callable[[Any], None], function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        request = pickle.dumps((function, args, kwargs))
        name = getattr(function, "__qualname__", repr(function))
        try:
            self._ready().send_bytes(request)
            message = self._await(START_TIMEOUT_S, f"{name}: importing its module took more than {START_TIMEOUT_S} s")
            deadline = time.monotonic() + self.timeout_s
            while message[0] in ("started", "part"):
                if message[0] == "part":
                    on_part(message[1])
                left = max(0.0, deadline - time.monotonic())
                message = self._await(left, f"{name} ran past its limit of {self.timeout_s:g} s and was killed")
        except (EOFError, ConnectionError) as error:
            raise self._crashed(name) from error
        except BaseException:
            self.close()
            raise
        if message[0] == "result":
            return message[1]
        self._raise(name, *message)

    def _ready(self) -> Connection:
        """The pipe to a living child that waits for a request."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None or self._pipe is None:
            self._start()
        assert self._pipe is not None
        return self._pipe

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        try:
            arguments = [json.dumps(sys.path), str(theirs.fileno()), str(os.getpid()), str(self.memory_bytes)]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, *arguments], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the child
            )
        finally:
            theirs.close()
        self._await(START_TIMEOUT_S, f"the bounded worker did not start within {START_TIMEOUT_S} s")

    def _await(self, timeout_s: float, otherwise: str) -> Any:
        assert self._pipe is not None
        if not self._pipe.poll(timeout_s):
            raise DecodeError(f"{otherwise}; leave the file out, or raise the limit if it is only large")
        return self._pipe.recv()

    def _crashed(self, name: str) -> DecodeError:
        assert self._process is not None
        code = self._wait_for_end()
        self.close()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return DecodeError(f"{name} crashed its process ({how}); the file is hostile or damaged, or memory ran out: leave it out")

    def _wait_for_end(self) -> int:
        assert self._process is not None
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its pipe but lives on
            return -signal.SIGKILL

    def _raise(self, name: str, kind: str, origin: str, text: str, trace: str) -> NoReturn:
        if kind == "ours":
            raise _rebuild(origin, text)
        if kind == "memory":
            self.close()
            what = f"needed more than its {self.memory_bytes / 2**20:.0f} MiB of memory and was killed"
            error = DecodeError(f"{name} {what}; leave the file out, or raise the limit if it is only large")
        else:
            error = DecodeError(f"{name} failed: {origin}: {text}")
        error.add_note(trace)
        raise error


def _refuse_part(part: Any) -> NoReturn:
    raise TypeError("a generator runs by call_in_parts: `call` would lose what it yields")


def _rebuild(origin: str, text: str) -> SkyreelsError:
    """An error of ours from `module:class` and its message, without its __init__, which may ask for other arguments."""
    module, _, qualname = origin.partition(":")
    kind = getattr(importlib.import_module(module), qualname)
    error = kind.__new__(kind)
    error.args = (text,)
    return error


def serve() -> None:
    """The child's main loop. argv: the parent's sys.path (already applied), the pipe, the parent's pid, bytes of memory."""
    descriptor, parent, memory_bytes = (int(argument) for argument in sys.argv[2:5])
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard_limit = resource.getrlimit(resource.RLIMIT_DATA)[1]
    pipe = Connection(descriptor)
    pipe.send(("ready",))
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            os._exit(0)  # without the exit handlers of whatever the functions imported
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard_limit))
        answer = _answer(pipe, request)
        resource.setrlimit(resource.RLIMIT_DATA, (hard_limit, hard_limit))  # room to report
        pipe.send_bytes(answer if isinstance(answer, bytes) else pickle.dumps(answer))


def _answer(pipe: Connection, request: bytes) -> bytes | tuple[str, str, str, str]:
    """The pickled result, or what went wrong: kind, origin, text, traceback."""
    try:
        function, args, kwargs = pickle.loads(request)
        pipe.send(("started",))
        result = function(*args, **kwargs)
        if inspect.isgenerator(result):
            result = _handed_over(pipe, result)
        return pickle.dumps(("result", result))
    except SkyreelsError as error:
        return "ours", f"{type(error).__module__}:{type(error).__qualname__}", str(error), traceback.format_exc()
    except BaseException as error:  # the child reports everything: only its death is silent
        refused = isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_WORDS)
        return "memory" if refused else "foreign", type(error).__name__, str(error), traceback.format_exc()


def _handed_over(pipe: Connection, parts: Generator[Any, Any, T]) -> T:
    """Send each part, then return what the generator returns."""
    while True:
        try:
            part = next(parts)
        except StopIteration as end:
            return end.value
        pipe.send(("part", part))


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew about the wish
        os._exit(1)
