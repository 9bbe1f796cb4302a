"""The labelling page over real HTTP: what a person does, and what nobody else may do."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from resources.home import open_home
from skyreels_platform.captioning.labels import FIELDS
from skyreels_platform.curation.kept_frames import encode_picture
from skyreels_platform.home import Home
from skyreels_platform.review.guard import Guard, is_loopback
from skyreels_platform.review.labelling import Labelling, labelling_app
from skyreels_platform.review.serving import serve
from tests.browser import PROGRAM, Browser

BATCH = "b000001"
SHOTS = ("shot_0", "shot_1", "shot_2")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three picked shots of four pictures, and one that is not picked."""
    opened = open_home(str(tmp_path / "home"))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    names = (*SHOTS, "shot_9")
    shots = [
        {"shot_id": key, "source_id": "src", "batch": BATCH, "start_s": 2.0 * place, "end_s": 2.0 * place + 2, "provenance": "p"}
        for place, key in enumerate(names)
    ]  # fmt: skip
    frames = [
        {"shot_id": key, "batch": BATCH, "position": position, "time_s": 2.0 * place + position / 2, "provenance": "p",
         "image": encode_picture(np.full((16, 24, 3), 40 * place + 10 * position, np.uint8))}
        for place, key in enumerate(names) for position in range(4)
    ]  # fmt: skip
    picks = [
        {"round": 1, "position": place, "shot_id": key, "batch": BATCH, "field": "shot_type", "guess": "other", "confidence": 0.4,
         "provenance": "p"}
        for place, key in enumerate(SHOTS)
    ]  # fmt: skip
    opened.ledger.replace("shots", BATCH, shots)
    opened.ledger.replace("frames", BATCH, frames)
    opened.ledger.merge("label_queue", picks)
    return opened


@contextmanager
def served(home: Home, *, host: str = "127.0.0.1", token: str = "", labeller: str = "ann") -> Iterator[Guard]:
    """A server in a thread; its guard knows the address."""
    import uvicorn

    ready: list[Guard] = []
    servers: list[uvicorn.Server] = []
    original = uvicorn.Server.run

    def run(self: uvicorn.Server, sockets: Any = None) -> None:
        servers.append(self)
        original(self, sockets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "run", run)
        thread = threading.Thread(target=lambda: serve(
            lambda guard: labelling_app(Labelling(home, labeller), guard), host=host, port=0, token=token, on_ready=ready.append,
        ))  # fmt: skip
        thread.start()
        deadline = time.monotonic() + 20
        while not (servers and servers[0].started) and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            yield ready[0]
        finally:
            servers[0].should_exit = True
            thread.join(20)


def client_of(guard: Guard, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{guard.port}", trust_env=False, **options)


def post(client: httpx.Client, guard: Guard, labels: dict[str, Any], shot: str = "shot_0", **headers: str) -> httpx.Response:
    given = {"X-Form-Key": guard.form_key, "Content-Type": "application/json", **headers}
    return client.post("/labels", content=json.dumps({"shot_id": shot, "labels": labels}), headers=given)


def stored(home: Home) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["shot_id"], row["field"]): row for row in home.ledger.rows("labels").to_pylist()}


def test_a_person_labels_a_round(home: Home) -> None:
    with served(home) as guard, client_of(guard) as client:
        page = client.get("/").text
        assert guard.form_key in page
        for name, options in FIELDS.items():
            assert re.findall(rf'name="{name}" value="([^"]+)"', page) == list(options)
        first = client.get("/next").json()
        assert (first["left"], first["all"], first["shot"]["shot_id"], first["shot"]["times_s"]) == (3, 3, "shot_0", [0.0, 0.5, 1.0, 1.5])
        picture = client.get("/shots/shot_0/3.jpg")
        assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
        labels = {"shot_type": "close_up", "emotion": "fear", "camera_motion": "zooms in, pans left"}
        answer = post(client, guard, labels, Origin=f"http://127.0.0.1:{guard.port}")
        assert (answer.status_code, answer.json()["shot"]["shot_id"], answer.json()["left"]) == (200, "shot_1", 2)
        skipped = client.get("/next", params={"skip": "shot_1"}).json()
        assert (skipped["shot"]["shot_id"], skipped["left"]) == ("shot_2", 2)
        assert post(client, guard, {"shot_type": "other"}, "shot_2").json()["shot"]["shot_id"] == "shot_1", "put off, not dropped"
        assert client.get("/shots/shot_0").json()["labels"] == {**labels, "camera_motion": "pans left, zooms in"}
        assert post(client, guard, {"shot_type": "full_shot"}, "shot_0").status_code == 200, "going back changes one's mind"
        assert post(client, guard, {"shot_angle": "eye_level"}, "shot_1").json() == {"shot": None, "left": 0, "all": 3}
    found = stored(home)
    assert {key: row["value"] for key, row in found.items()} == {
        ("shot_0", "shot_type"): "full_shot", ("shot_0", "emotion"): "fear", ("shot_0", "camera_motion"): "pans left, zooms in",
        ("shot_1", "shot_angle"): "eye_level", ("shot_2", "shot_type"): "other",
    }  # fmt: skip
    assert {(row["labeller"], row["grade"], row["batch"]) for row in found.values()} == {("ann", "fine", BATCH)}
    with served(home, labeller="ben") as guard, client_of(guard) as client:
        assert client.get("/next").json()["left"] == 3, "another labeller is asked about all"


@pytest.mark.parametrize(
    ("labels", "shot", "reason"),
    [
        ({"shot_type": "wide"}, "shot_0", "shot_type is 'wide'; allowed: long_shot"),
        ({"mood": "good"}, "shot_0", "no field 'mood'"),
        ({"shot_type": ["close_up"]}, "shot_0", "not labels"),
        ({"shot_type": "close_up", "camera_motion": "static, pans left"}, "shot_0", "a static camera does nothing else"),
        ({}, "shot_0", "no field is filled in"),
        ({"shot_type": "close_up"}, "shot_9", "is not in the round"),
        ({"shot_type": "close_up"}, "' OR 1=1", "is not in the round"),
    ],
)
def test_bad_labels_are_refused_and_nothing_is_stored(labels: dict[str, Any], shot: str, reason: str, home: Home) -> None:
    with served(home) as guard, client_of(guard) as client:
        answer = post(client, guard, labels, shot)
        assert answer.status_code == 400
        assert reason in answer.json()["error"]
        given = {"X-Form-Key": guard.form_key, "Content-Type": "application/json"}
        assert client.post("/labels", content="[", headers=given).status_code == 400
    assert stored(home) == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"X-Form-Key": "guessed"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
    ],
)
def test_other_pages_cannot_write(headers: dict[str, str], status: int, home: Home) -> None:
    with served(home) as guard, client_of(guard) as client:
        assert post(client, guard, {"shot_type": "close_up"}, **headers).status_code == status
    assert stored(home) == {}


def test_a_foreign_name_for_this_machine_sees_nothing(home: Home) -> None:
    with served(home) as guard, client_of(guard) as client:
        for path in ("/", "/next", "/shots/shot_0/0.jpg"):
            assert client.get(path, headers={"Host": f"rebound.example:{guard.port}"}).status_code == 403
            assert client.get(path, headers={"Host": f"localhost:{guard.port}"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/shots/..%2f..%2fsecret/0.jpg", "/shots/%2e%2e/secret.jpg", "/../secret.jpg", "/shots/shot_0/../../secret.jpg", "/secret.jpg",
        "/shots/shot_9/0.jpg", "/shots/shot_0/4.jpg", "/shots/shot_0/-1.jpg", "/shots/shot_9", "/labelling.py",
    ],
)
def test_nothing_but_the_rounds_pictures_is_served(path: str, home: Home) -> None:
    with served(home) as guard:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=10)  # sends the path as it is
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 404
        assert b"secret" not in answer.read()
        connection.close()


def test_every_answer_forbids_foreign_content(home: Home) -> None:
    with served(home) as guard, client_of(guard) as client:
        for path in ("/", "/next", "/labelling.js", "/labelling.css", "/nothing"):
            headers = client.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_beyond_loopback_the_token_of_the_address_is_needed(home: Home) -> None:
    with pytest.raises(ValueError, match="a token is needed"):
        Guard("0.0.0.0", 80)
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example")] == [True] * 3 + [False] * 3
    with served(home, token="t0ken") as guard, client_of(guard) as client:
        assert guard.address.endswith("/?token=t0ken")
        assert client.get("/").status_code == 403
        assert client.get("/next", params={"token": "other"}).status_code == 403
        assert post(client, guard, {"shot_type": "close_up"}).status_code == 403
        entry = client.get("/", params={"token": "t0ken"})
        assert (entry.status_code, entry.headers["location"]) == (303, "/"), "the token leaves the address bar"
        assert {"HttpOnly", "SameSite=strict"} <= set(entry.headers["set-cookie"].split("; "))
        assert client.get("/").status_code == 200
        assert post(client, guard, {"shot_type": "close_up"}).status_code == 200
        assert post(client, guard, {"shot_type": "close_up"}, Origin="https://evil.example").status_code == 403
    assert set(stored(home)) == {("shot_0", "shot_type")}


def test_a_large_body_is_refused(home: Home) -> None:
    with served(home) as guard, client_of(guard) as client:
        assert post(client, guard, {"shot_type": "x" * 100_000}).status_code == 413


@pytest.mark.browser
@pytest.mark.skipif(not PROGRAM, reason="no Chromium here")
def test_a_person_labels_shots_in_a_browser(home: Home) -> None:
    says = "document.getElementById('state').textContent"
    shown = "shot.shot_id"
    checked = "[...document.querySelectorAll('input:checked')].map((input) => `${input.name}=${input.value}`)"
    marked = "document.querySelector('.marked').dataset.field"
    with served(home) as guard, Browser() as browser:
        browser.open(f"http://127.0.0.1:{guard.port}/")
        browser.wait_for(f"{says} === '3 of 3 left' && {shown} === 'shot_0'")
        browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth === 24)")
        assert browser.value("document.querySelectorAll('#sheet img').length") == 4
        browser.press("Enter")
        browser.wait_for(f"{says}.startsWith('no field is filled in')")
        assert (stored(home), browser.value(shown)) == ({}, "shot_0"), "nothing is saved that nobody chose"
        assert browser.value(marked) == "shot_type"
        browser.press("4")
        assert browser.value(marked) == "shot_angle", "a choice goes on to the next field"
        browser.press("ArrowDown", "1", "ArrowUp", "3")
        assert browser.value(checked) == ["shot_type=close_up", "shot_position=side_view"]
        browser.press("Enter")
        browser.wait_for(f"{says} === '2 of 3 left' && {shown} === 'shot_1'")
        assert browser.value(checked) == [], "the next shot starts empty"
        browser.press("Escape")
        browser.wait_for(f"{shown} === 'shot_2'")
        browser.click("input[value=eye_level]")
        browser.click("button[type=submit]")
        browser.wait_for(f"{says} === '1 of 3 left' && {shown} === 'shot_1'")
        browser.press("Backspace")
        browser.wait_for(f"{shown} === 'shot_2'")
        assert browser.value(checked) == ["shot_angle=eye_level"], "going back shows what was said"
    assert {key: row["value"] for key, row in stored(home).items()} == {
        ("shot_0", "shot_type"): "close_up", ("shot_0", "shot_position"): "side_view", ("shot_2", "shot_angle"): "eye_level",
    }  # fmt: skip
