"""A long stream of requests to language models, and their answers as they come.

Requests are made one at a time as slots become free, so memory does not grow with their number. Every answer goes into the journal before
anybody sees it; a request whose answer is there is not asked again, in this run or after a kill. An answer of no use (cut off, in a loop,
not the schema) is asked for once more with another seed and a repetition penalty of 1.1, since the same request would fail the same
way; that second answer is final.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from skyreels_platform.captioning.answers import Answer, Journal, added, judge, unanswered
from skyreels_platform.captioning.chat import ChatClient, ChatError, ChatLimits, ChatRefusedError, ChatRequest
from skyreels_platform.captioning.connection import Connection

_REPHRASED = {"repetition_penalty": 1.1}  # our choice; vLLM's field, other servers ignore it
_MAX_ASKED = 2
_FIRST_DEPTH_S, _DEPTH_EVERY_S, _DEPTH_TIMEOUT_S = 0.5, 5.0, 2.0  # the first soon: small batches take seconds
_MAX_PAGE = 16 << 20  # bytes of a page of metrics
_DEPTH = re.compile(r"^vllm:num_requests_waiting(?:\{[^}]*\})? ([0-9.eE+]+)$", re.MULTILINE)


@dataclass(kw_only=True)
class Usage:
    """What a stream of requests took."""

    num_requests: int = 0
    num_known: int = 0
    """Answered before: nothing was asked."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Of all requests, known ones included."""
    about: set[str] = field(default_factory=set)
    """Shots about which something was asked: a key up to its first slash."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Of this run."""
    num_retries: int = 0
    wall_s: float = 0.0
    in_flight_s: float = 0.0
    """Sum of the answered requests' latencies."""
    waiting: list[float] = field(default_factory=list)
    """Samples of the servers' own queues (vllm:num_requests_waiting), summed over endpoints; empty if they do not tell."""

    @property
    def num_in_flight(self) -> float:
        """Mean number of requests at the servers (Little's law)."""
        return self.in_flight_s / self.wall_s if self.wall_s else 0.0

    def add(self, other: "Usage") -> None:
        """Count another stream in; the wall time of streams that ran side by side is the longer one's."""
        for name in ("num_requests", "num_known", "prompt_tokens", "completion_tokens", "num_retries", "in_flight_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wall_s = max(self.wall_s, other.wall_s)
        self.statuses.update(other.statuses)
        self.about |= other.about
        self.waiting += other.waiting


def ask_all(
    requests: Iterable[ChatRequest], *, base_urls: Sequence[str], limits: ChatLimits, check: Callable[[str], object], journal: Journal,
    on_answer: Callable[[Answer], None] = lambda answer: None,
) -> Usage:  # fmt: skip
    """Ask every request once; `on_answer` hears each answer, in order of completion, after the journal has it.

    `check` raises CaptionFieldError for a text that is not what was asked for. Never raises for what a server does. For callers without
    an event loop of their own.
    """
    return asyncio.run(_ask_all(requests, base_urls, limits, check, journal, on_answer))


async def _ask_all(
    requests: Iterable[ChatRequest], base_urls: Sequence[str], limits: ChatLimits, check: Callable[[str], object], journal: Journal,
    on_answer: Callable[[Answer], None],
) -> Usage:  # fmt: skip
    usage, started, upcoming = Usage(), time.monotonic(), iter(requests)

    async def work() -> None:
        for request in upcoming:
            before = journal.get(request)
            answer = before if before and is_final(before) else None
            usage.num_known += answer is not None
            if answer is None:
                usage.about.add(request.key.partition("/")[0])
                answer = await _ask(client, request, before, check, journal, usage)
            usage.num_requests += 1
            usage.statuses[answer.status] += 1
            on_answer(answer)

    async with ChatClient(base_urls, limits) as client:
        watch = asyncio.create_task(_watch_queues(base_urls, usage.waiting))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(2 * limits.concurrency):  # half of them wait before a second attempt or make a request ready
                    group.create_task(work())
                    await asyncio.sleep(0)  # what is made goes out before the next is made: the first would wait for all others
        finally:
            watch.cancel()
        usage.num_retries = client.num_retries
    usage.wall_s = time.monotonic() - started
    return usage


async def _ask(
    client: ChatClient, request: ChatRequest, before: Answer | None, check: Callable[[str], object], journal: Journal, usage: Usage
) -> Answer:
    """The answer to one request, put a second time if the first answer (maybe of an earlier run: `before`) is of no use."""
    answer = before
    while answer is None or not is_final(answer):
        seed = int(request.body.get("seed", 0))
        asked = request if answer is None else request.again({"seed": seed + 1, **_REPHRASED})
        try:
            reply = await client.ask(asked)
        except ChatError as error:  # not for the journal: the next run tries again
            status = "refused" if isinstance(error, ChatRefusedError) else "error"
            return _joined(answer, unanswered(request, status, str(error)))
        usage.prompt_tokens += reply.prompt_tokens
        usage.completion_tokens += reply.completion_tokens
        usage.in_flight_s += reply.latency_s
        answer = _joined(answer, judge(request, reply, check))
        journal.add(request, answer)
    return answer


def is_final(answer: Answer) -> bool:
    """Whether its request is never asked again."""
    return answer.status in ("success", "refused") or answer.num_asked >= _MAX_ASKED


def _joined(first: Answer | None, second: Answer) -> Answer:
    return added(first, second) if first else second


async def _watch_queues(base_urls: Sequence[str], samples: list[float]) -> None:
    """Sample the servers' queues until cancelled; a server without vLLM's metrics page adds nothing."""
    connections = {url: Connection(url, most_bytes=_MAX_PAGE) for url in base_urls}
    wait_s = _FIRST_DEPTH_S
    try:
        while True:
            await asyncio.sleep(wait_s)
            wait_s = _DEPTH_EVERY_S
            found = [depth for url, connection in connections.items() if (depth := await _queue_of(url, connection)) is not None]
            if found:
                samples.append(sum(found))
    finally:
        for connection in connections.values():
            connection.close()


async def _queue_of(base_url: str, connection: Connection) -> float | None:
    place = urlsplit(base_url).path.rstrip("/").removesuffix("/v1")
    try:
        async with asyncio.timeout(_DEPTH_TIMEOUT_S):
            page = await connection.send("GET", f"{place}/metrics", {})
    except (OSError, ValueError):
        return None
    depths = [float(value) for value in _DEPTH.findall(page.body.decode(errors="replace"))] if page.status == 200 else []
    return sum(depths) if depths else None
