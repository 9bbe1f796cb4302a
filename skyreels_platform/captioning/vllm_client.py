"""SkyCaptioner-V1 behind a vLLM server, through its OpenAI-compatible chat interface.

One request per shot: the frames as one video of JPEGs (a `video/jpeg` data URL, which vLLM reads as a video of 2 fps, as
upstream declares it), the task with the field names and options, and the JSON schema that the decoder must follow. Frames are
letterboxed: upstream squashes them to 360 x 420, which turns circles into ellipses. The wording of the task is ours.

An answer belongs to a shot by name, never by its place in a batch: the request's id is made of the shot id and the request's
hash, vLLM repeats it in the answer, and an answer with another id is refused.

Retries. A connection that fails, a timeout, HTTP 429 and 5xx are tried again after 1, 2, 4 ... seconds. An answer that is cut
off, not valid or caught in a loop is asked for once more with another seed and a repetition penalty of 1.1: at temperature 0.05
the same request would fail the same way. Everything else, such as HTTP 400, is final at once.
"""

import base64
import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from skyreels_platform.captioning.schema import OPTIONS, CaptionFieldError, StructuredCaption, json_schema, parse

VERSION = "vllm-1"

Status = Literal["ok", "truncated", "invalid", "error"]

_TEMPERATURE, _MAX_TOKENS = 0.05, 2048  # code
_SIDE = 392          # 14 patches of 28 pixels: the pixel count of upstream's 360 x 420
_JPEG_QUALITY = 90
_LOOP_REPEATS = 4    # a phrase said this often in a row is a loop ...
_LOOP_WORDS = 12     # ... if it fills at least this many words
_LOOP_PERIOD = 60    # longest phrase looked for, in words

_INSTRUCTION = (
    "Describe this video as one JSON object.\n"
    "subjects: a list with one object per subject. TYPES: type (broad kind, such as Human, Animal, Vehicles, Plant, Scenery, "
    "Architecture, Sport, Food) and sub_type (narrow kind, such as Woman). appearance: what it looks like. action: what it does "
    "over the whole video; only for the main subject. expression: facial expression over time; only for humans and animals. "
    "position: where it is in the picture. is_main_subject: true or false.\n"
    + "".join(f"{key}: one of {', '.join(values)}.\n" for key, values in OPTIONS.items())
    + "camera_motion: how the camera moves, an empty text if it does not.\n"
    "environment: where it takes place. lighting: the light and its mood.\n"
    "Use an empty text for what cannot be seen. Answer with the JSON object only."
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back for one shot."""

    shot_id: str
    status: Status
    """ok | truncated (cut off at max_tokens) | invalid (not the schema, or a loop) | error (no answer to this request)."""
    reason: str
    """'' when ok."""
    caption: StructuredCaption | None
    """None unless ok."""
    num_attempts: int


@dataclass(frozen=True, kw_only=True)
class VllmCaptioner:
    """A client without state; safe to use from several threads."""

    base_url: str
    """With `/v1`, e.g. http://127.0.0.1:8000/v1."""
    model: str
    num_frames: int = 16
    """Frames shown, first and last of the shot included."""
    timeout_s: float = 180.0
    max_attempts: int = 3
    retry_wait_s: float = 1.0
    """Before the second attempt; doubles each time."""

    def caption(self, shot_id: str, frames: np.ndarray, seed: int = 0) -> Answer:
        """Caption one shot from frames (F, H, W, 3) uint8 RGB. Never raises for what a server does: the answer's status tells."""
        body = self._body(frames)
        answer = _failed(shot_id, "error", "not tried", 0)
        has_been_rephrased = False
        for attempt in range(1, self.max_attempts + 1):
            body["seed"] = seed + attempt - 1
            answer, is_temporary = self._ask(shot_id, body, attempt)
            if answer.status in ("truncated", "invalid") and not has_been_rephrased:
                has_been_rephrased = True
                body["repetition_penalty"] = 1.1
            elif is_temporary and attempt < self.max_attempts:
                time.sleep(self.retry_wait_s * 2 ** (attempt - 1))
            elif not is_temporary:
                break
        return answer

    def caption_all(self, shots: Mapping[str, np.ndarray], *, seed: int = 0, num_parallel: int = 8) -> dict[str, Answer]:
        """Caption many shots at once; the answers are keyed by shot id."""
        with ThreadPoolExecutor(num_parallel) as pool:
            jobs = {shot_id: pool.submit(self.caption, shot_id, frames, seed) for shot_id, frames in shots.items()}
            return {shot_id: job.result() for shot_id, job in jobs.items()}

    def _body(self, frames: np.ndarray) -> dict[str, Any]:
        chosen = np.unique(np.linspace(0, len(frames) - 1, self.num_frames).round().astype(int))
        pictures = ",".join(base64.b64encode(_jpeg(letterbox(frames[index], _SIDE))).decode() for index in chosen)
        video = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{pictures}"}}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": [video, {"type": "text", "text": _INSTRUCTION}]}],
            "temperature": _TEMPERATURE,
            "max_tokens": _MAX_TOKENS,
            "response_format": {
                "type": "json_schema", "json_schema": {"name": "caption", "schema": json_schema(), "strict": True},
            },
        }

    def _ask(self, shot_id: str, body: Mapping[str, Any], attempt: int) -> tuple[Answer, bool]:
        """(answer, whether trying the same again may help)."""
        digest = hashlib.sha256(json.dumps([shot_id, body], sort_keys=True).encode()).hexdigest()[:16]
        request_id = f"{shot_id}-{digest}"
        request = urllib.request.Request(
            f"{self.base_url.rstrip('/')}/chat/completions",
            data=json.dumps({**body, "request_id": request_id}).encode(),
            headers={"Content-Type": "application/json", "X-Request-Id": request_id},
        )
        # No proxy from the environment: it would carry footage to a host that nobody named.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout_s) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(300).decode(errors="replace")
            reason = f"HTTP {error.code} from {self.base_url}: {detail}"
            return _failed(shot_id, "error", reason, attempt), error.code == 429 or error.code >= 500
        except (OSError, http.client.HTTPException) as error:
            reason = f"no answer from {self.base_url}: {error or type(error).__name__}; is the vLLM server up?"
            return _failed(shot_id, "error", reason, attempt), True
        except UnicodeDecodeError as error:
            return _failed(shot_id, "error", f"the answer is not UTF-8: {error}", attempt), False
        return _read(shot_id, request_id, text, attempt), False


def letterbox(frame: np.ndarray, side: int) -> np.ndarray:
    """The whole frame in a `side` x `side` picture, its shape kept, black around it."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(frame, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    canvas = np.zeros((side, side, 3), np.uint8)
    left, top = (side - inner[0]) // 2, (side - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = resized
    return canvas


def find_loop(text: str) -> str:
    """The phrase that a text repeats at least 4 times in a row over at least 12 words; '' if there is none."""
    words = text.split()
    for period in range(1, min(_LOOP_PERIOD, len(words) // _LOOP_REPEATS) + 1):
        run = 0
        for index in range(period, len(words)):
            run = run + 1 if words[index] == words[index - period] else 0
            if run + period >= max(_LOOP_REPEATS * period, _LOOP_WORDS):
                return " ".join(words[index - period + 1 : index + 1])
    return ""


def _read(shot_id: str, request_id: str, text: str, attempt: int) -> Answer:
    try:
        reply = json.loads(text)
        reply_id, choice = str(reply["id"]), reply["choices"][0]
        content, finish = choice["message"]["content"] or "", choice["finish_reason"]
    except (json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        return _failed(shot_id, "error", f"not a chat completion ({type(error).__name__}: {error}): {text[:120]!r}", attempt)
    if not reply_id.endswith(request_id):
        reason = f"the answer {reply_id!r} belongs to another request than {request_id!r}; does a proxy rewrite or mix answers?"
        return _failed(shot_id, "error", reason, attempt)
    loop = find_loop(content)
    looping = f"repeats {loop[:80]!r}" if loop else ""
    if finish == "length":
        return _failed(shot_id, "truncated", f"cut off at {_MAX_TOKENS} tokens" + (f", {looping}" if loop else ""), attempt)
    if loop:
        return _failed(shot_id, "invalid", looping, attempt)
    try:
        caption = parse(content, is_complete=True)
    except CaptionFieldError as error:
        return _failed(shot_id, "invalid", str(error), attempt)
    return Answer(shot_id=shot_id, status="ok", reason="", caption=caption, num_attempts=attempt)


def _failed(shot_id: str, status: Status, reason: str, attempt: int) -> Answer:
    return Answer(shot_id=shot_id, status=status, reason=reason, caption=None, num_attempts=attempt)


def _jpeg(frame: np.ndarray) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return data.tobytes()
