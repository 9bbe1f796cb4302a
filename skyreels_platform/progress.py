"""Progress that fits where it is shown: moving bars on a terminal, a line now and then in a log.

    for path in track(paths, "ingest"):
        ...
    with bar("train", total=300) as steps:
        steps.advance(note="loss 0.31")     # one more
        steps.to(120)                       # or the absolute position, as read from another process's log

Bars nest. Everything goes to stderr, so that `--json` output stays clean. In a log each bar writes one line at its start, one at
its end, and between them at most one every 5 s, or one per further 10 % if at least a second lies between. A bar that an
exception ends says so.
"""

import os
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

_Item = TypeVar("_Item")

LINE_EVERY_S = 5.0
_STEP = 0.0999  # a tenth, whatever the rounding
_STEP_EVERY_S = 1.0


class Bar(Protocol):
    """What the body of `bar` moves."""

    def advance(self, n: float = 1, note: str = "") -> None:
        """`n` more are done; `note` is shown until the next one."""
        ...

    def to(self, done: float, note: str = "") -> None:
        """`done` in all are done. Smaller than before is allowed: a resumed run starts again from its checkpoint."""
        ...


def track(iterable: Iterable[_Item], label: str, total: int | None = None) -> Generator[_Item, None, None]:
    """Yield the items and show how many have been dealt with; `total` for an iterable without a length."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with bar(label, total) as progress:
        for item in iterable:
            yield item
            progress.advance()


@contextmanager
def bar(label: str, total: float | None = None) -> Iterator[Bar]:
    """Show a bar named `label` until the block ends; without a total only the count and the time are shown."""
    shown: _Line | _RichBar = _RichBar(label, total) if _on_terminal() else _Line(label, total)
    try:
        yield shown
    except GeneratorExit:  # the consumer of `track` left its loop: neither a failure nor the end
        shown.close("left")
        raise
    except BaseException:
        shown.close("stopped")
        raise
    shown.close("done")


class _Line:
    """Plain lines for logs and pipes."""

    def __init__(self, label: str, total: float | None) -> None:
        self._label, self._total = label, total
        self._done, self._note = 0.0, ""
        self._started = self._shown_at = time.monotonic()
        self._shown_share = 0.0
        self._write("started")

    def advance(self, n: float = 1, note: str = "") -> None:
        self.to(self._done + n, note)

    def to(self, done: float, note: str = "") -> None:
        self._done, self._note = done, note
        now = time.monotonic()
        silent_s = now - self._shown_at
        share = done / self._total if self._total else 0.0
        if silent_s >= LINE_EVERY_S or (silent_s >= _STEP_EVERY_S and share - self._shown_share > _STEP):
            self._shown_at, self._shown_share = now, share
            self._write(self._remaining(now - self._started, share))

    def close(self, how: str) -> None:
        self._write(f"{how} after {_seconds(time.monotonic() - self._started)}")

    def _remaining(self, elapsed_s: float, share: float) -> str:
        spent = _seconds(elapsed_s)
        return f"{spent}, about {_seconds(elapsed_s * (1 / share - 1))} left" if 0 < share < 1 else spent

    def _write(self, state: str) -> None:
        count = f"{self._done:g}" if self._total is None else f"{self._done:g} of {self._total:g}"
        note = f" ({self._note})" if self._note else ""
        print(f"{self._label}: {count}, {state}{note}", file=sys.stderr, flush=True)


class _RichBar:
    """One row of the terminal's display, which nested bars share: a finished inner row goes, the outermost one stays."""

    _lock = threading.RLock()
    _display: Any = None
    _open = 0

    def __init__(self, label: str, total: float | None) -> None:
        with self._lock:
            if _RichBar._display is None:
                _RichBar._display = _new_display()
                _RichBar._display.start()
            _RichBar._open += 1
            self._shared = _RichBar._display
        self._task = self._shared.add_task(label, total=total, note="")

    def advance(self, n: float = 1, note: str = "") -> None:
        self._shared.update(self._task, advance=n, note=note)

    def to(self, done: float, note: str = "") -> None:
        self._shared.update(self._task, completed=done, note=note)

    def close(self, how: str) -> None:
        self._shared.update(self._task, note="" if how == "done" else how)
        self._shared.stop_task(self._task)
        with self._lock:
            _RichBar._open -= 1
            if _RichBar._open:
                if how == "done":
                    self._shared.update(self._task, visible=False)
                return
            _RichBar._display.stop()
            _RichBar._display = None


def _new_display() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    # Labels and notes hold file names: square brackets in them are no markup. Piped output must not be drawn into the display.
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True), redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
