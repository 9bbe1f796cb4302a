"""`ahead`: the same items, made before they are asked for, and nothing left running."""

import threading
import time
from collections.abc import Iterator

import pytest

from skyreels_platform.media.ahead import ahead


def running() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(ahead(range(1000), depth=3)) == list(range(1000))
    assert list(ahead([])) == []
    assert running() == 0


def test_the_source_runs_ahead_but_no_farther_than_asked() -> None:
    made: list[int] = []
    source = ahead((made.append(number) or number for number in range(100)), depth=4)
    assert next(source) == 0
    deadline = time.monotonic() + 10
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(made) == 6, "one taken, four that wait, one in the hand"
    source.close()
    assert running() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is broken")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the third is broken"):
        seen.extend(ahead(broken()))
    assert seen == [1, 2]


def test_a_reader_who_leaves_early_closes_the_source() -> None:
    closed: list[str] = []

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    for number in (items := ahead(source(), depth=2)):
        if number == 5:
            break
    items.close()
    assert closed == ["ahead"]
    assert running() == 0
