"""The page on which a person labels the shots that active learning picked: one shot at a time, by the keyboard if they like.

The page shows the pictures that were kept of a shot, as a contact sheet and as a flip book in their own time, and asks for the fields of
`captioning.labels`. What the model guesses is not shown: a person who sees a guess tends to agree. Every save is one write to the
ledger, so closing the page loses nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from skyreels_platform.captioning.experts.rounds import last_round
from skyreels_platform.captioning.labels import CAMERA, FIELDS, Label, LabelError, add_labels
from skyreels_platform.captioning.questions import TimedPicture, pictures_of
from skyreels_platform.home import Home
from skyreels_platform.report.markup import STYLE, Html, html
from skyreels_platform.review.guard import HEADERS, Guard, refuse

_HERE = Path(__file__).parent

Row = dict[str, Any]


@dataclass
class Labelling:
    """One person's work on the newest round."""

    home: Home
    labeller: str
    skipped: list[str] = field(default_factory=list)
    """Shots put off, oldest first; they come again at the end."""
    _kept: tuple[str, list[TimedPicture]] = field(default=("", []))

    def queue(self) -> list[str]:
        """Ids of the round's shots in order."""
        return [row["shot_id"] for row in last_round(self.home.ledger.rows("label_queue").to_pylist())]

    def next(self) -> Row:
        """The next shot without a label of this person, and how many there are; `shot` is None when all are done."""
        queue, done = self.queue(), set(self._own())
        left = [shot for shot in queue if shot not in done]
        put_off = [shot for shot in self.skipped if shot in left]
        order = [shot for shot in left if shot not in put_off] + put_off
        return {"shot": self.shot(order[0]) if order else None, "left": len(left), "all": len(queue)}

    def shot(self, shot_id: str) -> Row | None:
        """What the page shows of one shot, with this person's labels so far; None if the round does not have it."""
        if shot_id not in self.queue():
            return None
        times = [time_s for time_s, _ in self._pictures(shot_id)]
        return {"shot_id": shot_id, "times_s": times, "labels": self._own().get(shot_id, {})}

    def picture(self, shot_id: str, place: int) -> bytes | None:
        """A kept picture (JPEG) of one of the round's shots."""
        if shot_id not in self.queue():
            return None
        pictures = self._pictures(shot_id)
        return pictures[place][1] if 0 <= place < len(pictures) else None

    def save(self, shot_id: str, values: Mapping[str, str]) -> None:
        """Store this person's labels of one shot. LabelError if one of them, or the shot, is not asked for."""
        if shot_id not in self.queue():
            raise LabelError(f"shot {shot_id!r} is not in the round that is labelled now; load the page again")
        if not values:
            raise LabelError("no field is filled in; fill one in or skip the shot")
        add_labels(self.home, [
            Label(shot_id=shot_id, field=name, value=value, labeller=self.labeller) for name, value in values.items()
        ])  # fmt: skip

    def _pictures(self, shot_id: str) -> list[TimedPicture]:
        kept = self._kept  # requests run side by side: one look at it
        if kept[0] != shot_id:  # the page asks for up to 33 pictures of one shot in a row
            rows = self.home.ledger.rows("shots", {"shot_id": shot_id}).to_pylist()
            kept = self._kept = shot_id, pictures_of(self.home, rows)[shot_id] if rows else []
        return kept[1]

    def _own(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        where = {"labeller": self.labeller, "grade": "fine"}
        for row in self.home.ledger.rows("labels", where, ["shot_id", "field", "value"]).to_pylist():
            found.setdefault(row["shot_id"], {})[row["field"]] = row["value"]
        return found


def labelling_app(work: Labelling, guard: Guard) -> Starlette:
    """The page and what it asks for."""

    def page(request: Request) -> Response:
        shown = html(_PAGE, labeller=work.labeller, form_key=guard.form_key, fields=[_fieldset(*item) for item in FIELDS.items()])
        return Response(shown, media_type="text/html")

    def script(request: Request) -> Response:
        return Response((_HERE / "labelling.js").read_bytes(), media_type="text/javascript")

    def style(request: Request) -> Response:
        return Response(STYLE + (_HERE / "labelling.css").read_text(encoding="utf-8"), media_type="text/css")

    def following(request: Request) -> Response:
        if (skip := request.query_params.get("skip")) in work.queue():
            work.skipped = [shot for shot in work.skipped if shot != skip] + [skip]
        return JSONResponse(work.next())

    def shot(request: Request) -> Response:
        found = work.shot(request.path_params["shot_id"])
        return refuse(404, "no such shot in this round") if found is None else JSONResponse(found)

    def picture(request: Request) -> Response:
        found = work.picture(request.path_params["shot_id"], request.path_params["place"])
        return refuse(404, "no such picture in this round") if found is None else Response(found, media_type="image/jpeg")

    async def save(request: Request) -> Response:
        try:
            shot_id, values = _labels_in(await request.body())
            await run_in_threadpool(work.save, shot_id, values)
        except LabelError as error:
            return refuse(400, str(error))
        return JSONResponse(work.next())

    async def guarded(request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = guard.refusal(request) or await call_next(request)
        answer.headers.update(HEADERS)
        return answer

    return Starlette(routes=[
        Route("/", page), Route("/labelling.js", script), Route("/labelling.css", style), Route("/next", following),
        Route("/shots/{shot_id}", shot), Route("/shots/{shot_id}/{place:int}.jpg", picture), Route("/labels", save, methods=["POST"]),
    ], middleware=[Middleware(BaseHTTPMiddleware, dispatch=guarded)])  # fmt: skip


def _labels_in(body: bytes) -> tuple[str, dict[str, str]]:
    """Shot and field -> value of a request."""
    try:
        values = json.loads(body)
        shot_id, labels = values["shot_id"], values["labels"]
        if not isinstance(shot_id, str) or not all(isinstance(value, str) for value in labels.values()):
            raise TypeError("texts are wanted")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabelError(f"not labels: {type(error).__name__}: {error}") from error
    return shot_id, labels


def _fieldset(name: str, options: Sequence[str]) -> Html:
    kind = "checkbox" if name == CAMERA else "radio"
    keys = "123456789abcdefghijklmnopqrstuvwxyz"
    choices = [
        html('<label><input type="{kind}" name="{name}" value="{option}"><kbd>{key}</kbd> {text}</label>',
             kind=kind, name=name, option=option, key=key, text=option.replace("_", " "))
        for key, option in zip(keys, options, strict=False)
    ]  # fmt: skip
    return html('<fieldset data-field="{name}"><legend>{text}</legend>{choices}</fieldset>', name=name, text=name.replace("_", " "),
                choices=choices)  # fmt: skip


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Label shots</title>
<link rel="stylesheet" href="/labelling.css">
</head>
<body data-form-key="{form_key}">
<main>
<header><h1>Label shots</h1><p id="state" role="status" aria-live="polite">Loading.</p></header>
<div id="work" hidden>
<section aria-label="The shot"><img id="film" alt="the shot's pictures in their own time">
<div id="sheet" aria-hidden="true"></div></section>
<form id="fields" autocomplete="off">{fields}
<p class="buttons"><button type="submit"><kbd>Enter</kbd> Save</button> <button type="button" id="skip"><kbd>Esc</kbd> Skip</button>
<button type="button" id="back"><kbd>Backspace</kbd> Back</button></p>
<p class="mute">The key of an option chooses it in the marked field; up and down mark another field. Leave open what cannot be told.
You label as {labeller}.</p></form>
</div>
</main>
<script src="/labelling.js"></script>
</body>
</html>
"""
