"""Lets an iterator run ahead of its reader, in a thread: the next items are made while the reader works on one.

It gains time where both sides let go of the interpreter's lock, as decoders and array operations do.
"""

import threading
from collections.abc import Generator, Iterable
from queue import Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEPTH = 16
"""Items that wait at most (our choice): enough that a reader who was busy with one for long finds the next ones ready."""
_PATIENCE_S = 0.1  # between two looks at whether the reader has gone


class _End(Generic[Item]):
    """After the last item: what the source raised, if anything."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[Item], *, depth: int = DEPTH) -> Generator[Item, None, None]:
    """The same items in the same order, made up to `depth` ahead of the reader; the source's error is raised at its place.

    The thread starts with the first item that is asked for. A reader who stops early closes this generator, which waits until the
    source has made the item it is at and was closed as well.
    """
    ready: Queue[Item | _End[Item]] = Queue(depth)
    is_over = threading.Event()
    worker = threading.Thread(target=_run, args=(items, ready, is_over), name="ahead", daemon=True)
    worker.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
    finally:
        is_over.set()
        worker.join()
    if item.error is not None:
        raise item.error


def _run(items: Iterable[Item], ready: "Queue[Item | _End[Item]]", is_over: threading.Event) -> None:
    end: _End[Item] = _End()
    try:
        for item in items:
            if not _put(ready, item, is_over):
                break
    except BaseException as error:  # raised where the reader is
        end = _End(error)
    finally:
        if isinstance(items, Generator):
            items.close()
        _put(ready, end, is_over)


def _put(ready: "Queue[Item | _End[Item]]", item: Item | _End[Item], is_over: threading.Event) -> bool:
    """Whether the reader is still there to take it."""
    while not is_over.is_set():
        try:
            ready.put(item, timeout=_PATIENCE_S)
        except Full:
            continue
        return True
    return False
