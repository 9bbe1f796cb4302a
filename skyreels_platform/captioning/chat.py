"""Chat requests to OpenAI-compatible servers such as vLLM: many at once, over one or more endpoints.

A request goes to the endpoint with the fewest requests in flight; ties go round. An endpoint that fails again and again rests, and
then has to answer one real request before it gets more: a health page that answers says nothing about the engine behind it.

Connection errors, timeouts, HTTP 408, 429 and 5xx, and answers that are none or another request's are tried again after
1, 2, 4 ... seconds. Half of each wait is drawn by the request's hash: a thousand requests that failed together do not come back
together. Everything else, such as HTTP 400, is final at once.

An answer belongs to a request by name, never by its place: the id is made of the key and the request's hash, vLLM repeats it in the
answer, and an answer with another id is dropped.

Paying twice: the id also goes along as `Idempotency-Key`. It is made of the request alone, so a client that was killed sends the same
key again without having written anything down, and an endpoint or gateway that keeps answers by key hands over the one that it has
made. vLLM keeps none: there up to `concurrency` requests, those in flight, are computed twice for each kill. Answers of no use are
counted in the key, and so is every second timeout: from there on it is asked anew.
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

from skyreels_platform.captioning.connection import Connection, NotConnectedError, Response

FILM = "skyreels:film"
"""In a body, where a request's film goes."""
_FILM = json.dumps(FILM).encode()
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
    film: bytes = b""
    """What the first FILM of the body stands for: a data URL, 400 kB. JSON's encoder looks at every character of a text for what it has to
    escape, and a data URL has nothing of the kind."""

    @cached_property
    def data(self) -> bytes:
        """The body as JSON, made once."""
        data = json.dumps(self.body).encode()
        if not self.film:
            return data
        before, found, after = data.partition(_FILM)
        assert found, "the body of a request with a film says where it goes"
        return b"".join((before, b'"', self.film, b'"', after))

    @cached_property
    def hash(self) -> str:
        """16 hex digits over key and body: equal questions about the same thing have one."""
        return hashlib.sha256(json.dumps(self.key).encode() + self.data).hexdigest()[:16]

    def again(self, change: Mapping[str, Any]) -> "ChatRequest":
        """The same question put in another way."""
        return ChatRequest(self.key, {**self.body, **change}, self.film)


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
    idle: list[Connection] = field(default_factory=list)
    """The one used last is taken first, so that others may time out at the server and none is kept for nothing."""

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
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for endpoint in self._endpoints:
            for connection in endpoint.idle:
                connection.close()
            endpoint.idle.clear()

    async def ask(self, request: ChatRequest) -> ChatReply:
        """The answer to a request. ChatRefusedError or ChatError, with a reason for people, if there is none."""
        request_id = f"{request.key}-{request.hash}"
        data = b'{"request_id": ' + json.dumps(request_id).encode() + b", " + request.data[1:]
        reason, retry_after, num_useless, num_late = "", 0.0, 0, 0
        for attempt in range(1, self.limits.max_attempts + 1):
            if attempt > 1:
                self.num_retries += 1
                await asyncio.sleep(max(self._wait_s(request.hash, attempt), retry_after))
            async with self._slots:
                endpoint = await self._choose()
                started = time.monotonic()
                try:
                    response = await self._post(endpoint, data, request_id, num_useless)
                except (OSError, ValueError) as error:  # a timeout is an OSError
                    self._count_failure(endpoint, is_away=isinstance(error, NotConnectedError))
                    reason, retry_after = f"no answer from {endpoint.url}: {str(error) or type(error).__name__}; is the server up?", 0.0
                    num_late += isinstance(error, TimeoutError)
                    num_useless += num_late == 2  # the first time the answer may come later; now what was begun there is stuck
                    num_late %= 2
                    continue
                finally:
                    endpoint.in_flight -= 1
            if response.status in (408, 429) or response.status >= 500:
                self._count_failure(endpoint, is_away=False)
                reason, retry_after, num_useless = _status(endpoint, response), self._retry_after(response), num_useless + 1
                continue
            if response.status != 200:
                raise ChatRefusedError(_status(endpoint, response))
            try:
                reply = _read(response.body, request_id, attempt, time.monotonic() - started)
            except ValueError as error:
                self._count_failure(endpoint, is_away=False)
                reason, retry_after, num_useless = str(error), 0.0, num_useless + 1
                continue
            endpoint.num_failures = 0
            return reply
        raise ChatError(f"{reason} ({self.limits.max_attempts} attempts)")

    async def _post(self, endpoint: _Endpoint, data: bytes, request_id: str, num_useless: int) -> Response:
        """num_useless: answers to this request that came and were of no use: the same key would only bring them again."""
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id, "Idempotency-Key": f"{request_id}.{num_useless}"}
        connection = endpoint.idle.pop() if endpoint.idle else Connection(endpoint.url, most_bytes=_MAX_ANSWER)
        async with asyncio.timeout(self.limits.timeout_s):
            response = await connection.post("/chat/completions", headers, data)
        endpoint.idle.append(connection)
        return response

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

    def _retry_after(self, response: Response) -> float:
        with suppress(ValueError):
            return min(float(response.headers.get("retry-after", 0)), self.limits.max_wait_s)
        return 0.0  # a date: the back-off will do


def _status(endpoint: _Endpoint, response: Response) -> str:
    return f"HTTP {response.status} from {endpoint.url}: {response.body.decode(errors='replace')[:_MAX_ERROR]}"


def _read(data: bytes, request_id: str, num_attempts: int, latency_s: float) -> ChatReply:
    """The completion in a response; ValueError if it is none, or belongs to another request."""
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
