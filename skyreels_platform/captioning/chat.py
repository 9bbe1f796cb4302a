"""Chat requests to OpenAI-compatible servers such as vLLM: many at once, over one or more endpoints.

A request goes to the endpoint with the fewest requests in flight; ties go round. An endpoint that fails again and again rests, and
then has to answer one real request before it gets more: a health page that answers says nothing about the engine behind it.

Connection errors, timeouts, HTTP 408, 429 and 5xx, and answers that are none or another request's are tried again after
1, 2, 4 ... seconds. Half of each wait is drawn by the request's hash: a thousand requests that failed together do not come back
together. Everything else, such as HTTP 400, is final at once.

An answer belongs to a request by name, never by its place: the id is made of the key and the request's hash, vLLM repeats it in the
answer, and an answer with another id is dropped.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import httpx

_DOWN_AFTER = 8      # failures in a row after which an endpoint rests (a connection that is refused: at once)
_MAX_ERROR = 300     # characters of a server's error that a reason quotes
_MAX_ANSWER = 4 << 20  # bytes: 2,048 tokens are 20 kB


@dataclass(frozen=True, kw_only=True)
class ChatLimits:
    """How hard endpoints are worked, and how long a request may take."""

    concurrency: int = 64
    """Requests in flight over all endpoints."""
    timeout_s: float = 180.0
    """Of one attempt, from the first byte sent to the last received (code: 180)."""
    max_attempts: int = 5
    first_wait_s: float = 1.0
    """Before the second attempt; doubles each time."""
    max_wait_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class ChatRequest:
    """One question to a model."""

    key: str
    """What the answer is about: a shot id, or a shot id with a task."""
    body: Mapping[str, Any]
    """OpenAI's chat completion request, plain values."""

    @cached_property
    def data(self) -> bytes:
        """The body as JSON; 400 kB with pictures, so made once."""
        return json.dumps(self.body).encode()

    @cached_property
    def hash(self) -> str:
        """16 hex digits over key and body: equal questions about the same thing have one."""
        return hashlib.sha256(json.dumps(self.key).encode() + self.data).hexdigest()[:16]

    def again(self, change: Mapping[str, Any]) -> "ChatRequest":
        """The same question put in another way."""
        return ChatRequest(self.key, {**self.body, **change})


@dataclass(frozen=True, kw_only=True)
class ChatReply:
    """What a server said to one request."""

    text: str
    finish_reason: str
    """stop | length | content_filter | ..."""
    refusal: str
    """The model's refusal, '' without one."""
    prompt_tokens: int
    completion_tokens: int
    num_attempts: int
    latency_s: float
    """Of the attempt that was answered."""


class ChatError(Exception):
    """No answer to this request: the endpoints are away or answer with nonsense."""


class ChatRefusedError(ChatError):
    """The endpoint refuses this very request (HTTP 4xx): asking again changes nothing."""


@dataclass
class _Endpoint:
    url: str
    in_flight: int = 0
    num_failures: int = 0
    """In a row."""
    resting_until: float = 0.0

    def is_ready(self, now: float) -> bool:
        if self.num_failures < _DOWN_AFTER:
            return True
        return now >= self.resting_until and self.in_flight == 0  # the one request that shows whether it is back


@dataclass
class ChatClient:
    """Endpoints of one kind of model. An async context manager; use it within one event loop."""

    base_urls: Sequence[str]
    """Each with `/v1`, e.g. http://127.0.0.1:8000/v1."""
    limits: ChatLimits = field(default_factory=ChatLimits)
    num_retries: int = 0
    """Attempts beyond each request's first, so far."""

    def __post_init__(self) -> None:
        if not self.base_urls:
            raise ValueError("no endpoint; give at least one base URL such as http://127.0.0.1:8000/v1")
        self._endpoints = [_Endpoint(url.rstrip("/")) for url in self.base_urls]
        self._turn = 0

    async def __aenter__(self) -> Self:
        # One client per slot: httpx goes through all connections of a client whenever one is taken or comes back, twice nested.
        context = httpx.create_ssl_context(trust_env=False)
        self._slots: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
        for _ in range(self.limits.concurrency):
            # No timeout: one deadline for all of an attempt, below. No proxy from the environment: it would carry footage to a host that
            # nobody named.
            self._slots.put_nowait(httpx.AsyncClient(timeout=None, trust_env=False, verify=context))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while not self._slots.empty():
            await self._slots.get_nowait().aclose()

    async def ask(self, request: ChatRequest) -> ChatReply:
        """The answer to a request. ChatRefusedError or ChatError, with a reason for people, if there is none."""
        request_id = f"{request.key}-{request.hash}"
        data = b'{"request_id": ' + json.dumps(request_id).encode() + b", " + request.data[1:]
        reason, retry_after = "", 0.0
        for attempt in range(1, self.limits.max_attempts + 1):
            if attempt > 1:
                self.num_retries += 1
                await asyncio.sleep(max(self._wait_s(request.hash, attempt), retry_after))
            slot = await self._slots.get()
            try:
                endpoint = await self._choose()
                started = time.monotonic()
                try:
                    response = await self._post(slot, endpoint, data, request_id)
                except (httpx.HTTPError, TimeoutError) as error:
                    self._count_failure(endpoint, is_away=isinstance(error, httpx.ConnectError))
                    reason, retry_after = f"no answer from {endpoint.url}: {str(error) or type(error).__name__}; is the server up?", 0.0
                    continue
                finally:
                    endpoint.in_flight -= 1
            finally:
                self._slots.put_nowait(slot)
            if response.status_code in (408, 429) or response.status_code >= 500:
                self._count_failure(endpoint, is_away=False)
                reason, retry_after = _status(endpoint, response), self._retry_after(response)
                continue
            if response.status_code != 200:
                raise ChatRefusedError(_status(endpoint, response))
            try:
                reply = _read(response.content, request_id, attempt, time.monotonic() - started)
            except ValueError as error:
                self._count_failure(endpoint, is_away=False)
                reason, retry_after = str(error), 0.0
                continue
            endpoint.num_failures = 0
            return reply
        raise ChatError(f"{reason} ({self.limits.max_attempts} attempts)")

    async def _post(self, slot: httpx.AsyncClient, endpoint: _Endpoint, data: bytes, request_id: str) -> httpx.Response:
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        async with asyncio.timeout(self.limits.timeout_s):
            return await slot.post(f"{endpoint.url}/chat/completions", content=data, headers=headers)

    async def _choose(self) -> _Endpoint:
        """The ready endpoint with the fewest requests in flight; waits until one is ready."""
        while True:
            now = time.monotonic()
            self._turn += 1
            order = [self._endpoints[(self._turn + step) % len(self._endpoints)] for step in range(len(self._endpoints))]
            ready = [endpoint for endpoint in order if endpoint.is_ready(now)]
            if ready:
                chosen = min(ready, key=lambda endpoint: endpoint.in_flight)
                chosen.in_flight += 1
                return chosen
            await asyncio.sleep(0.02)

    def _count_failure(self, endpoint: _Endpoint, *, is_away: bool) -> None:
        endpoint.num_failures = max(endpoint.num_failures + 1, _DOWN_AFTER if is_away else 0)
        if endpoint.num_failures >= _DOWN_AFTER:
            wait_s = self.limits.first_wait_s * 2 ** min(endpoint.num_failures - _DOWN_AFTER, 6)
            endpoint.resting_until = time.monotonic() + min(wait_s, self.limits.max_wait_s)

    def _wait_s(self, seed: str, attempt: int) -> float:
        longest = min(self.limits.max_wait_s, self.limits.first_wait_s * 2 ** (attempt - 2))
        drawn = int.from_bytes(hashlib.sha256(f"{seed} {attempt}".encode()).digest()[:4], "big") / 2**32
        return longest * (1 + drawn) / 2

    def _retry_after(self, response: httpx.Response) -> float:
        with suppress(ValueError):
            return min(float(response.headers.get("Retry-After", 0)), self.limits.max_wait_s)
        return 0.0  # a date: the back-off will do


def _status(endpoint: _Endpoint, response: httpx.Response) -> str:
    return f"HTTP {response.status_code} from {endpoint.url}: {response.text[:_MAX_ERROR]}"


def _read(data: bytes, request_id: str, num_attempts: int, latency_s: float) -> ChatReply:
    """The completion in a response; ValueError if it is none, or belongs to another request."""
    if len(data) > _MAX_ANSWER:
        raise ValueError(f"the answer has {len(data)} bytes; at most {_MAX_ANSWER} are read")
    try:
        reply = json.loads(data)
        reply_id, choice, usage = str(reply["id"]), reply["choices"][0], reply.get("usage") or {}
        message = choice["message"]
        answer = ChatReply(
            text=message["content"] or "", finish_reason=str(choice["finish_reason"]), refusal=str(message.get("refusal") or ""),
            prompt_tokens=int(usage.get("prompt_tokens") or 0), completion_tokens=int(usage.get("completion_tokens") or 0),
            num_attempts=num_attempts, latency_s=latency_s,
        )  # fmt: skip
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a chat completion ({type(error).__name__}: {error}): {data[:120]!r}") from error
    if not reply_id.endswith(request_id):
        raise ValueError(f"the answer {reply_id!r} belongs to another request than {request_id!r}; does a proxy rewrite or mix answers?")
    return answer
