"""Frozen data sets: which shots get in, what their clips look like, and that no gate is walked around."""

from pathlib import Path
from typing import Any

import pytest

from resources.home import open_home
from skyreels_platform.curation.datasets import POOL_OF
from skyreels_platform.curation.snapshot import Snapshot, freeze
from skyreels_platform.curation.standing import GATES, failed_gates, set_gate
from skyreels_platform.errors import GateError, RecipeError
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current
from skyreels_platform.ledger.ids import clip_id
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.recipe import Recipe
from tests.micro import micro_values

RECIPE = Recipe.model_validate(micro_values())  # clips of 17 frames, 32 pixels, at most 2 per shot
FIRST, SECOND = "b000001", "b000002"


def put(home: Home, table: str, partition: str, rows: list[dict[str, Any]]) -> None:
    column = TABLES[table].partition
    assert column
    home.ledger.replace(table, partition, [{"provenance": "p", column: partition, **row} for row in rows])


def add_batch(home: Home, batch: str, *, frames: int = 49, fps: int = 16, size: tuple[int, int] = (128, 128)) -> None:
    """One source with two shots, captioned, nothing judged and no gate asked."""
    source = f"src_{batch}"
    put(home, "files", batch, [{"uri": f"/x/{batch}.mp4", "status": "ready", "source_id": source}])
    put(home, "sources", batch, [
        {"source_id": source, "uri": f"/x/{batch}.mp4", "media": "video", "status": "ready", "width": size[0], "height": size[1]}
    ])  # fmt: skip
    put(home, "shots", batch, [
        {"shot_id": f"shot_{batch}_{number}", "source_id": source, "start_frame": number * frames, "end_frame": (number + 1) * frames,
         "fps_num": fps, "fps_den": 1}
        for number in range(2)
    ])  # fmt: skip
    caption(home, batch, "a red circle")


def caption(home: Home, batch: str, text: str, status: str = "ok") -> None:
    rows = [{"shot_id": f"shot_{batch}_{number}", "t2v": text, "status": status, "structured": "{}"} for number in range(2)]
    put(home, "captions", batch, [{**row, "provenance": f"p {text}"} for row in rows])


def judge(home: Home, *shots: str, verdict: str = "pass") -> None:
    put(home, "verdicts", "256p", [{"shot_id": shot, "verdict": verdict, "reasons": []} for shot in shots])


def open_gates(home: Home, batch: str) -> None:
    for gate in GATES:
        set_gate(home, batch, gate, passed=True, reason="fine")


def frozen(home: Home) -> Snapshot:
    return freeze(home, "256p", recipe=RECIPE)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two batches, every shot passed, both gates of both batches open."""
    made = open_home(str(tmp_path / "home"))
    for batch in (FIRST, SECOND):
        add_batch(made, batch)
        open_gates(made, batch)
    judge(made, *(f"shot_{batch}_{number}" for batch in (FIRST, SECOND) for number in range(2)))
    return made


def test_a_snapshot_holds_clips_of_every_passed_shot(home: Home):
    snapshot = frozen(home)
    assert (snapshot.num_shots, snapshot.num_clips, snapshot.excluded, snapshot.unusable) == (4, 8, {}, {})
    assert snapshot.duration_s == pytest.approx(8 * 17 / 16)
    rows = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id, "shot_id": f"shot_{FIRST}_1"}).to_pylist()
    assert sorted((row["start_frame"], row["end_frame"]) for row in rows) == [(49, 66), (81, 98)], "first and last of the shot"
    for row in rows:
        assert (row["width"], row["height"], row["num_frames"], row["train_fps"], row["crop"]) == (32, 32, 17, 16, [0, 0, 128, 128])
        assert row["clip_id"] == clip_id(
            row["shot_id"], row["start_frame"], row["end_frame"], crop=(0, 0, 128, 128), train_fps=16, num_frames=17, size=(32, 32)
        )
    assert get_current(home.ledger, "dataset_256p") == snapshot.snapshot_id


def test_freezing_again_changes_nothing(home: Home):
    first = frozen(home)
    versions = [home.ledger.version(table) for table in TABLES]
    assert frozen(home) == first
    assert [home.ledger.version(table) for table in TABLES] == versions


def test_another_caption_is_another_snapshot_of_the_same_clips(home: Home):
    first = frozen(home)
    caption(home, FIRST, "a blue square")
    open_gates(home, FIRST)
    second = frozen(home)
    assert second.snapshot_id != first.snapshot_id
    clips = [
        set(home.ledger.rows("snapshot_clips", {"snapshot_id": key})["clip_id"].to_pylist())
        for key in (first.snapshot_id, second.snapshot_id)
    ]
    assert clips[0] == clips[1]
    assert home.ledger.rows("snapshots").num_rows == 2, "the earlier one stays"


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_does_not_hold_keeps_its_batch_out_and_no_other(gate: str, home: Home):
    set_gate(home, SECOND, gate, passed=False, reason="something was lost")
    snapshot = frozen(home)
    assert snapshot.excluded == {SECOND: f"{gate}: something was lost"}
    clips = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id})
    assert set(clips["source_id"].to_pylist()) == {f"src_{FIRST}"}


def test_a_batch_that_a_gate_never_checked_is_held_back(home: Home):
    add_batch(home, "b000003")
    assert failed_gates(home) == {"b000003": "no_source_lost: not checked; captions_sound: not checked"}
    set_gate(home, "b000003", "no_source_lost", passed=True, reason="")
    assert failed_gates(home) == {"b000003": "captions_sound: not checked"}
    open_gates(home, "b000003")
    assert failed_gates(home) == {}


def test_a_gate_that_was_checked_before_its_rows_changed_holds_nothing(home: Home):
    caption(home, SECOND, "a green circle")
    assert failed_gates(home) == {SECOND: "captions_sound: checked before its rows changed"}
    assert frozen(home).num_shots == 2
    open_gates(home, SECOND)
    assert frozen(home).num_shots == 4


def test_when_every_batch_is_held_back_the_gates_are_named(home: Home):
    for batch in (FIRST, SECOND):
        set_gate(home, batch, "captions_sound", passed=False, reason=f"too few in {batch}")
    with pytest.raises(GateError) as caught:
        frozen(home)
    for batch in (FIRST, SECOND):
        assert f"batch {batch} is held back by captions_sound: too few in {batch}" in str(caught.value)
    assert not home.ledger.rows("snapshots").num_rows
    assert not home.ledger.rows("current").num_rows


def test_when_no_shot_passes_the_pool_is_named(home: Home):
    judge(home, f"shot_{FIRST}_0", verdict="fail")
    with pytest.raises(GateError, match="0 of 1 shots pass pool 256p"):
        frozen(home)


@pytest.mark.parametrize(("status", "shots"), [("ok", 4), ("empty", 4), ("failed", 2)])
def test_a_caption_must_be_sound(status: str, shots: int, home: Home):
    caption(home, SECOND, "", status)
    open_gates(home, SECOND)
    assert frozen(home).num_shots == shots


def test_verdicts_other_than_pass_stay_out(home: Home):
    put(home, "verdicts", "256p", [
        {"shot_id": f"shot_{FIRST}_{number}", "verdict": verdict, "reasons": []} for number, verdict in enumerate(("pass", "review"))
    ])  # fmt: skip
    assert frozen(home).num_shots == 1


def test_a_shot_that_fits_no_bucket_is_named_and_the_rest_goes_on(home: Home):
    add_batch(home, SECOND, frames=16)
    open_gates(home, SECOND)
    snapshot = frozen(home)
    assert snapshot.num_shots == 2
    assert set(snapshot.unusable) == {f"shot_{SECOND}_0", f"shot_{SECOND}_1"}
    assert "too short: 16 frames" in snapshot.unusable[f"shot_{SECOND}_0"]


def test_a_wide_picture_is_cropped_to_its_bucket_in_the_middle(home: Home):
    add_batch(home, SECOND, size=(400, 128))
    snapshot = frozen(home)
    clips = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id, "source_id": f"src_{SECOND}"}).to_pylist()
    for clip in clips:
        x, y, width, height = clip["crop"]
        assert clip["width"] > clip["height"]
        assert abs(width / height - clip["width"] / clip["height"]) < 0.02
        assert (2 * x + width, 2 * y + height) == (400, 128)


def add_image(home: Home) -> None:
    """A third batch with one still, passed for every data set."""
    put(home, "files", "b000003", [{"uri": "/x/still.png", "status": "ready", "source_id": "src_still"}])
    put(home, "sources", "b000003", [
        {"source_id": "src_still", "uri": "/x/still.png", "media": "image", "status": "ready", "width": 300, "height": 200}
    ])  # fmt: skip
    put(home, "shots", "b000003", [{"shot_id": "shot_still", "source_id": "src_still", "start_frame": 0, "end_frame": 1}])
    put(home, "captions", "b000003", [{"shot_id": "shot_still", "t2v": "a red circle", "status": "ok", "structured": "{}"}])
    open_gates(home, "b000003")
    films = [f"shot_{batch}_{number}" for batch in (FIRST, SECOND) for number in range(2)]
    for pool in set(POOL_OF.values()):
        put(home, "verdicts", pool, [{"shot_id": shot, "verdict": "pass", "reasons": []} for shot in [*films, "shot_still"]])


def test_images_join_the_first_two_stages_and_stay_out_of_the_later_ones(home: Home):
    add_image(home)
    add_batch(home, SECOND, fps=24)
    open_gates(home, SECOND)
    for name in POOL_OF:
        snapshot = freeze(home, name, recipe=RECIPE)
        images = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id, "num_frames": 1}).to_pylist()
        if name in ("256p", "360p"):
            (image,) = images
            assert (image["start_frame"], image["end_frame"], image["train_fps"], image["source_id"]) == (0, 1, 24, "src_still")
            assert (snapshot.num_images, snapshot.unusable) == (1, {})
        else:
            assert images == []
            assert "an image" in snapshot.unusable["shot_still"]
        assert snapshot.num_clips > snapshot.num_images
        films = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id}).to_pylist()
        assert snapshot.duration_s == pytest.approx(sum(17 / clip["train_fps"] for clip in films if clip["num_frames"] > 1))


def test_fine_tuning_takes_24_frames_per_second_alone_and_says_why_the_rest_is_out(home: Home):
    add_image(home)
    add_batch(home, SECOND, fps=24)
    open_gates(home, SECOND)
    for name in POOL_OF:
        snapshot = freeze(home, name, recipe=RECIPE)
        rows = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id}).to_pylist()
        rates = {row["train_fps"] for row in rows if row["num_frames"] > 1}
        assert rates == ({24} if name.startswith("sft") else {16, 24})
        if name.startswith("sft"):
            assert snapshot.unusable[f"shot_{FIRST}_0"] == "footage at 16 fps trains at 16, and these buckets take 24 alone"


def with_durations(*durations: dict[str, Any]) -> Recipe:
    values = micro_values()
    values["datasets"]["256p"]["durations"] = list(durations)
    return Recipe.model_validate(values)


def test_a_shot_gives_clips_of_the_longest_duration_that_it_fills(home: Home):
    add_batch(home, SECOND, frames=30)
    open_gates(home, SECOND)
    snapshot = freeze(home, "256p", recipe=with_durations({"num_frames": 17}, {"num_frames": 33}, {"num_frames": 49}))
    rows = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id}).to_pylist()
    assert {(row["source_id"], row["num_frames"]) for row in rows} == {(f"src_{FIRST}", 49), (f"src_{SECOND}", 17)}


def test_a_keep_probability_of_zero_sends_every_shot_to_the_next_shorter_duration(home: Home):
    snapshot = freeze(home, "256p", recipe=with_durations({"num_frames": 17}, {"num_frames": 49, "keep": 0.0}))
    rows = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id}).to_pylist()
    assert {row["num_frames"] for row in rows} == {17}
    with pytest.raises(GateError, match=r"left out by chance: the buckets of \[17\] frames keep \[0.0\]"):
        freeze(home, "256p", recipe=with_durations({"num_frames": 17, "keep": 0.0}))


def test_a_data_set_that_the_recipe_does_not_describe_is_named(home: Home):
    values = micro_values()
    del values["datasets"]["sft_720p"]
    with pytest.raises(RecipeError, match=r"recipe 'micro' has no section datasets.sft_720p; add it"):
        freeze(home, "sft_720p", recipe=Recipe.model_validate(values))


def test_footage_at_another_rate_covers_the_same_time(home: Home):
    add_batch(home, SECOND, fps=48, frames=147)
    snapshot = frozen(home)
    clips = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot.snapshot_id, "source_id": f"src_{SECOND}"}).to_pylist()
    assert {(clip["train_fps"], clip["end_frame"] - clip["start_frame"]) for clip in clips} == {(24, 33)}
