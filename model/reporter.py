"""Messages to the Dagster run that started this process, if one did: by hand the same calls do nothing."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVERY_S = 15.0  # each message is a row of Dagster's event log


class Reporter:
    """Sparse log lines, and one message at the end."""

    def __init__(self, pipes: Any) -> None:
        self._pipes = pipes
        self._last = 0.0

    def progress(self, text: str) -> None:
        """Log a line, at most one every 15 s."""
        if self._pipes is not None and time.monotonic() - self._last > _EVERY_S:
            self._last = time.monotonic()
            self._pipes.log.info(text)

    def finish(self, result: dict[str, Any]) -> None:
        """Hand the run its result."""
        if self._pipes is not None:
            self._pipes.report_custom_message(result)


@contextmanager
def reporter(*, active: bool = True) -> Iterator[Reporter]:
    """A reporter for one process of a job (`active`: rank 0); connected only where Dagster's Pipes variables are set."""
    if not active or "DAGSTER_PIPES_CONTEXT" not in os.environ:
        yield Reporter(None)
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield Reporter(pipes)
