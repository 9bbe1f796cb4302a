"""Footage to film through the installed command, on the smallest recipe: what each command says of one finished run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import verify_folder
from model.schedule import windows
from skyreels_platform.ledger.ids import content_id
from skyreels_platform.media.decode import frames
from skyreels_platform.media.probe import probe
from tests.media import broken_files
from tests.micro import DATASETS, STAGES, Micro, micro_values, num_steps, result_of, skyreels, whole_home

BATCH_ASSETS = ("source_videos", "shots", "scores", "captions")


pytestmark = pytest.mark.timeout(1800)  # the first test waits for the one whole run: a minute, or many beside other work


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    return whole_home(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def film(micro: Micro) -> dict[str, Any]:
    (row,) = micro.home.ledger.rows("films").to_pylist()
    return row


def test_the_demo_makes_a_film_of_several_windows(micro: Micro, film: dict[str, Any]):
    path = micro.home.fetch(film["path"])
    facts = probe(path)
    recipe = micro_values()
    side = recipe["datasets"]["sft_720p"]["resolution"] * recipe["film"]["upscale"]  # of the last stage's clips
    assert (facts.num_frames, facts.width, facts.height) == (29, side, side) == (film["num_frames"], film["width"], film["height"])
    assert sum(1 for _ in frames(path)) == 29
    assert film["num_windows"] == len(windows(29, 17, 5)) == 2
    assert film["prompt"].split()[1] in {"red", "blue", "green", "yellow"}
    manifest = json.loads(micro.home.store.read_bytes(f"films/{film['film_id']}.json"))
    assert (manifest["film_id"], manifest["checkpoint_id"]) == (film["film_id"], film["checkpoint_id"])


def test_the_demo_says_where_everything_is(micro: Micro, film: dict[str, Any]):
    text = micro.demo_output
    assert str(micro.home.fetch(film["path"])) in text
    assert film["prompt"] in text
    assert f"skyreels trace {film['film_id']}" in text
    assert "make ui" in text
    (page,) = [word for word in text.split() if word.endswith(".html")]
    assert film["film_id"] in Path(page).read_text(encoding="utf-8")


def test_checkpoints_are_published_whole_with_their_parents(micro: Micro, film: dict[str, Any]):
    rows = {row["stage"]: row for row in micro.home.ledger.rows("checkpoints").to_pylist()}
    assert set(rows) == set(STAGES)
    assert rows[STAGES[-1]]["checkpoint_id"] == film["checkpoint_id"]
    parents = [None, *(rows[stage]["checkpoint_id"] for stage in STAGES[:-1])]
    assert [rows[stage]["parent_id"] for stage in STAGES] == parents
    assert {stage: row["num_steps"] for stage, row in rows.items()} == {stage: num_steps(stage) for stage in STAGES}
    for stage, row in rows.items():
        assert verify_folder(micro.home.fetch(row["path"])) == []
        assert micro.home.ledger.rows("seen", {"checkpoint_id": row["checkpoint_id"]}).num_rows == num_steps(stage) * 4


def test_fine_tuning_drops_the_fps_embedding_and_says_so(micro: Micro):
    """From `sft_540p` on no model has one, and the manifest of the stage that removed it names the parameters."""
    rows = {row["stage"]: row for row in micro.home.ledger.rows("checkpoints").to_pylist()}
    has_it, removed = {}, {}
    for stage in STAGES:
        folder = micro.home.fetch(rows[stage]["path"])
        has_it[stage] = json.loads((folder / "transformer" / "config.json").read_text())["inject_sample_info"]
        removed[stage] = json.loads((folder / "manifest.json").read_text())["removed_parameters"]
    assert has_it == {stage: stage.startswith("pretrain") for stage in STAGES}
    assert {stage for stage, names in removed.items() if names} == {"sft_540p"}
    assert {name.partition(".")[0] for name in removed["sft_540p"]} == {"fps_embedding", "fps_projection"}


def test_fine_tuning_sees_24_frames_per_second_alone(micro: Micro):
    clips = micro.home.ledger.query(
        "SELECT dataset, train_fps, count(*) AS n FROM snapshots JOIN snapshot_clips USING (snapshot_id) GROUP BY ALL"
    ).to_pylist()
    rates = {dataset: {row["train_fps"] for row in clips if row["dataset"] == f"dataset_{dataset}"} for dataset in DATASETS}
    assert rates == {"256p": {16, 24}, "360p": {16, 24}, "540p": {16, 24}, "sft_540p": {24}, "sft_720p": {24}}


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node["children"]:
        yield from walk(child)


def ids(node: dict[str, Any], kind: str) -> set[str]:
    return {found["id"] for found in walk(node) if found["kind"] == kind}


def test_a_film_is_traced_to_every_source_that_training_saw(micro: Micro, film: dict[str, Any]):
    seen = micro.home.ledger.query(
        "SELECT DISTINCT seen.shot_id, source_id FROM seen JOIN snapshot_clips USING (clip_id)"
    ).to_pylist()
    assert len({row["source_id"] for row in seen}) == len(micro.sources), "the micro run must see all footage for this test to tell"
    tree = json.loads(skyreels("trace", film["film_id"], "--home", micro.root, "--json").stdout)
    assert (tree["kind"], tree["id"]) == ("film", film["film_id"])
    assert ids(tree, "source") == {row["source_id"] for row in seen} == {content_id(path) for path in micro.sources}
    assert ids(tree, "shot") == {row["shot_id"] for row in seen}
    assert len(ids(tree, "checkpoint")) == len(STAGES)
    by_path = json.loads(skyreels("trace", micro.home.fetch(film["path"]), "--home", micro.root, "--json").stdout)
    assert by_path == tree


def test_a_source_is_traced_to_the_film(micro: Micro, film: dict[str, Any]):
    tree = json.loads(skyreels("trace", micro.sources[1], "--home", micro.root, "--json").stdout)
    assert (tree["kind"], tree["id"]) == ("source", content_id(micro.sources[1]))
    assert ids(tree, "film") == {film["film_id"]}
    assert ids(tree, "checkpoint") == {row["checkpoint_id"] for row in micro.home.ledger.rows("checkpoints").to_pylist()}


def test_trace_of_something_unknown_is_one_sentence(micro: Micro):
    done = skyreels("trace", "film_0000000000000000", "--home", micro.root, expect=1)
    assert done.stdout == ""
    assert done.stderr.startswith("skyreels: 'film_0000000000000000' is not in the ledger")
    assert "Traceback" not in done.stderr


def test_status_counts_the_batch_and_names_what_each_asset_stands_at(micro: Micro, film: dict[str, Any]):
    status = json.loads(skyreels("status", *micro.options, "--json").stdout)
    (batch,) = status["batches"]
    assert (batch["batch"], batch["files"], batch["ready"], batch["refused"], batch["listed"]) == ("b000001", 2, 2, 0, 0)
    assert batch["shots"] == batch["captions"] == 6
    assert {gate["gate"]: gate["passed"] for gate in batch["gates"]} == {"no_source_lost": True, "captions_sound": True}
    assert status["current"]["film"] == film["film_id"]
    made = {f"{kind}_{name}" for kind in ("dataset", "latents") for name in DATASETS}
    assert set(status["current"]) == {*made, *STAGES, "film"}
    assert sum(row["shots"] for row in status["verdicts"] if row["stage"] == "256p") == 6


def test_inspect_prints_one_object_per_file(micro: Micro):
    found = json.loads(skyreels("inspect", micro.sources[0], "--recipe", micro.recipe, "--json").stdout)
    assert set(found) == {"source", "shots"}
    assert found["source"]["num_frames"] == 99
    assert [(shot["start_frame"], shot["end_frame"]) for shot in found["shots"]] == [(0, 33), (33, 66), (66, 99)]
    for shot in found["shots"]:
        wanted = {"start_frame", "end_frame", "start_s", "end_s", "transition_in", "scores", "crop", "caption", "verdicts"}
        assert wanted <= set(shot)
        assert set(shot["verdicts"]) == {"256p", "360p", "540p", "sft_540p"}
        assert all(set(verdict) == {"verdict", "reasons"} for verdict in shot["verdicts"].values())
        assert shot["crop"] == {"x": 0, "y": 0, "width": 128, "height": 128, "status": "whole", "reason": "", "regions": []}
    stored = {row["shot_id"] for row in micro.home.ledger.rows("shots").to_pylist()}
    assert {shot["shot_id"] for shot in found["shots"]} < stored, "inspect must cut as the batch chain does"


def test_a_wrong_usage_has_exit_code_two():
    assert "No such option" in skyreels("demo", "--sauce", "x", expect=2).stderr


def versions(micro: Micro) -> dict[str, int]:
    from skyreels_platform.ledger.tables import TABLES

    return {table: micro.home.ledger.version(table) for table in TABLES}


def test_a_second_run_and_a_second_ingest_change_nothing(micro: Micro):
    before, standing = result_of(micro.home), versions(micro)
    logs = {path: path.stat().st_mtime_ns for path in micro.root.glob("work/*/*/*.log")}
    assert len(logs) == len(STAGES) + 1
    skyreels("run", *micro.options)
    assert result_of(micro.home) == before
    assert versions(micro) == standing, "a repeat must not even write an equal row"
    assert {path: path.stat().st_mtime_ns for path in micro.root.glob("work/*/*/*.log")} == logs, "something was trained again"
    again = json.loads(skyreels("ingest", micro.footage, *micro.options, "--json").stdout)
    assert again == {"batch": None, "files": []}
    assert versions(micro) == standing


def test_every_broken_file_gets_a_row_and_the_good_one_goes_on(micro: Micro, tmp_path: Path):
    folder = tmp_path / "broken"
    folder.mkdir()
    makers = {
        "empty.mp4": broken_files.empty, "text.mp4": broken_files.text, "audio.m4a": broken_files.audio_only,
        "no_packets.mp4": broken_files.no_packets, "undecodable.mp4": broken_files.undecodable,
    }  # fmt: skip
    for name, make in makers.items():
        make(folder / name)
    broken_files.still(folder / "still.png")
    home, recipe = tmp_path / "home", ("--recipe", micro.recipe)
    found = json.loads(skyreels("ingest", folder, "--home", home, *recipe, "--json").stdout)
    rows = {Path(row["uri"]).name: row for row in found["files"]}
    assert {name: rows[name]["status"] for name in makers} == dict.fromkeys(makers, "refused")
    assert all(len(rows[name]["reason"]) > 5 for name in makers)
    assert rows["still.png"]["status"] == "ready"
    assert len(rows) == len(makers) + 1
    assert micro.home.ledger.rows("files").num_rows == 2, "another home must stay as it is"
