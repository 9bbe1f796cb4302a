"""The captioner's client against a local HTTP server that fails at random, and beside a bare load generator.

    python -m benchmarks.captioner [chaos] [overhead] [--requests N] [--quick] [--idempotent]

chaos     N requests (10,000) to a server that answers out of order and of which a quarter meet trouble: HTTP 500 and 503, answers that
          never come, connections that close, JSON cut in the middle, cut at the token limit, text in a loop, another request's
          answer. The client is killed midway and started again. Counted: shots without a valid caption or a status, answers attached
          to another shot, shots whose useful answer was computed twice, and memory as the requests go by. The server forgets, as vLLM
          does; with --idempotent it keeps its answers by `Idempotency-Key`.
overhead  Requests per second of the client (requests made of pictures, hashed, answered, checked, journaled) against 64 bare asyncio
          connections that send one prepared request of the client's again and again and look at nothing. The server counts the bytes.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil

from skyreels_platform.captioning.answers import Answer, Journal
from skyreels_platform.captioning.asking import ask_all
from skyreels_platform.captioning.chat import ChatLimits, ChatRequest
from skyreels_platform.captioning.prompt import caption_request
from skyreels_platform.captioning.questions import check_caption
from skyreels_platform.captioning.schema import parse

ROOT = Path(__file__).resolve().parents[1]
CONCURRENCY = 64
NUM_PICTURES, PICTURE_BYTES = 16, 20_000  # as kept: 455 x 256 JPEG
SMALL = 2_000  # chaos: its subject is what becomes of each answer, not how fast
LIMITS = ChatLimits(concurrency=CONCURRENCY, timeout_s=5.0, max_attempts=5, first_wait_s=0.1, max_wait_s=2.0)


def requests(number: int, picture_bytes: int = PICTURE_BYTES) -> Iterator[ChatRequest]:
    """Requests of real size by default; the pictures are noise, which nobody here decodes."""
    pictures = [random.Random(index).randbytes(picture_bytes) for index in range(NUM_PICTURES)]
    return (caption_request(f"shot_{index}", pictures, model="m", seed=0) for index in range(number))


@contextmanager
def server(**options: object) -> Iterator[str]:
    """The base URL of a server process."""
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))[: 1 if value is True else 2]]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.captioning.endpoint", *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def work(url: str, journal: Path, number: int, out: Path) -> None:
    """One client process: asks everything, notes statuses and wrong attachments."""
    counts: Counter[str] = Counter()

    def look(answer: Answer) -> None:
        counts[answer.status] += 1
        counts["without a reason"] += answer.status != "success" and not answer.reason
        if answer.status == "success":
            counts["attached to another shot"] += parse(answer.text, is_complete=True).environment != f"Where {answer.key} is."

    with Journal(journal) as opened:
        usage = ask_all(requests(number, SMALL), base_urls=[url], limits=LIMITS, check=check_caption, journal=opened, on_answer=look)
    out.write_text(json.dumps({**counts, "known": usage.num_known, "retries": usage.num_retries, "wall_s": usage.wall_s}), encoding="utf-8")


def chaos(number: int, *, is_idempotent: bool) -> None:
    """Figure A."""
    keeps: dict[str, object] = {"idempotent": True} if is_idempotent else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        log, journal, out = root / "paid", root / "journal", root / "out"
        program = [sys.executable, "-m", "benchmarks.captioner", "work"]
        command = [*program, "--journal", str(journal), "--out", str(out), "--requests", str(number)]
        with server(log=log, slots=CONCURRENCY, service_ms=50, chaos=0.25, hang_s=30, **keeps) as url:
            first = subprocess.Popen([*command, "--url", url], cwd=ROOT)
            while first.poll() is None and (not log.exists() or count_lines(log) < number // 2):
                time.sleep(0.05)
            first.send_signal(signal.SIGKILL)
            first.wait()
            time.sleep(0.5)
            known = {f"{answer.key}-{answer.request_hash}" for answer in Journal(journal).answers()}
            paid_before = paid(log)
            print(f"killed after {len(paid_before)} paid answers, {len(known)} journaled", flush=True)
            second = subprocess.Popen([*command, "--url", url], cwd=ROOT)
            memory = watch(second, lambda: len(list(journal.glob("*.jsonl"))) and count_lines(log))
            assert second.returncode == 0
            paid_all = paid(log)
        told = json.loads(out.read_text(encoding="utf-8"))
    statuses = {name: told.get(name, 0) for name in ("success", "truncated", "repeated", "refused", "error")}
    print(f"{number} shots: {statuses}, sum {sum(statuses.values())}; {told['retries']} retries; {told['wall_s']:.0f} s after the restart")
    print(f"failures without a reason {told['without a reason']}, attached to another shot {told['attached to another shot']}")
    asked_again = known & {request_id for request_id, _ in paid_all[len(paid_before) :]}
    useful = [[request_id.rpartition("-")[0] for request_id, worth in part if worth == "useful"]
              for part in (paid_before, paid_all[len(paid_before) :])]  # fmt: skip
    num_twice = sum(map(len, useful)) - len(set(useful[0] + useful[1]))
    print(f"known at the restart {told['known']}; journaled answers asked for again: {len(asked_again)}; useful answers that came to "
          f"nothing, for the kill: {len(set(useful[0]) & set(useful[1]))} (at a server that forgets: at most the {CONCURRENCY} in "
          f"flight), in all: {num_twice} (the others came after the client's {LIMITS.timeout_s:g} s)")  # fmt: skip
    half = len(memory) // 2
    print(f"memory of the client, MiB: {memory[len(memory) // 10]:.0f} after a tenth, {max(memory[:half]):.0f} at most in the first half, "
          f"{max(memory[half:]):.0f} at most in the second, {memory[-1]:.0f} at the end")  # fmt: skip


def paid(log: Path) -> list[tuple[str, str]]:
    """(request id, useful or useless) of every answer that the server computed, in order."""
    return [(request_id, worth) for request_id, worth in map(str.split, log.read_text(encoding="utf-8").splitlines())]


def watch(process: "subprocess.Popen[bytes]", ready: object) -> list[float]:
    """Resident memory, MiB, until the process ends, from its first journaled answer on."""
    samples: list[float] = []
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            size = seen.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            break
        samples += [size] if size else []  # 0: it has ended and nobody has taken note yet
        time.sleep(0.25)
    process.wait()
    return samples[8:] or samples  # the imports


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


async def bare(url: str, number: int) -> float:
    """Answers per second of bare connections."""
    host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
    request = next(requests(1))
    request_id = f"{request.key}-{request.hash}"
    body = b'{"request_id": ' + json.dumps(request_id).encode() + b", " + request.data[1:]
    head = [
        "POST /v1/chat/completions HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}", "Content-Type: application/json",
        f"X-Request-Id: {request_id}", f"Idempotency-Key: {request_id}.0",
    ]  # fmt: skip
    prepared, left = "\r\n".join([*head, "", ""]).encode() + body, iter(range(number))

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in left:
            writer.write(prepared)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(CONCURRENCY)))
    return number / (time.monotonic() - started)


def received(url: str) -> int:
    """Bytes of bodies that the server has had so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/received") as page:
        return int(page.read())


def ours(url: str, number: int) -> tuple[float, float]:
    """Answers per second of the client, and its core-seconds per request."""
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder)) as journal:
        started, cores = time.monotonic(), time.process_time()
        limits = ChatLimits(concurrency=CONCURRENCY)
        usage = ask_all(requests(number), base_urls=[url], limits=limits, check=check_caption, journal=journal)
        assert usage.statuses == {"success": number}, usage.statuses
        return number / (time.monotonic() - started), (time.process_time() - cores) / number


def overhead(repeats: int, seconds: float) -> None:
    """Figure B."""
    for service_ms in (8000, 1000, 0):
        with server(slots=CONCURRENCY, service_ms=service_ms) as url:
            number = max(2 * CONCURRENCY, min(1500, round(seconds * CONCURRENCY * 1000 / max(service_ms, 100))))
            ratios, rates, costs = [], [], []
            for _ in range(repeats):
                sizes = [received(url)]
                reference = asyncio.run(bare(url, number))
                sizes.append(received(url))
                rate, cost = ours(url, number)
                sizes.append(received(url))
                peer, own = ((after - before) / number for before, after in pairwise(sizes))
                assert abs(own - peer) < 20, f"{own:.0f} bytes a request against {peer:.0f} of the bare generator"
                ratios.append(rate / reference)
                rates.append((rate, reference))
                costs.append(cost)
        middle = statistics.median(ratios)
        shown = ", ".join(f"{rate:.0f} of {reference:.0f}" for rate, reference in rates)
        print(f"answers after about {service_ms} ms, {CONCURRENCY} at a time, {number} requests of 430 kB: {middle:.2f} of the bare "
              f"generator ({shown} a second), {1000 * statistics.median(costs):.1f} core-ms a request", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["chaos", "overhead"])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--idempotent", action="store_true")
    for name in ("--url", "--journal", "--out"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parts == ["work"]:
        return work(arguments.url, Path(arguments.journal), arguments.requests, Path(arguments.out))
    print(f"{os.cpu_count()} processors")
    if "overhead" in arguments.parts:
        overhead(repeats=1 if arguments.quick else 3, seconds=2.0 if arguments.quick else 6.0)
    if "chaos" in arguments.parts:
        chaos(400 if arguments.quick else arguments.requests, is_idempotent=arguments.idempotent)
    return None


if __name__ == "__main__":
    main()
