"""Answers of language models: what one is worth, and a journal from which no answer is asked for twice.

Statuses: success; repeated (the text runs in a loop); truncated (cut off, by the token limit or in the middle of its JSON); refused (by the
model or the endpoint); error (no answer, or one that is not what was asked for). All but success have a reason.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from skyreels_platform.captioning.chat import ChatReply, ChatRequest
from skyreels_platform.captioning.schema import CaptionFieldError
from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.provenance import hash_json

Status = Literal["success", "truncated", "repeated", "refused", "error"]

_LOOP_REPEATS = 4    # a phrase said this often in a row is a loop ...
_LOOP_WORDS = 12     # ... if it fills at least this many words
_LOOP_PERIOD = 60    # longest phrase looked for, in words
_LOOP_LETTERS = 64   # letters without a space that repeat a short pattern are a loop too
_SYNC_EVERY_S = 1.0  # a killed process loses nothing; a power cut at most this and what a flush takes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one request."""

    key: str
    """The request's key, e.g. a shot id."""
    request_hash: str
    status: Status
    reason: str
    """'' for success."""
    text: str
    """What the model said, also if it is of no use; '' if it said nothing."""
    model: str
    num_asked: int
    """Times that the question was put and answered: 2 if the first answer was of no use. 0: never answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Over all times asked."""
    latency_s: float = 0.0


def judge(request: ChatRequest, reply: ChatReply, check: Callable[[str], object]) -> Answer:
    """What a reply is worth. `check` raises CaptionFieldError for a text that is not what was asked for."""
    status, reason = _judge(reply, check)
    return Answer(
        key=request.key, request_hash=request.hash, status=status, reason=reason, text=reply.text, model=str(request.body.get("model", "")),
        num_asked=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens, latency_s=reply.latency_s,
    )  # fmt: skip


def unanswered(request: ChatRequest, status: Status, reason: str) -> Answer:
    """The answer of nobody: the endpoint is away, or refuses the request as such. It costs nothing and may differ tomorrow."""
    model = str(request.body.get("model", ""))
    return Answer(key=request.key, request_hash=request.hash, status=status, reason=reason, text="", model=model, num_asked=0)


def _judge(reply: ChatReply, check: Callable[[str], object]) -> tuple[Status, str]:
    if reply.refusal or reply.finish_reason == "content_filter":
        return "refused", reply.refusal[:200] or "the endpoint's content filter"
    is_cut = reply.finish_reason == "length"
    cut = f"cut off at {reply.completion_tokens} tokens" if is_cut else ""
    if loop := find_loop(reply.text):
        return "repeated", ", ".join(filter(None, (f"repeats {loop[:80]!r}", cut)))
    if is_cut:
        return "truncated", cut
    try:
        check(reply.text)
    except CaptionFieldError as error:
        is_open = reply.text.lstrip().startswith("{") and not reply.text.rstrip().endswith("}")
        return ("truncated", f"the JSON ends in the middle: {error}") if is_open else ("error", str(error))
    return "success", ""


def find_loop(text: str) -> str:
    """The phrase that a text repeats at least 4 times in a row over at least 12 words, or 64 letters; '' if there is none."""
    words = text.split()
    for period in range(1, min(_LOOP_PERIOD, len(words) // _LOOP_REPEATS) + 1):
        run, wanted = 0, max(_LOOP_REPEATS * period, _LOOP_WORDS) - period
        for index in range(period, len(words)):
            run = run + 1 if words[index] == words[index - period] else 0
            if run >= wanted:
                return " ".join(words[index - period + 1 : index + 1])
    for word in words:
        if len(word) >= _LOOP_LETTERS:
            for period in range(1, 9):
                tail = word[-_LOOP_LETTERS:]
                if tail[period:] == tail[:-period] and tail[0].isalnum():
                    return tail[:period]
    return ""


class Journal:
    """Answers on disk as they come, one JSON line each, in a folder; any number of processes may write, each its own file.

    A line is one write, so a killed process leaves whole lines and at most one cut one, which its checksum shows. In memory there is
    one place per answer, not its text. The disk is flushed beside the caller: where other programs write gigabytes it may take minutes.
    """

    def __init__(self, folder: Path, older: Iterable[Answer] = ()) -> None:
        """Finds what is there; the folder is made with the first answer. `older` answers count too and are not written again."""
        self.folder = folder
        self._older = {answer.request_hash: answer for answer in older}
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._file: int | None = None
        self._syncing: threading.Thread | None = None
        self._path, self._size, self._synced = folder, 0, time.monotonic()
        for path in sorted(folder.glob("*.jsonl")):
            self._index(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def get(self, request: ChatRequest) -> Answer | None:
        """The answer to a request, if it was given before. LedgerError if what is stored under its hash is about something else."""
        place = self._places.get(request.hash)
        answer = self._read(*place) if place else self._older.get(request.hash)
        if answer and (answer.key, answer.request_hash) != (request.key, request.hash):
            raise LedgerError(f"{self.folder}: the answer to {request.key} is one about {answer.key}; delete the folder")
        return answer

    def add(self, request: ChatRequest, answer: Answer) -> None:
        """Store the answer to a request before anybody uses it."""
        if (answer.key, answer.request_hash) != (request.key, request.hash):
            raise LedgerError(f"an answer about {answer.key} ({answer.request_hash}) was given for {request.key} ({request.hash})")
        self.put(answer)

    def put(self, answer: Answer) -> None:
        """Store an answer that was held against its request elsewhere."""
        values = asdict(answer)
        line = json.dumps({**values, "check": hash_json(values)}).encode() + b"\n"
        if self._file is None:
            self._open()
        assert self._file is not None
        os.write(self._file, line)
        self._places[answer.request_hash] = (self._path, self._size, len(line))
        self._size += len(line)
        if time.monotonic() - self._synced > _SYNC_EVERY_S and not (self._syncing and self._syncing.is_alive()):
            self._synced = time.monotonic()
            self._syncing = threading.Thread(target=os.fsync, args=(self._file,), name="journal", daemon=True)
            self._syncing.start()

    def answers(self) -> Iterable[Answer]:
        """The newest answer to each request in the folder."""
        return (self._read(*place) for place in self._places.values())

    def close(self) -> None:
        """Flush to disk; the journal can be read on."""
        if self._file is not None:
            if self._syncing:
                self._syncing.join()  # it has the file's number
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def clear(self) -> None:
        """Remove the files, once the answers are kept elsewhere."""
        self.close()
        for path in self.folder.glob("*.jsonl"):
            path.unlink()
        self._places.clear()

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = len(list(self.folder.glob("*.jsonl")))
        while self._file is None:
            self._path, self._size = self.folder / f"{number:06d}.jsonl", 0
            try:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            except FileExistsError:
                number += 1

    def _index(self, path: Path) -> None:
        offset = 0
        with path.open("rb") as file:
            for line in file:
                if values := _checked(line):
                    self._places[values["request_hash"]] = (path, offset, len(line))
                offset += len(line)

    def _read(self, path: Path, offset: int, length: int) -> Answer:
        with path.open("rb") as file:
            file.seek(offset)
            values = _checked(file.read(length))
        if values is None:
            raise LedgerError(f"{path}: the answer at byte {offset} changed since it was written; delete the file")
        return Answer(**values)


def _checked(line: bytes) -> dict[str, Any] | None:
    """The values of a whole, unchanged line."""
    try:
        values = json.loads(line)
        check = values.pop("check")
    except (ValueError, KeyError, AttributeError):
        return None
    return values if line.endswith(b"\n") and check == hash_json(values) else None


def added(first: Answer, second: Answer) -> Answer:
    """The second of two answers to one question, with what both cost; it stands under the first one's hash."""
    return replace(
        second, request_hash=first.request_hash, num_asked=first.num_asked + second.num_asked,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens, completion_tokens=first.completion_tokens + second.completion_tokens,
    )  # fmt: skip
