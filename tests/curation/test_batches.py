"""The batch chain on real files: what breaks is a row, what is done is not done again, what changed is."""

from pathlib import Path

import pytest

from resources.home import open_home
from resources.vectors import open_vectors
from skyreels_platform.captioning.batches import caption_batch
from skyreels_platform.curation.batches import observe_batch, score_batch
from skyreels_platform.curation.costs import estimate, measured_rates
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.curation.standing import captions_gate, shots_gate
from skyreels_platform.curation.steps import StepResult, decodes_per_source
from skyreels_platform.footage import list_footage
from skyreels_platform.home import Home
from skyreels_platform.ingest import register_batch
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.media.intake import read_batch
from skyreels_platform.recipe import CaptionSettings, ShotSettings, SignalSettings
from skyreels_platform.workers import LocalWorkers
from tests.media import broken_files
from tests.micro import render_footage

SHOTS = ShotSettings(transnet=False, min_length_s=0.7, max_length_s=20.0)
CAPTIONS = CaptionSettings(backend="rules", num_frames=8)
SIGNAL_SETTINGS = SignalSettings()
WORKERS = LocalWorkers(num_workers=2)


class Batch:
    """A batch of a good film, a good picture, a film that broke after ingest and a picture that went away after ingest."""

    def __init__(self, root: Path) -> None:
        self.home: Home = open_home(str(root / "home"))
        self.vectors = open_vectors(str(root / "home" / "vectors"))
        self.good, self.broken = render_footage(root / "footage")
        self.still = broken_files.still(root / "footage" / "still.png")
        self.gone = broken_files.still(root / "footage" / "gone.png", size=(80, 60))
        key = register_batch(self.home.ledger, list_footage([root / "footage"], open_store=self.home.open_store))
        assert key
        self.key = key
        self.intake = read_batch(self.home, key)
        self.source = {row["name"]: row["source_id"] for row in self.home.ledger.rows("sources").to_pylist()}
        self.broken.write_bytes(b"no film any more" * 100)
        self.gone.unlink()
        self.first = self.run(SHOTS)

    def run(self, shots: ShotSettings) -> tuple[StepResult, StepResult, StepResult]:
        return (
            observe_batch(self.home, self.key, shots, SIGNAL_SETTINGS, WORKERS, self.vectors),
            score_batch(self.home, self.key, SIGNAL_SETTINGS, WORKERS),
            caption_batch(self.home, self.key, CAPTIONS, seed=0, workers=WORKERS),
        )  # fmt: skip

    def versions(self) -> dict[str, int]:
        return {table: self.home.ledger.version(table) for table in TABLES}


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return Batch(tmp_path_factory.mktemp("batch"))


def test_what_breaks_is_a_row_and_the_others_go_on(batch: Batch):
    assert batch.intake.num_ready == 4
    shots, _, _ = batch.first
    bad = {batch.source["two.mp4"], batch.source["gone.png"]}
    assert set(shots.failures) == bad
    assert (shots.num_sources, shots.num_made, shots.num_rows) == (4, 4, 4)
    failures = {row["source_id"]: row for row in batch.home.ledger.rows("failures", {"scope": f"{batch.key}/shots"}).to_pylist()}
    assert set(failures) == bad
    assert "no such file" in failures[batch.source["gone.png"]]["reason"]
    assert "two.mp4" in failures[batch.source["two.mp4"]]["reason"]
    rows = batch.home.ledger.rows("shots").to_pylist()
    found = sorted((row["start_frame"], row["end_frame"]) for row in rows if row["source_id"] == batch.source["one.mp4"])
    assert found == [(0, 33), (33, 66), (66, 99)]
    assert [row["end_frame"] for row in rows if row["source_id"] == batch.source["still.png"]] == [1]


def test_every_shot_has_every_score_and_one_caption(batch: Batch):
    shots = set(batch.home.ledger.rows("shots")["shot_id"].to_pylist())
    scores = batch.home.ledger.rows("scores").to_pylist()
    assert {(row["shot_id"], row["signal"]) for row in scores} == {(shot, signal) for shot in shots for signal in SIGNALS}
    captions = {row["shot_id"]: row for row in batch.home.ledger.rows("captions").to_pylist()}
    assert set(captions) == shots
    film = batch.home.ledger.rows("shots", {"source_id": batch.source["one.mp4"], "start_frame": 0}).to_pylist()[0]
    assert "red circle" in captions[film["shot_id"]]["t2v"]


def test_each_source_was_decoded_once(batch: Batch):
    work = batch.home.ledger.rows("work").to_pylist()
    assert {(row["source_id"], row["step"], row["num_decodes"]) for row in work} == {
        (batch.source[name], step, num) for name in ("one.mp4", "still.png") for step, num in (("shots", 1), ("captions", 0))
    }  # fmt: skip
    assert [row["num_frames"] for row in work if row["source_id"] == batch.source["one.mp4"]] == [99, 99]
    assert decodes_per_source(batch.home, batch.key) == 1


def test_captions_are_estimated_from_what_captions_cost(batch: Batch):
    rates = measured_rates(batch.home.ledger)
    cost, _ = estimate(rates, "captions", [{"media": "video", "num_frames": 99}])
    (spent,) = batch.home.ledger.rows("work", {"source_id": batch.source["one.mp4"], "step": "captions"}, ["core_s"])["core_s"].to_pylist()
    assert cost.is_measured
    assert cost.core_s == pytest.approx(spent)


def test_every_shot_has_a_crop_pictures_and_a_fingerprint(batch: Batch):
    shots = set(batch.home.ledger.rows("shots")["shot_id"].to_pylist())
    assert set(batch.home.ledger.rows("crops")["shot_id"].to_pylist()) == shots
    frames = batch.home.ledger.rows("frames").to_pylist()
    assert {row["shot_id"] for row in frames} == shots
    assert set(batch.vectors.standing(shots)) == shots
    assert all(row["image"].startswith(b"\xff\xd8") for row in frames)


def test_the_gates_pass_because_nothing_was_lost(batch: Batch):
    assert shots_gate(batch.home, batch.key)[0]
    assert captions_gate(batch.home, batch.key)[0]


def test_a_repeat_tries_what_failed_and_writes_nothing(batch: Batch):
    before = batch.versions()
    again = batch.run(SHOTS)
    assert [result.num_made for result in again] == [2, 0, 0], "the two broken sources; the good ones are up to date"
    assert [result.data_version for result in again] == [result.data_version for result in batch.first]
    assert [result.failures for result in again] == [result.failures for result in batch.first]
    assert batch.versions() == before


def test_a_changed_signal_is_measured_alone(batch: Batch):
    rows = batch.home.ledger.rows("scores").to_pylist()
    older = [{**row, "value": -1.0, "version": "0", "provenance": "older"} if row["signal"] == "luma" else row for row in rows]
    batch.home.ledger.replace("scores", batch.key, older)
    crops = batch.home.ledger.version("crops")
    assert score_batch(batch.home, batch.key, SIGNAL_SETTINGS, WORKERS).num_made == 2
    assert batch.home.ledger.rows("scores").to_pylist() == rows
    assert batch.home.ledger.version("crops") == crops
    steps = {(row["step"], row["num_decodes"]) for row in batch.home.ledger.rows("work").to_pylist()}
    assert steps == {("shots", 1), ("scores", 1), ("captions", 0)}


def test_changed_settings_make_again_what_depends_on_them_and_changing_back_gives_the_same_rows(batch: Batch):
    rows = batch.home.ledger.rows("shots").to_pylist()
    changed = batch.run(SHOTS.model_copy(update={"max_length_s": 1.2}))
    assert [result.num_made for result in changed] == [4, 0, 2], "the pass that cuts also measures"
    assert changed[0].data_version != batch.first[0].data_version
    assert changed[0].num_rows == 7, "each shot of 2.1 s is split in two"
    assert batch.home.ledger.rows("scores").num_rows == 7 * len(SIGNALS)
    back = batch.run(SHOTS)
    assert [result.data_version for result in back] == [result.data_version for result in batch.first]
    assert batch.home.ledger.rows("shots").to_pylist() == rows


def test_a_file_that_comes_back_is_taken(batch: Batch):
    broken_files.still(batch.gone, size=(80, 60))
    shots = observe_batch(batch.home, batch.key, SHOTS, SIGNAL_SETTINGS, WORKERS, batch.vectors)
    assert set(shots.failures) == {batch.source["two.mp4"]}
    assert shots.num_rows == batch.first[0].num_rows + 1
    assert shots.data_version != batch.first[0].data_version


def test_a_score_after_the_crop_is_measured_again_with_what_it_follows_from(batch: Batch):
    rows = batch.home.ledger.rows("scores").to_pylist()
    older = [{**row, "value": -1.0, "provenance": "older"} if row["signal"] == "logo_after_crop" else row for row in rows]
    batch.home.ledger.replace("scores", batch.key, older)
    assert score_batch(batch.home, batch.key, SIGNAL_SETTINGS, WORKERS).num_made == 3
    assert batch.home.ledger.rows("scores").to_pylist() == rows
