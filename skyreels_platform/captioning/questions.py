"""A batch's questions to language models: what each shot shows, and what text its fields make.

Answers lie in the ledger's table `answers`, by the hash of their request, so other settings of anything but the question itself never
ask again. Until a stream of questions has ended they lie in a journal in the home's work folder, from which a killed run goes on.

With local compute one event loop in this process asks everything. On a Ray cluster each call asks about some shots, and its answers
are journaled here when it ends: a lost node costs the answers of the calls that it was working on.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from skyreels_platform.captioning import fusion, writer
from skyreels_platform.captioning.answers import Answer, Journal
from skyreels_platform.captioning.asking import Usage, ask_all, is_final
from skyreels_platform.captioning.chat import ChatLimits, ChatRequest
from skyreels_platform.captioning.experts.expression import expression_request, parse_expression
from skyreels_platform.captioning.prompt import PROMPT_VERSION, caption_request, spread
from skyreels_platform.captioning.schema import parse
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import provenance
from skyreels_platform.progress import bar
from skyreels_platform.recipe import CaptionSettings, EndpointSettings
from skyreels_platform.workers import LocalWorkers, Workers

_SHOTS_AT_ONCE = 64  # read from the ledger together: about 25 MB of pictures
_SHOTS_PER_CALL = 128  # on a cluster

Row = dict[str, Any]
TimedPicture = tuple[float, bytes]
"""Seconds from the shot's start, JPEG."""


def pictures_of(home: Home, shots: Sequence[Row]) -> dict[str, list[TimedPicture]]:
    """Shot id -> its kept pictures in order of time."""
    starts = {row["shot_id"]: row["start_s"] for row in shots}
    found: dict[str, list[TimedPicture]] = {key: [] for key in starts}
    where = {"batch": sorted({row["batch"] for row in shots}), "shot_id": list(starts)}
    for row in home.ledger.rows("frames", where, ["shot_id", "time_s", "image"]).to_pylist():
        found[row["shot_id"]].append((row["time_s"] - starts[row["shot_id"]], row["image"]))
    return found


def shot_request(shot: Row, pictures: Sequence[TimedPicture], settings: CaptionSettings, seed: int) -> ChatRequest:
    """The captioner's request about one shot; at least one picture."""
    places = spread([time_s for time_s, _ in pictures], shot["end_s"] - shot["start_s"], settings.num_frames)
    return caption_request(shot["shot_id"], [pictures[place][1] for place in places], model=settings.captioner.model, seed=seed)


def ask_about_shots(
    home: Home, batch: str, shots: Sequence[Row], settings: CaptionSettings, *, seed: int, urls: Sequence[str], workers: Workers,
) -> tuple[dict[str, Answer], Usage]:  # fmt: skip
    """Shot id -> the captioner's answer, for all shots of which a picture was kept, and what it took."""
    if not shots:
        return {}, Usage()
    if isinstance(workers, LocalWorkers):
        return ask_and_keep(
            home, batch, "captions", _shot_requests(home, shots, settings, seed), len(shots), settings.captioner, urls, check_caption
        )
    return _ask_on_cluster(home, batch, shots, settings, seed, urls, workers)


def ask_about_faces(
    home: Home, batch: str, shots: Sequence[Row], captions: Mapping[str, Answer], settings: CaptionSettings, *, seed: int,
    urls: Sequence[str],
) -> tuple[dict[str, Answer], Usage]:  # fmt: skip
    """`face_key` of a shot -> what is said about the face of its main person or animal, for shots whose caption has one."""

    def requests() -> Iterator[ChatRequest]:
        for start in range(0, len(shots), _SHOTS_AT_ONCE):
            part = [shot for shot in shots[start : start + _SHOTS_AT_ONCE] if shot["shot_id"] in captions]
            kept = pictures_of(home, part)
            for shot in part:
                answer, pictures = captions[shot["shot_id"]], kept[shot["shot_id"]]
                if answer.status == "success":
                    places = spread([time_s for time_s, _ in pictures], shot["end_s"] - shot["start_s"], settings.num_frames)
                    request = expression_request(
                        shot["shot_id"], [pictures[place][1] for place in places], parse(answer.text, is_complete=True),
                        model=settings.captioner.model, seed=seed,
                    )  # fmt: skip
                    if request:
                        yield request

    return ask_and_keep(home, batch, "faces", requests(), len(shots), settings.captioner, urls, parse_expression)


def fuse_rows(
    home: Home, batch: str, rows: Sequence[Row], settings: CaptionSettings, *, seed: int, urls: Sequence[str]
) -> Usage:  # fmt: skip
    """Let the writer make the texts of caption rows, in place, but for a row's `fixed` columns.

    Where it fails, the template's text stays and `reason` says so.
    """
    wanted: dict[str, tuple[Row, str, Any]] = {}
    requests: list[ChatRequest] = []
    for row in rows:
        caption = parse(row["structured"], is_complete=False)
        thin = fusion.thinned(caption, seed=seed, shot_id=row["shot_id"], field_dropout=settings.field_dropout)
        tasks: tuple[tuple[str, fusion.Task, Any], ...] = (("t2v", "t2v", caption), ("i2v", "i2v", caption), ("t2v_train", "t2v", thin))
        for column, task, chosen in tasks:
            if column in row["fixed"]:
                continue
            request = writer.fusion_request(chosen, task, key=f"{row['shot_id']}/{column}", model=settings.writer.model, seed=seed)
            if request and not (column == "t2v_train" and thin == caption):
                wanted[request.key] = row, column, chosen
                requests.append(request)
    answers, usage = ask_and_keep(home, batch, "fusion", iter(requests), len(requests), settings.writer, urls, writer.check_text)
    for key, (row, column, chosen) in wanted.items():
        if answers[key].status == "success":
            row[column] = writer.with_camera(answers[key].text, chosen)
        else:
            row["reason"] = "; ".join(filter(None, (row["reason"], f"{column} by template: {answers[key].status}, {answers[key].reason}")))
    for row in rows:
        if "t2v_train" not in row["fixed"] and f"{row['shot_id']}/t2v_train" not in wanted:
            row["t2v_train"] = row["t2v"]
    return usage


def ask_and_keep(
    home: Home, batch: str, name: str, requests: Iterator[ChatRequest], total: int, endpoint: EndpointSettings, urls: Sequence[str],
    check: Callable[[str], object],
) -> tuple[dict[str, Answer], Usage]:  # fmt: skip
    """Ask `total` requests of one batch; key -> answer, which the ledger keeps. `name` tells the batch's streams apart."""
    found: dict[str, Answer] = {}
    with _journal(home, batch, name) as journal, bar(f"{batch}: {name}, {endpoint.model}", total=total) as progress:

        def take(answer: Answer) -> None:
            found[answer.key] = answer
            progress.advance()

        usage = ask_all(requests, base_urls=urls, limits=limits_of(endpoint), check=check, journal=journal, on_answer=take)
        _keep(home, batch, journal)
    return found, usage


def check_caption(text: str) -> None:
    """CaptionFieldError unless the text is a complete structured caption."""
    parse(text, is_complete=True)


def limits_of(settings: EndpointSettings, concurrency: int | None = None) -> ChatLimits:
    """The client's limits."""
    return ChatLimits(
        concurrency=concurrency or settings.concurrency, timeout_s=settings.timeout_s, max_attempts=settings.max_attempts
    )  # fmt: skip


def _shot_requests(home: Home, shots: Sequence[Row], settings: CaptionSettings, seed: int) -> Iterator[ChatRequest]:
    for start in range(0, len(shots), _SHOTS_AT_ONCE):
        part = shots[start : start + _SHOTS_AT_ONCE]
        pictures = pictures_of(home, part)
        yield from (shot_request(shot, pictures[shot["shot_id"]], settings, seed) for shot in part if pictures[shot["shot_id"]])


def _ask_on_cluster(
    home: Home, batch: str, shots: Sequence[Row], settings: CaptionSettings, seed: int, urls: Sequence[str], workers: Workers
) -> tuple[dict[str, Answer], Usage]:
    found: dict[str, Answer] = {}
    total = Usage()
    with _journal(home, batch, "captions") as journal, bar(f"{batch}: captions, {settings.captioner.model}", total=len(shots)) as progress:
        # Reading pictures twice costs less than asking twice: what is known never leaves this machine.
        open_shots = []
        for request, shot in zip(_shot_requests(home, shots, settings, seed), _with_pictures(home, shots), strict=True):
            if (answer := journal.get(request)) and is_final(answer):
                found[answer.key] = answer
                total.num_requests, total.num_known = total.num_requests + 1, total.num_known + 1
                total.statuses[answer.status] += 1
                progress.advance()
            else:
                open_shots.append(shot)
        parts = [open_shots[start : start + _SHOTS_PER_CALL] for start in range(0, len(open_shots), _SHOTS_PER_CALL)]
        each = max(1, settings.captioner.concurrency // max(1, min(workers.num_workers, len(parts))))
        calls = ((part, pictures_of(home, part), settings.model_dump(), seed, list(urls), each) for part in parts)
        for outcome in workers.map(ask_shots, calls):
            if outcome.error is not None:
                raise outcome.error
            answers, usage = outcome.value
            for values in answers:
                answer = Answer(**values)
                found[answer.key] = answer
                if answer.num_asked:
                    journal.put(answer)
                progress.advance()
            total.add(Usage(**usage))
        _keep(home, batch, journal)
    return found, total


def ask_shots(
    shots: Sequence[Row], pictures: Mapping[str, Sequence[TimedPicture]], settings: Mapping[str, Any], seed: int, urls: Sequence[str],
    concurrency: int,
) -> tuple[list[Row], Row]:  # fmt: skip
    """Ask about some shots; runs in a worker. Returns answers and usage as plain values."""
    chosen = CaptionSettings(**settings)
    requests = [shot_request(shot, pictures[shot["shot_id"]], chosen, seed) for shot in shots]
    answers: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder)) as journal:
        usage = ask_all(
            requests, base_urls=urls, limits=limits_of(chosen.captioner, concurrency), check=check_caption, journal=journal,
            on_answer=lambda answer: answers.append(asdict(answer)),
        )  # fmt: skip
    return answers, {field.name: getattr(usage, field.name) for field in fields(usage)}


def _with_pictures(home: Home, shots: Iterable[Row]) -> Iterator[Row]:
    where = {"batch": sorted({shot["batch"] for shot in shots}), "shot_id": [shot["shot_id"] for shot in shots]}
    seen = set(home.ledger.rows("frames", where, ["shot_id"])["shot_id"].to_pylist())
    return (shot for shot in shots if shot["shot_id"] in seen)


def _journal(home: Home, batch: str, name: str) -> Journal:
    columns = [field.name for field in fields(Answer)]
    older = (Answer(**row) for row in home.ledger.rows("answers", {"batch": batch}, columns).to_pylist())
    return Journal(home.work / "answers" / f"{batch}-{name}", older)


def _keep(home: Home, batch: str, journal: Journal) -> None:
    """Move a journal's answers into the ledger."""
    own = provenance("answers-1", {}, [PROMPT_VERSION, writer.VERSION])
    rows = [{**asdict(answer), "batch": batch, "provenance": own} for answer in journal.answers()]
    if rows:
        home.ledger.merge("answers", rows)
    journal.clear()
