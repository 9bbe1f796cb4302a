"""A batch captioned through endpoints: every shot gets its own answer, and what is paid for is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.home import open_home
from skyreels_platform.captioning.batches import CaptionResult, caption_batch
from skyreels_platform.captioning.questions import ask_shots
from skyreels_platform.curation.kept_frames import encode_picture
from skyreels_platform.home import Home
from skyreels_platform.recipe import CaptionSettings, EndpointSettings
from skyreels_platform.workers import LocalWorkers, Outcome
from tests.captioning.endpoint import Behaviour, Endpoint, valid

BATCH = "b000001"
NUM_SOURCES, NUM_SHOTS = 3, 4  # shots per source
WORKERS = LocalWorkers(num_workers=1)
SETTINGS = CaptionSettings(
    backend="vllm", field_dropout=0.5,
    captioner=EndpointSettings(model="m", concurrency=4, timeout_s=10.0, max_attempts=2),
    writer=EndpointSettings(model="w", concurrency=4, timeout_s=10.0, max_attempts=2),
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Sources whose shots have three pictures each; the last shot has none."""
    opened = open_home(str(tmp_path / "home"))
    sources, shots, frames = [], [], []
    picture = encode_picture(np.full((16, 24, 3), 90, np.uint8))
    for number in range(NUM_SOURCES):
        key = f"src_{number}"
        sources.append({"source_id": key, "batch": BATCH, "status": "ready", "human_caption": "{}", "provenance": f"p {number}"})
        for place in range(NUM_SHOTS):
            shot = f"shot_{number}_{place}"
            shots.append({
                "shot_id": shot, "source_id": key, "batch": BATCH, "start_frame": 24 * place, "end_frame": 24 * place + 24,
                "start_s": float(place), "end_s": place + 1.0, "provenance": f"p {shot}",
            })  # fmt: skip
            frames += [
                {"shot_id": shot, "batch": BATCH, "position": position, "time_s": place + position / 3, "image": picture, "provenance": "p"}
                for position in range(3) if (number, place) != (NUM_SOURCES - 1, NUM_SHOTS - 1)
            ]  # fmt: skip
    for table, rows in {"sources": sources, "shots": shots, "frames": frames}.items():
        opened.ledger.replace(table, BATCH, rows)
    return opened


def about_the_key(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
    if body["model"] == "w":
        return Behaviour(text=f"Written of {key}.")
    return Behaviour(text=json.dumps({**valid(f"Where {key} is."), "camera_motion": "the camera pans left"}))


def run(home: Home, url: str, settings: CaptionSettings = SETTINGS, workers: Any = WORKERS, seed: int = 0) -> CaptionResult:
    return caption_batch(home, BATCH, settings, seed=seed, workers=workers, captioners=[url], writers=[url])


def captions(home: Home) -> dict[str, dict[str, Any]]:
    return {row["shot_id"]: row for row in home.ledger.rows("captions", {"batch": BATCH}).to_pylist()}


def test_every_shot_gets_its_own_answer(home: Home) -> None:
    with Endpoint(about_the_key) as endpoint:
        result = run(home, endpoint.base_url)
    found = captions(home)
    assert len(found) == result.num_rows == NUM_SOURCES * NUM_SHOTS
    unseen = found.pop(f"shot_{NUM_SOURCES - 1}_{NUM_SHOTS - 1}")
    assert (unseen["status"], "nothing of it was kept" in unseen["reason"]) == ("empty", True)
    for key, row in found.items():
        assert (row["status"], json.loads(row["structured"])["environment"]) == ("ok", f"Where {key} is.")
        assert f"Where {key} is." in row["t2v"]
    assert {row["t2v"] == row["t2v_train"] for row in found.values()} == {True, False}
    assert (result.captioner.num_requests, result.captioner.completion_tokens) == (11, 11 * 50)
    assert result.captioner.statuses == {"success": 11}


def test_the_materialization_shows_what_asking_took(home: Home) -> None:
    from assets.captions import usage_metadata

    def with_a_face(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        if key.endswith("/expression"):
            seen_of = {"reasoning": "r", "emotion": "fear", "intensity": "slight", "features": "wide eyes", "change": ""}
            return Behaviour(text=json.dumps(seen_of), delay_s=0.1)
        return Behaviour(text=about_the_key(key, seen, body).text, delay_s=0.5)

    settings = SETTINGS.model_copy(update={"expression": True, "captioner": SETTINGS.captioner.model_copy(update={"cost_per_hour": 36.0})})
    with Endpoint(with_a_face, num_slots=2) as endpoint:
        usage = run(home, endpoint.base_url, settings).captioner
        known = run(home, endpoint.base_url, settings.model_copy(update={"field_dropout": 0.0})).captioner
    shown = usage_metadata("captioner", usage, settings.captioner)
    assert (shown["captioner_requests"], shown["captioner_clips"]) == (22, 11), "a clip is one clip, however often it is asked about"
    assert shown["captioner_cost_per_1000_clips"] == pytest.approx(0.01 * usage.wall_s * 1000 / 11)
    assert shown["captioner_seconds_per_1000_clips"] == pytest.approx(usage.wall_s * 1000 / 11)
    assert shown["captioner_tokens_per_s"] == pytest.approx(22 * 50 / usage.wall_s)
    assert 0 < shown["captioner_queue_depth"] <= shown["captioner_queue_depth_most"] <= 2, "of 4 in flight the server works on 2"
    told = usage_metadata("captioner", known, settings.captioner)
    assert (told["captioner_clips"], told["captioner_tokens_per_s"], "captioner_cost_per_1000_clips" in told) == (0, 0.0, False)
    assert usage_metadata("writer", type(usage)(), settings.writer) == {}, "nobody was asked"


def test_what_is_answered_is_kept_for_other_settings(home: Home) -> None:
    with Endpoint(about_the_key) as endpoint:
        run(home, endpoint.base_url)
        paid = len(endpoint.paid)
        again = run(home, endpoint.base_url)
        assert (again.num_made, len(endpoint.paid)) == (0, paid)
        other = run(home, endpoint.base_url, SETTINGS.model_copy(update={"field_dropout": 0.0}))
        assert (other.num_made, len(endpoint.paid), other.captioner.num_known) == (3, paid, 11), "no question changed"
        moved = SETTINGS.captioner.model_copy(update={"concurrency": 2, "urls": ("http://127.0.0.1:9/v1",)})
        assert run(home, endpoint.base_url, SETTINGS.model_copy(update={"captioner": moved, "field_dropout": 0.0})).num_made == 0
        run(home, endpoint.base_url, SETTINGS.model_copy(update={"captioner": EndpointSettings(model="n")}))
        assert len(endpoint.paid) == 2 * paid, "another model is another question"


def test_a_captioner_that_is_away_is_asked_again_later(home: Home) -> None:
    def half(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        return about_the_key(key, seen, body) if key < "shot_1_2" else Behaviour(status=503, text="overloaded")

    with Endpoint(half) as endpoint:
        first = run(home, endpoint.base_url)
    assert first.captioner.statuses == {"success": 6, "error": 5}
    assert {row["status"] for key, row in captions(home).items() if key > "shot_1_1"} == {"error", "empty"}
    with Endpoint(about_the_key) as endpoint:
        second = run(home, endpoint.base_url)
        paid = {request.rpartition("-")[0] for request in endpoint.paid}
    assert paid == {f"shot_{name}" for name in ("1_2", "1_3", "2_0", "2_1", "2_2")}
    assert second.captioner.statuses == {"success": 7}, "two of them known: their source has others that failed"
    assert {row["status"] for row in captions(home).values()} == {"ok", "empty"}


def test_a_writer_makes_the_texts_and_the_camera_is_appended(home: Home) -> None:
    settings = SETTINGS.model_copy(update={"fusion": "llm"})
    with Endpoint(about_the_key) as endpoint:
        result = run(home, endpoint.base_url, settings)
        told = endpoint.requests["shot_0_0/t2v"][0]["messages"][0]["content"]
        sparse = endpoint.requests["shot_0_0/i2v"][0]["messages"][0]["content"]
    row = captions(home)["shot_0_0"]
    assert row["t2v"] == "Written of shot_0_0/t2v. The camera pans left."
    assert row["i2v"] == "Written of shot_0_0/i2v. The camera pans left."
    assert "Where shot_0_0 is." in told
    assert "camera" not in told + sparse
    assert "Gray." not in sparse
    trained = [row["t2v_train"] for row in captions(home).values()]
    assert any(text.startswith("Written of") and "t2v_train" in text for text in trained)
    assert result.writer.statuses["success"] == result.writer.num_requests > 22


def test_faces_and_shots_are_left_to_experts_that_are_asked_for(home: Home, tmp_path: Path) -> None:
    from skyreels_platform.captioning.experts.shots import ShotExpert

    expert = ShotExpert()
    grey = np.full((2, 16, 24, 3), 90, np.uint8)
    vectors = np.stack([expert.vector(grey), expert.vector(255 - grey // 3)])
    expert.train("shot_angle", vectors, ["low_angle", "high_angle"], seed=0)
    expert.save(tmp_path / "heads")
    face = {"reasoning": "r", "emotion": "fear", "intensity": "slight", "features": "wide eyes", "change": ""}

    def with_faces(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        return Behaviour(text=json.dumps(face)) if key.endswith("/expression") else about_the_key(key, seen, body)

    settings = SETTINGS.model_copy(update={"expression": True, "shot_expert": str(tmp_path / "heads")})
    with Endpoint(with_faces) as endpoint:
        result = run(home, endpoint.base_url, settings)
    assert result.captioner.statuses == {"success": 22}
    row = captions(home)["shot_0_0"]
    structured, fields = json.loads(row["structured"]), json.loads(row["field_provenance"])
    assert structured["subjects"][0]["expression"] == "slight fear: wide eyes."
    assert (fields["subjects[0].expression"]["source"], fields["subjects[0].expression"]["model"]) == ("expert", "m")
    assert (structured["shot_angle"], fields["shot_angle"]["source"]) == ("low_angle", "expert")
    assert (structured["shot_type"], fields["shot_type"]["source"]) == ("full_shot", "mllm")
    assert "slight fear: wide eyes." in row["i2v"]


def test_a_writer_that_fails_leaves_the_templates_text(home: Home) -> None:
    def no_writer(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        return Behaviour(text='{"caption": "x"}') if body["model"] == "w" else about_the_key(key, seen, body)

    with Endpoint(no_writer) as endpoint:
        run(home, endpoint.base_url, SETTINGS.model_copy(update={"fusion": "llm"}))
    row = captions(home)["shot_0_0"]
    assert row["status"] == "ok"
    assert row["t2v"].startswith("full shot, eye level, side view. The cat runs.")
    assert "t2v by template: error, the model answered with code" in row["reason"]


class Elsewhere:
    """Workers that are not this machine's: the path of a cluster, run here."""

    num_workers = 2

    def map(self, function, calls):
        for index, call in enumerate(calls):
            yield Outcome(index=index, value=function(*call))


def test_a_cluster_asks_the_same_and_gets_the_same(home: Home, tmp_path: Path) -> None:
    with Endpoint(about_the_key) as endpoint:
        run(home, endpoint.base_url)
        here = captions(home)
        home.ledger.replace("captions", BATCH, [])
        known = run(home, endpoint.base_url, workers=Elsewhere())
        assert (known.captioner.num_known, len(endpoint.paid)) == (11, 11)
        home.ledger.replace("captions", BATCH, [])
        home.ledger.replace("answers", BATCH, [])
        asked = run(home, endpoint.base_url, workers=Elsewhere())
    assert (asked.captioner.statuses, asked.captioner.num_known) == ({"success": 11}, 0)
    assert captions(home) == here


@pytest.mark.parametrize("workers", [WORKERS, Elsewhere()], ids=["here", "cluster"])
def test_what_was_of_no_use_twice_is_not_asked_a_third_time(workers: Any, home: Home) -> None:
    def cut(key: str, seen: int, body: dict[str, Any]) -> Behaviour:
        return Behaviour(text='{"subjects": [', finish="length") if key == "shot_0_0" else about_the_key(key, seen, body)

    with Endpoint(cut) as endpoint:
        first = run(home, endpoint.base_url, workers=workers)
        assert (captions(home)["shot_0_0"]["status"], len(endpoint.paid)) == ("truncated", 12)
        home.ledger.replace("captions", BATCH, [])
        again = run(home, endpoint.base_url, workers=workers)
        assert (captions(home)["shot_0_0"]["status"], len(endpoint.paid)) == ("truncated", 12)
    assert again.captioner.num_known == 11
    assert first.captioner.statuses == again.captioner.statuses == {"success": 10, "truncated": 1}


def test_asking_in_a_worker_process(home: Home) -> None:
    from skyreels_platform.captioning.questions import pictures_of

    shots = home.ledger.rows("shots", {"source_id": "src_0"}).to_pylist()
    with Endpoint(about_the_key) as endpoint:
        call = (shots, pictures_of(home, shots), SETTINGS.model_dump(), 0, [endpoint.base_url], 2)
        (outcome,) = LocalWorkers(num_workers=1).map(ask_shots, [call])
    answers, usage = outcome.value
    assert {answer["key"] for answer in answers} == {shot["shot_id"] for shot in shots}
    assert usage["completion_tokens"] == 200
