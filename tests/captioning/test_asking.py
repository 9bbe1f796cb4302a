"""The client against a real HTTP server on loopback that speaks the chat protocol and misbehaves on request."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.captioning.answers import Answer, Journal, find_loop
from skyreels_platform.captioning.asking import Usage, ask_all
from skyreels_platform.captioning.chat import ChatLimits, ChatRequest
from skyreels_platform.captioning.prompt import caption_request, spread
from skyreels_platform.captioning.schema import json_schema, parse
from skyreels_platform.errors import LedgerError
from tests.captioning.endpoint import Behaviour, Endpoint, chaos, key_of, valid

LIMITS = ChatLimits(concurrency=8, timeout_s=5, max_attempts=3, first_wait_s=0.01, max_wait_s=0.05)
PICTURES = [b"\xff\xd8 first", b"\xff\xd8 last"]


def request(key: str, seed: int = 3) -> ChatRequest:
    return caption_request(key, PICTURES, model="m", seed=seed)


def check(text: str) -> None:
    parse(text, is_complete=True)


def policy(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
    """What happens is in the key."""
    text = json.dumps(valid(f"Where {key} is."))
    loop = text.replace("The cat runs.", "The cat runs. " * 40)
    first = seen == 0
    behaviours = {
        "down": Behaviour(status=500, text="engine is dead"), "bad_request": Behaviour(status=400, text="unknown model"),
        "down_once": Behaviour(status=500 if first else 200, text="engine is dead" if first else text),
        "busy_once": Behaviour(status=429 if first else 200, text=text, headers={"Retry-After": "0.3"}),
        "hangs_up": Behaviour(hangs_up=True), "no_chat": Behaviour(raw=b'{"detail": "hello"}'), "latin": Behaviour(raw=b"\xff\xfe"),
        "late": Behaviour(delay_s=60), "late_once": Behaviour(text=text, delay_s=60 if first else 0),
        "mixed_up": Behaviour(text=text, request_id="another-0123456789abcdef"),
        "will_not": Behaviour(refusal="I cannot describe this."), "filtered": Behaviour(text="", finish="content_filter"),
        "cut_off": Behaviour(text=text[:80], finish="length"), "cut_json": Behaviour(text=text[:80]),
        "cut_off_once": Behaviour(text=text[:80] if first else text, finish="length" if first else "stop"),
        "looping": Behaviour(text=loop[:900], finish="length"), "looping_json": Behaviour(text=loop),
        "silent": Behaviour(text=None), "prose": Behaviour(text="A cat runs."),
        "wrong_option": Behaviour(text=text.replace("full_shot", "wide")),
    }  # fmt: skip
    return behaviours.get(key, Behaviour(text=text))


def ask(endpoint: Endpoint | str, requests: list[ChatRequest], folder: Path, **limits: Any) -> tuple[dict[str, Answer], Usage]:
    found: dict[str, Answer] = {}
    url = endpoint if isinstance(endpoint, str) else endpoint.base_url
    chosen = ChatLimits(**{**LIMITS.__dict__, **limits})
    with Journal(folder) as journal:
        usage = ask_all(
            requests, base_urls=[url], limits=chosen, check=check, journal=journal,
            on_answer=lambda answer: found.__setitem__(answer.key, answer),
        )  # fmt: skip
    return found, usage


def test_the_request() -> None:
    body = json.loads(request("shot_1").data)
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("m", 0.05, 2048, 3)
    assert body["response_format"]["json_schema"]["schema"] == json_schema()
    video, text = body["messages"][0]["content"]
    assert all(key in text["text"] for key in json_schema()["required"])
    assert video["video_url"]["url"] == "data:video/jpeg;base64,/9ggZmlyc3Q=,/9ggbGFzdA=="
    assert request("shot_1").hash == request("shot_1").hash
    assert len({request("shot_1").hash, request("shot_2").hash, request("shot_1", seed=4).hash}) == 3
    with pytest.raises(ValueError, match="no pictures"):
        caption_request("shot_1", [], model="m", seed=0)


@pytest.mark.parametrize(
    ("times", "duration_s", "number", "chosen"),
    [
        ([0.0], 0.0, 16, [0]),
        ([0.0, 0.5, 1.0], 1.2, 16, [0, 1, 2]),
        ([index / 4 for index in range(33)], 8.2, 5, [0, 8, 16, 25, 32]),
        ([0.0, 1.0, 2.0, 3.0, 3.1], 3.2, 3, [0, 2, 4]),
        ([0.0, 1.0, 2.0], 2.0, 1, [0]),
    ],
)
def test_pictures_are_spread_over_the_whole_shot(times: list[float], duration_s: float, number: int, chosen: list[int]) -> None:
    assert spread(times, duration_s, number) == chosen


@pytest.mark.parametrize(
    ("key", "status", "reason", "num_asked", "num_requests"),
    [
        ("shot_1", "success", "", 1, 1),
        ("down_once", "success", "", 1, 2),
        ("busy_once", "success", "", 1, 2),
        ("cut_off_once", "success", "", 2, 2),
        ("down", "error", r"HTTP 500 .*engine is dead.*\(3 attempts\)", 0, 3),
        ("hangs_up", "error", "no answer from http://127.*is the server up", 0, 3),
        ("no_chat", "error", r"not a chat completion.*\(3 attempts\)", 0, 3),
        ("latin", "error", r"not a chat completion.*\(3 attempts\)", 0, 3),
        ("mixed_up", "error", "'chatcmpl-another-0123456789abcdef' belongs to another request than 'mixed_up-", 0, 3),
        ("bad_request", "refused", "HTTP 400 .*unknown model", 0, 1),
        ("will_not", "refused", "I cannot describe this", 1, 1),
        ("filtered", "refused", "content filter", 1, 1),
        ("cut_off", "truncated", "cut off at 50 tokens$", 2, 2),
        ("cut_json", "truncated", "the JSON ends in the middle", 2, 2),
        ("looping", "repeated", "repeats 'cat runs. The', cut off at 50 tokens", 2, 2),
        ("looping_json", "repeated", "repeats", 2, 2),
        ("silent", "error", "not valid JSON", 2, 2),
        ("prose", "error", "not valid JSON", 2, 2),
        ("wrong_option", "error", "shot_type is 'wide'; allowed: long_shot", 2, 2),
    ],
)
def test_every_end_has_a_status_and_a_reason(
    key: str, status: str, reason: str, num_asked: int, num_requests: int, tmp_path: Path
) -> None:
    with Endpoint(policy) as endpoint:
        found, usage = ask(endpoint, [request(key)], tmp_path)
    answer = found[key]
    assert (answer.key, answer.status, answer.num_asked) == (key, status, num_asked)
    assert re.search(reason or "^$", answer.reason), answer.reason
    assert len(endpoint.requests[key]) == num_requests
    assert usage.statuses == {status: 1}
    if status == "success":
        assert json.loads(answer.text)["environment"] == f"Where {key} is."
    assert usage.completion_tokens == 50 * num_asked


def test_a_late_answer_is_given_up_and_tried_again(tmp_path: Path) -> None:
    with Endpoint(policy) as endpoint:
        found, usage = ask(endpoint, [request("late_once"), request("late")], tmp_path, timeout_s=0.3)
    assert found["late_once"].status == "success"
    assert (found["late"].status, "TimeoutError" in found["late"].reason) == ("error", True)
    assert usage.num_retries == 1 + 2


def test_a_useless_answer_is_asked_for_once_more_in_another_way(tmp_path: Path) -> None:
    with Endpoint(policy) as endpoint:
        ask(endpoint, [request("looping"), request("down_once")], tmp_path)
        first, second = endpoint.requests["looping"]
    assert (first["seed"], second["seed"]) == (3, 4)
    assert ("repetition_penalty" in first, second["repetition_penalty"]) == (False, 1.1)
    assert "repetition_penalty" not in endpoint.requests["down_once"][1]


def test_no_server_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    found, usage = ask("http://127.0.0.1:9/v1", [request(f"shot_{number}") for number in range(20)], tmp_path)
    assert usage.statuses == {"error": 20}
    assert "is the server up?" in found["shot_3"].reason
    with Endpoint(policy) as endpoint:
        assert ask(endpoint, [request("shot_3")], tmp_path)[1].statuses == {"success": 1}, "the next run tries again"


def test_the_servers_own_queue_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_DEPTH_S", "_DEPTH_EVERY_S"):
        monkeypatch.setattr(f"skyreels_platform.captioning.asking.{name}", 0.05)
    slow = lambda key, seen, body: Behaviour(text=json.dumps(valid(key)), delay_s=0.3)  # noqa: E731
    with Endpoint(slow, num_slots=2) as endpoint:
        _, usage = ask(endpoint, [request(f"shot_{number}") for number in range(8)], tmp_path)
    assert max(usage.waiting) == 6.0
    _, usage = ask("http://127.0.0.1:9/v1", [request("shot_1")], tmp_path / "away")
    assert usage.waiting == []


def test_load_goes_to_every_endpoint_and_around_a_dead_one(tmp_path: Path) -> None:
    slow = lambda key, seen, body: Behaviour(text=json.dumps(valid(key)), delay_s=0.02)  # noqa: E731
    requests = [request(f"shot_{number}") for number in range(60)]
    with Endpoint(slow) as one, Endpoint(slow) as two, Journal(tmp_path) as journal:
        urls = [one.base_url, "http://127.0.0.1:9/v1", two.base_url]
        usage = ask_all(requests, base_urls=urls, limits=LIMITS, check=check, journal=journal)
    assert usage.statuses == {"success": 60}
    assert min(len(one.paid), len(two.paid)) >= 20
    assert max(one.most_open, two.most_open) <= LIMITS.concurrency
    assert 2 < usage.num_in_flight <= LIMITS.concurrency


def test_concurrency_is_bounded_and_requests_are_made_as_needed(tmp_path: Path) -> None:
    made = 0

    def stream():
        nonlocal made
        for number in range(100):
            made += 1
            yield request(f"shot_{number}")

    ahead: list[int] = []

    def slow(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        ahead.append(made - len(endpoint.paid))
        return Behaviour(text=json.dumps(valid(key)), delay_s=0.1)

    with Endpoint(slow) as endpoint, Journal(tmp_path) as journal:
        ask_all(stream(), base_urls=[endpoint.base_url], limits=LIMITS, check=check, journal=journal)
    assert endpoint.most_open == LIMITS.concurrency
    assert max(ahead) <= 3 * LIMITS.concurrency


def test_what_is_answered_is_never_asked_again(tmp_path: Path) -> None:
    requests = [request(key) for key in ("shot_1", "cut_off", "looping", "will_not", "bad_request", "down", "cut_off_once")]
    with Endpoint(policy) as endpoint:
        first, _ = ask(endpoint, requests, tmp_path)
        paid = len(endpoint.paid)
        again, usage = ask(endpoint, requests, tmp_path)
        assert len(endpoint.paid) == paid
        assert again == first
    assert usage.num_known == 5, "the endpoint answered neither `down` nor `bad_request`: it may now"
    assert ask("http://127.0.0.1:9/v1", [request("shot_1")], tmp_path)[0]["shot_1"].status == "success"


def test_an_answer_belongs_to_its_request_only(tmp_path: Path) -> None:
    answer = Answer(key="a", request_hash=request("a").hash, status="success", reason="", text="{}", model="m", num_asked=1)
    with Journal(tmp_path) as journal:
        with pytest.raises(LedgerError, match=r"an answer about a .* was given for b"):
            journal.add(request("b"), answer)
        journal.add(request("a"), answer)
        assert journal.get(request("a")) == answer
        assert journal.get(request("b")) is None
        assert list(journal.answers()) == [answer]


def test_a_cut_or_changed_line_is_no_answer(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for key in "abc":
            journal.add(request(key), Answer(
                key=key, request_hash=request(key).hash, status="success", reason="", text="{}", model="m", num_asked=1,
            ))  # fmt: skip
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'"{}"', b'"{ }"') + lines[2][:-20])
    journal = Journal(tmp_path)
    assert [journal.get(request(key)) is not None for key in "abc"] == [True, False, False]
    with journal:
        journal.add(request("b"), Answer(
            key="b", request_hash=request("b").hash, status="success", reason="", text="[]", model="m", num_asked=1,
        ))  # fmt: skip
    assert len(Journal(tmp_path)) == 2
    journal.clear()
    assert len(Journal(tmp_path)) == len(journal) == 0


KILLED = '''
import json, sys
from pathlib import Path
from skyreels_platform.captioning.answers import Journal
from skyreels_platform.captioning.asking import ask_all
from tests.captioning.test_asking import LIMITS, check, request
with Journal(Path(sys.argv[2])) as journal:
    ask_all((request(f"shot_{number}") for number in range(int(sys.argv[3]))), base_urls=[sys.argv[1]], limits=LIMITS, check=check,
            journal=journal)
'''


def kill_midway(endpoint: Endpoint, journal: Path, num: int) -> None:
    """Let a process ask `num` requests, and kill it once a third is paid."""
    command = [sys.executable, "-c", KILLED, endpoint.base_url, str(journal), str(num)]
    process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2], env={**os.environ, "PYTHONPATH": "."})
    deadline = time.monotonic() + 60
    while len(endpoint.paid) < num // 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)


def test_a_killed_run_goes_on_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    num = 400
    with Endpoint(chaos(0.3, service_s=0.01, hang_s=30)) as endpoint:
        kill_midway(endpoint, tmp_path / "journal", num)
        paid_before = list(endpoint.paid)  # one id may be there twice: another request's answer is asked for again
        journal = Journal(tmp_path / "journal")
        journaled = len(journal)
        known = {f"{answer.key}-{answer.request_hash}" for answer in journal.answers()}
        assert num // 4 < journaled < num
        found, usage = ask(endpoint, [request(f"shot_{number}") for number in range(num)], tmp_path / "journal", timeout_s=1.0)
        twice = set(paid_before) & set(endpoint.paid[len(paid_before) :])
    assert usage.num_requests == len(found) == num
    assert usage.num_known >= journaled - len([answer for answer in found.values() if answer.num_asked == 2])
    assert not twice & known
    assert len(twice) <= 2 * LIMITS.concurrency, "what was in flight when it was killed, or waited for its second attempt"
    for key, answer in found.items():
        assert answer.key == key
        if answer.status == "success":
            assert parse(answer.text, is_complete=True).environment == f"Where {key} is."
        else:
            assert answer.reason
    assert usage.statuses["success"] > 0.8 * num


def test_a_disk_that_is_busy_does_not_hold_up_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_free, flushed, flush = threading.Event(), [], os.fsync
    monkeypatch.setattr("skyreels_platform.captioning.answers._SYNC_EVERY_S", 0.0)

    def slow_flush(file: int) -> None:
        assert is_free.wait(20)
        flush(file)
        flushed.append(file)

    monkeypatch.setattr(os, "fsync", slow_flush)
    heard: list[str] = []

    def hear(answer: Answer) -> None:
        heard.append(answer.key)
        if len(heard) == 40:
            assert not flushed, "answers were given while the disk was busy"
            is_free.set()

    with Endpoint(policy) as endpoint, Journal(tmp_path) as journal:
        asked = (request(f"shot_{number}") for number in range(40))
        ask_all(asked, base_urls=[endpoint.base_url], limits=LIMITS, check=check, journal=journal, on_answer=hear)
    assert len(heard) == 40
    assert len(flushed) >= 2, "beside the answers, and before the file was closed"
    assert len(Journal(tmp_path)) == 40


@pytest.mark.parametrize(("idempotent", "most_twice"), [(True, 0), (False, LIMITS.concurrency)])
def test_a_kill_costs_at_most_what_is_in_flight_and_nothing_where_keys_are_honoured(
    idempotent: bool, most_twice: int, tmp_path: Path
) -> None:
    num = 200
    slow = lambda key, seen, body: Behaviour(text=json.dumps(valid(f"Where {key} is.")), delay_s=0.05)  # noqa: E731
    with Endpoint(slow, idempotent=idempotent) as endpoint:
        kill_midway(endpoint, tmp_path / "journal", num)
        num_before = len(endpoint.paid)
        _, usage = ask(endpoint, [request(f"shot_{number}") for number in range(num)], tmp_path / "journal")
        times = Counter(endpoint.paid)
    assert 0 < num_before < num
    assert usage.statuses == {"success": num}
    assert len(times) == num, "every request was answered"
    assert sum(times.values()) - num <= most_twice


def test_a_useless_answer_is_asked_for_anew_under_another_key(tmp_path: Path) -> None:
    def once(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        text = json.dumps(valid(key))
        first = {
            "garbled": Behaviour(text=text, request_id="another-0123456789abcdef"), "down": Behaviour(status=500, text="dead"),
            "slow": Behaviour(text=text, delay_s=0.45), "stuck": Behaviour(text=text, delay_s=60),
        }  # fmt: skip
        return first[key] if seen == 0 else Behaviour(text=text)

    names = ("garbled", "down", "slow", "stuck")
    with Endpoint(once, idempotent=True) as endpoint:
        found, _ = ask(endpoint, [request(key) for key in names], tmp_path, timeout_s=0.3)
        keys = {name: [sent["idempotency_key"].rpartition(".")[2] for sent in endpoint.requests[name]] for name in names}
    assert {answer.status for answer in found.values()} == {"success"}
    assert keys == {
        "garbled": ["0", "1"], "down": ["0", "1"],
        "slow": ["0", "0"],  # the answer that came too late is handed over
        "stuck": ["0", "0", "1"],
    }  # fmt: skip
    assert sorted(key_of(paid) for paid in endpoint.paid) == ["down", "garbled", "garbled", "slow", "stuck"]


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("a b c " * 4, "a b c"),
        ("It goes on. " + "very " * 12, "very"),
        ("very " * 11, ""),
        ("a b c " * 3, ""),
        ("The cat runs, the dog runs, the bird flies and the fish swims through the long afternoon.", ""),
        ("", ""),
        ("He says " + "ha" * 60, "ha"),
        ("_" * 80, ""),
        (json.dumps(valid("A garden with a wall and a gate.")), ""),
        (" ".join(f"sentence number {number} differs." for number in range(200)), ""),
    ],
)
def test_finds_loops(text: str, loop: str) -> None:
    assert find_loop(text) == loop
