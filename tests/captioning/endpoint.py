"""A server that speaks the chat protocol and behaves as a policy says: for the tests in a thread, for benchmarks as a process.

    python -m tests.captioning.endpoint --log PAID --service-ms 100 --slots 64 --chaos 0.25      # prints its base URL

A policy looks at the request's key (in the request's id) and at how often it came before. `paid` are the ids whose answers were handed
over whole. A process logs them instead, one a line, and whether the answer was a useful one. An idempotent server keeps its answers by
`Idempotency-Key`, goes on computing when the client has left, and hands over what it has when the key comes again; `paid` are then
the ids of what was computed.
"""

import argparse
import asyncio
import hashlib
import json
import random
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self


def valid(environment: str) -> dict[str, Any]:
    """A complete structured caption."""
    subject = {
        "TYPES": {"type": "Animal", "sub_type": "Cat"}, "appearance": "Gray.", "action": "The cat runs.", "expression": "",
        "position": "Centre.", "is_main_subject": True,
    }
    return {
        "subjects": [subject], "shot_type": "full_shot", "shot_angle": "eye_level", "shot_position": "side_view",
        "camera_motion": "", "environment": environment, "lighting": "Daylight.",
    }


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What the server does with one request."""

    status: int = 200
    text: str | None = ""
    finish: str = "stop"
    delay_s: float = 0.0
    hangs_up: bool = False
    request_id: str | None = None
    """Another id than the request's."""
    is_useful: bool = True
    """The log says it."""
    refusal: str | None = None
    raw: bytes | None = None
    """Instead of a completion."""
    headers: dict[str, str] = field(default_factory=dict)


Policy = Callable[[str, int, dict[str, Any]], Behaviour]
"""(key, how often it came before, body) -> behaviour."""


def key_of(request_id: str) -> str:
    return request_id.rpartition("-")[0]


class Endpoint:
    """A server on loopback with a loop of its own; a context manager."""

    def __init__(
        self, policy: Policy, *, num_slots: int = 1 << 20, keep: bool = True, log: Path | None = None, idempotent: bool = False
    ) -> None:
        """num_slots: requests worked on at a time; the others wait. keep: remember the requests' bodies."""
        self.policy, self.keep, self.num_slots, self.idempotent = policy, keep, num_slots, idempotent
        self.num_bytes = 0
        self._answers: dict[str, asyncio.Task[tuple[Behaviour, bytes]]] = {}
        self.requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.paid: list[str] = []
        self.num_waiting = self.most_open = 0
        self._counts: Counter[str] = Counter()
        self._log = log.open("a", encoding="utf-8", buffering=1) if log else None
        self._open = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready.set)), name="endpoint")
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        assert self._thread
        self._thread.join()

    async def serve(self, ready: Callable[[], None], port: int = 0) -> None:
        """Serve until stopped."""
        self._loop, self._stop, self._slots = asyncio.get_running_loop(), asyncio.Event(), asyncio.Semaphore(self.num_slots)
        self._connections: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connect, "127.0.0.1", port, limit=1 << 24)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready()
        await self._stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._log:
            self._log.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            pages = {"/metrics": f'vllm:num_requests_waiting{{model_name="m"}} {self.num_waiting}\n', "/received": str(self.num_bytes)}
            return await self._send(writer, 200 if path in pages else 404, pages.get(path, "").encode(), {})
        self.num_bytes += len(data)
        body = json.loads(data) if self.keep else {}
        request_id = headers["x-request-id"]
        if self.keep:
            self.requests[key_of(request_id)].append({**body, "path": path, "idempotency_key": headers.get("idempotency-key")})
        if self.idempotent:
            behaviour, reply = await self._once(headers["idempotency-key"], request_id, body)
        else:
            behaviour, reply = await self._compute(request_id, body)
        if behaviour.hangs_up:
            return False
        await self._send(writer, behaviour.status, reply, behaviour.headers)
        if not self.idempotent:
            self._pay(behaviour, request_id)
        return True

    async def _once(self, name: str, request_id: str, body: dict[str, Any]) -> tuple[Behaviour, bytes]:
        if name not in self._answers:
            self._answers[name] = asyncio.create_task(self._compute(request_id, body))
        behaviour, reply = await asyncio.shield(self._answers[name])
        if behaviour.hangs_up:  # nothing came of it
            self._answers.pop(name, None)
        return behaviour, reply

    def _pay(self, behaviour: Behaviour, request_id: str) -> None:
        if behaviour.status == 200 and not behaviour.hangs_up:
            if self._log is None:
                self.paid.append(request_id)
            else:
                self._log.write(f"{request_id} {'useful' if behaviour.is_useful else 'useless'}\n")

    async def _compute(self, request_id: str, body: dict[str, Any]) -> tuple[Behaviour, bytes]:
        key = key_of(request_id)
        seen = self._counts[key]
        self._counts[key] += 1
        behaviour = self.policy(key, seen, body)
        self.num_waiting += 1
        async with self._slots:
            self.num_waiting -= 1
            self._open += 1
            self.most_open = max(self.most_open, self._open)
            try:
                await asyncio.sleep(behaviour.delay_s)
            finally:
                self._open -= 1
        if behaviour.status != 200:
            reply = json.dumps({"error": {"message": behaviour.text}}).encode()
        else:
            message = {"content": behaviour.text, "refusal": behaviour.refusal}
            reply = behaviour.raw if behaviour.raw is not None else json.dumps({
                "id": f"chatcmpl-{behaviour.request_id or request_id}",
                "choices": [{"message": message, "finish_reason": behaviour.finish}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50},
            }).encode()  # fmt: skip
        if self.idempotent:
            self._pay(behaviour, request_id)
        return behaviour, reply

    async def _send(self, writer: asyncio.StreamWriter, status: int, data: bytes, headers: dict[str, str]) -> bool:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n{more}\r\n".encode() + data)
        await writer.drain()
        return True


def chaos(share: float, *, service_s: float, hang_s: float, seed: int = 0) -> Policy:
    """Answers after 0.5 to 1.5 times `service_s`, so out of order; a `share` of requests meets one of eight troubles instead."""

    def policy(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        random_ = random.Random(hashlib.sha256(f"{seed} {key} {seen}".encode()).digest())
        delay_s = service_s * random_.uniform(0.5, 1.5)
        text = json.dumps(valid(f"Where {key} is."))
        if random_.random() >= share:
            return Behaviour(text=text, delay_s=delay_s)
        troubles = (
            Behaviour(status=500, text="engine is dead", delay_s=delay_s),
            Behaviour(status=503, text="overloaded"),
            Behaviour(delay_s=hang_s, hangs_up=True),
            Behaviour(delay_s=delay_s, hangs_up=True),
            Behaviour(text=text[: random_.randrange(20, len(text) - 2)], delay_s=delay_s),
            Behaviour(text=text[:80], finish="length", delay_s=delay_s),
            Behaviour(text=text.replace("The cat runs.", "The cat runs. " * 40), delay_s=delay_s),
            Behaviour(text=json.dumps(valid("Where another is.")), request_id="another-0123456789abcdef", delay_s=delay_s),
        )
        return replace(random_.choice(troubles), is_useful=False)

    return policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--service-ms", type=float, default=100.0)
    parser.add_argument("--hang-s", type=float, default=600.0)
    parser.add_argument("--chaos", type=float, default=0.0)
    parser.add_argument("--idempotent", action="store_true")
    arguments = parser.parse_args()
    policy = chaos(arguments.chaos, service_s=arguments.service_ms / 1000, hang_s=arguments.hang_s)
    endpoint = Endpoint(policy, num_slots=arguments.slots, keep=False, log=arguments.log, idempotent=arguments.idempotent)

    async def run() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: endpoint._stop.set())
        await endpoint.serve(lambda: print(endpoint.base_url, flush=True), arguments.port)

    asyncio.run(run())


if __name__ == "__main__":
    main()
