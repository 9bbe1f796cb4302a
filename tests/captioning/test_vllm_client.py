"""The client against a real HTTP server on loopback that speaks the chat protocol and misbehaves on request.

The server finds the shot in the request's id, as vLLM's answers let a client do; what it answers is chosen by the shot's name.
"""

import base64
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest

from skyreels_platform.captioning.schema import json_schema
from skyreels_platform.captioning.vllm_client import VllmCaptioner, find_loop, letterbox

FRAMES = np.zeros((40, 90, 160, 3), np.uint8)
FRAMES[np.arange(40), :, np.arange(40) * 4] = 255  # a bar that says which frame it is


def valid(environment: str) -> dict[str, Any]:
    subject = {
        "TYPES": {"type": "Animal", "sub_type": "Cat"}, "appearance": "Gray.", "action": "The cat runs.", "expression": "",
        "position": "Centre.", "is_main_subject": True,
    }
    return {
        "subjects": [subject], "shot_type": "full_shot", "shot_angle": "eye_level", "shot_position": "side_view",
        "camera_motion": "", "environment": environment, "lighting": "Daylight.",
    }


class FakeVllm(ThreadingHTTPServer):
    """Counts and keeps the requests per shot."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: dict[str, list[dict[str, Any]]] = defaultdict(list)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, FakeVllm)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request_id = self.headers["X-Request-Id"]
        shot = request_id.rpartition("-")[0]
        seen = self.server.requests[shot]
        seen.append({**body, "path": self.path})
        if (shot == "down_once" and len(seen) == 1) or shot == "down":
            self._send(500, {"error": {"message": "engine is dead"}})
        elif shot == "refused":
            self._send(400, {"error": {"message": "unknown model"}})
        elif shot == "hangs_up":
            self.close_connection = True
        elif shot == "no_chat":
            self._send(200, {"detail": "hello"})
        else:
            content, finish = self._content(shot, len(seen))
            name = "another-0123456789abcdef" if shot == "mixed_up" else request_id
            self._send(200, {"id": f"chatcmpl-{name}", "choices": [{"message": {"content": content}, "finish_reason": finish}]})

    def _content(self, shot: str, attempt: int) -> tuple[str | None, str]:
        text = json.dumps(valid(f"Where {shot} is."))
        loop = text.replace("The cat runs.", "The cat runs. " * 40)
        answers = {
            "cut_off": (text[:80], "length"),
            "cut_off_once": (text[:80], "length") if attempt == 1 else (text, "stop"),
            "looping": (loop[:900], "length"),
            "looping_json": (loop, "stop"),
            "broken": (text[:80], "stop"),
            "silent": (None, "stop"),
            "wrong_option": (text.replace("full_shot", "wide"), "stop"),
        }
        return answers.get(shot, (text, "stop"))

    def _send(self, code: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[FakeVllm]:
    with FakeVllm() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def captioner(server: FakeVllm) -> VllmCaptioner:
    return VllmCaptioner(base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", model="m", timeout_s=10, retry_wait_s=0.01)


def pictures(request: dict[str, Any]) -> list[np.ndarray]:
    url = request["messages"][0]["content"][0]["video_url"]["url"]
    kind, _, data = url.partition(";base64,")
    assert kind == "data:video/jpeg"
    found = [cv2.imdecode(np.frombuffer(base64.b64decode(part), np.uint8), cv2.IMREAD_COLOR) for part in data.split(",")]
    assert all(picture is not None for picture in found)
    return [picture for picture in found if picture is not None]


def test_a_valid_answer(server: FakeVllm, captioner: VllmCaptioner) -> None:
    answer = captioner.caption("shot_1", FRAMES)
    assert (answer.status, answer.reason, answer.num_attempts) == ("ok", "", 1)
    assert answer.caption is not None
    assert answer.caption.environment == "Where shot_1 is."


def test_the_request(server: FakeVllm, captioner: VllmCaptioner) -> None:
    captioner.caption("shot_1", FRAMES, seed=5)
    request = server.requests["shot_1"][0]
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["max_tokens"], request["seed"]) == ("m", 0.05, 2048, 5)
    assert request["response_format"]["type"] == "json_schema"
    assert request["response_format"]["json_schema"]["schema"] == json_schema()
    text = request["messages"][0]["content"][1]["text"]
    assert all(key in text for key in json_schema()["required"])
    shown = pictures(request)
    assert len(shown) == 16
    for picture, index in ((shown[0], 0), (shown[-1], 39)):  # first and last frame: the bar is at 4 * index of 160 columns
        assert picture.shape == (392, 392, 3)
        assert int(picture[196].sum(axis=1).argmax()) == pytest.approx(index * 4 * 392 / 160, abs=3)
    captioner.caption("few", FRAMES[:3])
    assert len(pictures(server.requests["few"][0])) == 3


@pytest.mark.parametrize(
    ("shot", "status", "reason", "num_attempts"),
    [
        ("down_once", "ok", "", 2),
        ("cut_off_once", "ok", "", 2),
        ("down", "error", "HTTP 500 .*engine is dead", 3),
        ("refused", "error", "HTTP 400 .*unknown model", 1),
        ("hangs_up", "error", "no answer from http://127.* is the vLLM server up", 3),
        ("no_chat", "error", "not a chat completion", 1),
        ("mixed_up", "error", "'chatcmpl-another-0123456789abcdef' belongs to another request than 'mixed_up-", 1),
        ("cut_off", "truncated", "cut off at 2048 tokens$", 2),
        ("looping", "truncated", "cut off at 2048 tokens, repeats 'cat runs. The'", 2),
        ("looping_json", "invalid", "repeats", 2),
        ("broken", "invalid", "not valid JSON", 2),
        ("silent", "invalid", "not valid JSON", 2),
        ("wrong_option", "invalid", "shot_type is 'wide'; allowed: long_shot", 2),
    ],
)
def test_every_way_to_fail_has_a_status_and_a_reason(
    server: FakeVllm, captioner: VllmCaptioner, shot: str, status: str, reason: str, num_attempts: int
) -> None:
    answer = captioner.caption(shot, FRAMES)
    assert (answer.shot_id, answer.status, answer.num_attempts) == (shot, status, num_attempts)
    assert (answer.caption is not None) == (status == "ok")
    assert re.search(reason or "^$", answer.reason), answer.reason
    assert len(server.requests[shot]) == num_attempts


def test_a_bad_answer_is_asked_for_once_more_in_another_way(server: FakeVllm, captioner: VllmCaptioner) -> None:
    captioner.caption("looping", FRAMES, seed=3)
    first, second = server.requests["looping"]
    assert (first["seed"], second["seed"]) == (3, 4)
    assert ("repetition_penalty" in first, second["repetition_penalty"]) == (False, 1.1)
    captioner.caption("down_once", FRAMES)
    assert "repetition_penalty" not in server.requests["down_once"][1]


def test_no_server(captioner: VllmCaptioner) -> None:
    dead = VllmCaptioner(base_url="http://127.0.0.1:9/v1", model="m", retry_wait_s=0.01)
    answer = dead.caption("shot_1", FRAMES)
    assert (answer.status, answer.num_attempts) == ("error", 3)
    assert "is the vLLM server up?" in answer.reason


def test_answers_are_keyed_by_shot_whatever_fails_beside_them(server: FakeVllm, captioner: VllmCaptioner) -> None:
    names = [f"shot_{number}" for number in range(10)]
    answers = captioner.caption_all(dict.fromkeys([*names, "broken", "mixed_up"], FRAMES[:4]), num_parallel=6)
    assert list(answers) == [*names, "broken", "mixed_up"]
    for name in names:
        caption = answers[name].caption
        assert caption is not None
        assert caption.environment == f"Where {name} is."
    assert (answers["broken"].status, answers["mixed_up"].status) == ("invalid", "error")


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("a b c " * 4, "a b c"),
        ("It goes on. " + "very " * 12, "very"),
        ("very " * 11, ""),
        ("a b c " * 3, ""),
        ("The cat runs, the dog runs, the bird flies and the fish swims through the long afternoon.", ""),
        ("", ""),
        (json.dumps(valid("A garden with a wall and a gate.")), ""),
        (" ".join(f"sentence number {number} differs." for number in range(200)), ""),
    ],
)
def test_finds_loops(text: str, loop: str) -> None:
    assert find_loop(text) == loop


@pytest.mark.parametrize(("size", "bars"), [((90, 160), "rows"), ((160, 90), "columns"), ((64, 64), "none")])
def test_letterbox_keeps_the_pictures_shape(size: tuple[int, int], bars: str) -> None:
    frame = np.full((*size, 3), 200, np.uint8)
    box = letterbox(frame, 392)
    lit = box[..., 0] > 100
    height, width = int(lit.any(axis=1).sum()), int(lit.any(axis=0).sum())
    assert box.shape == (392, 392, 3)
    assert height / width == pytest.approx(size[0] / size[1], rel=0.01)
    assert (height < 392, width < 392) == (bars == "rows", bars == "columns")
