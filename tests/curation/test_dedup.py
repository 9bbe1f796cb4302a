"""Matching and grouping stored shots: every copy and no other shot, each batch once, and the best of a group stays."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from resources.home import open_home
from resources.vectors import open_vectors
from skyreels_platform.curation import fingerprint_store
from skyreels_platform.curation.candidates import DedupSettings
from skyreels_platform.curation.dedup import find_duplicates, forget_shots, group_shots, match_batch
from skyreels_platform.curation.embedding import OnnxEmbedding
from skyreels_platform.curation.embeddings import embed_batch
from skyreels_platform.curation.fingerprint_store import FingerprintStore
from skyreels_platform.errors import RecipeError
from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.media.encode import write_video
from skyreels_platform.workers import LocalWorkers
from tests.curation.textured_shots import rows, shot

cv2.setNumThreads(1)

Row = dict[str, Any]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


@pytest.fixture
def store(home: Home) -> FingerprintStore:
    return open_vectors(f"{home.uri}/vectors")


def pairs(found: list[Row]) -> set[tuple[str, str]]:
    return {(row["shot_id"], row["other_id"]) for row in found}


def put(home: Home, table: str, batch: str, content: list[Row]) -> None:
    column = TABLES[table].partition
    assert column
    home.ledger.replace(table, batch, [{"provenance": "p", column: batch, **row} for row in content])


# ---- matches -------------------------------------------------------------------------------------------------------------------


def test_an_empty_store_answers(store: FingerprintStore):
    assert store.batches() == {}
    assert store.load(["a"]) == {}
    assert match_batch(store, "b1").rows == []


def test_copies_are_found_in_the_batch_and_in_earlier_ones_and_nothing_else(store: FingerprintStore):
    store.put(rows("b1", {f"a{seed:02d}": shot(seed) for seed in range(40)} | {"a90": shot(7, noise=4)}))
    assert pairs(match_batch(store, "b1").rows) == {("a90", "a07")}
    store.put(rows("b2", {f"b{seed:02d}": shot(seed, noise=4) for seed in range(30, 50)}))
    found = match_batch(store, "b2").rows
    assert pairs(found) == {(f"b{seed}", f"a{seed}") for seed in range(30, 40)}
    assert all(row["similarity"] > 0.8 and row["speed"] == pytest.approx(1, abs=0.05) for row in found)


def test_a_trim_says_which_part_it_shares(store: FingerprintStore):
    store.put(rows("b1", {"whole": shot(5, count=40)}))
    match_batch(store, "b1")
    store.put(rows("b2", {"part": shot(5, start=16, count=20)}))
    (row,) = match_batch(store, "b2").rows
    assert (row["start_s"], row["other_start_s"]) == pytest.approx((0, 2.0), abs=0.1)
    assert row["duration_s"] == pytest.approx(19 / 8, abs=0.1)


def test_an_image_is_no_copy_of_a_film(store: FingerprintStore):
    store.put(rows("b1", {"film": shot(5), "image": shot(5, count=1, media="image"), "same image": shot(5, count=1, media="image")}))
    assert pairs(match_batch(store, "b1").rows) == {("same image", "image")}


def test_the_index_finds_the_same_as_a_full_scan(store: FingerprintStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint_store, "INDEX_FROM", 500)
    monkeypatch.setattr(fingerprint_store, "CELL_ROWS", 50)
    for number in range(3):
        batch = f"b{number}"
        store.put(rows(batch, {f"s{seed:03d}": shot(seed, count=16) for seed in range(number * 200, number * 200 + 200)}))
        match_batch(store, batch)
    store.put(rows("b9", {f"copy{seed:03d}": shot(seed, count=16, noise=4) for seed in range(5, 600, 30)}))
    assert pairs(match_batch(store, "b9").rows) == {(f"copy{seed:03d}", f"s{seed:03d}") for seed in range(5, 600, 30)}
    assert [index.index_type for index in store._connection.open_table("descriptors").list_indices()] == ["IvfFlat"]


def test_a_batch_matched_again_sees_earlier_batches_only(store: FingerprintStore):
    store.put(rows("b1", {"early": shot(1)}))
    store.put(rows("b2", {"late": shot(1, noise=4)}))
    match_batch(store, "b1")
    assert pairs(match_batch(store, "b2").rows) == {("late", "early")}
    assert match_batch(store, "b1").rows == []
    assert pairs(match_batch(store, "b2").rows) == {("late", "early")}


def test_of_earlier_batches_only_the_candidates_are_read(store: FingerprintStore, monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []
    original = FingerprintStore.load

    def load(self: FingerprintStore, shot_ids: Iterable[str]) -> Any:
        loaded.extend(wanted := list(shot_ids))
        return original(self, wanted)

    for number in range(6):
        store.put(rows(f"b{number}", {f"s{seed:03d}": shot(seed, count=16) for seed in range(number * 50, number * 50 + 50)}))
        match_batch(store, f"b{number}")
    store.put(rows("b9", {"copy": shot(77, count=16, noise=4), "new": shot(900, count=16)}))
    monkeypatch.setattr(FingerprintStore, "load", load)
    result = match_batch(store, "b9")
    assert pairs(result.rows) == {("copy", "s077")}
    assert "s077" in loaded
    assert len(set(loaded) - {"copy", "new"}) == result.num_compared <= 8, "of 300 earlier shots"


def test_a_long_shot_finds_the_short_one_that_it_contains(store: FingerprintStore):
    store.put(rows("b1", {"part": shot(5, start=30, count=10)}))
    match_batch(store, "b1")
    store.put(rows("b2", {"whole": shot(5, count=64)}))
    assert pairs(match_batch(store, "b2").rows) == {("whole", "part")}


def test_forgotten_shots_leave_every_table_and_no_batch_is_matched_again(home: Home, store: FingerprintStore):
    for batch, content in {"b1": {"a1": shot(1), "a2": shot(2)}, "b2": {"b1": shot(1, noise=4)}, "b3": {"c1": shot(1, noise=6)}}.items():
        described(home, batch, dict.fromkeys(content, (720, 1.0)))
        store.put(rows(batch, content))
    assert find_duplicates(home, store).num_duplicates == 2
    assert forget_shots(home, store, ["a1", "unknown"]) == 1
    assert store.standing(["a1", "a2", "b1"]).keys() == {"a2", "b1"}
    assert "a1" not in store.search(shot(1).vectors, batch="b9", count=9).shot_ids
    assert pairs(home.ledger.rows("matches").to_pylist()) == {("c1", "b1")}
    assert {row["shot_id"]: row["kept_id"] for row in home.ledger.rows("duplicates").to_pylist()} == {"a1": "a1", "b1": "b1", "c1": "b1"}
    assert find_duplicates(home, store).num_matched == 0


# ---- groups --------------------------------------------------------------------------------------------------------------------


def described(home: Home, batch: str, sizes: Mapping[str, tuple[int, float]], seconds: float = 3.0) -> None:
    """Shots with the height of their source and a sharpness."""
    put(home, "shots", batch, [{"shot_id": name, "source_id": f"src_{name}", "start_s": 0.0, "end_s": seconds} for name in sizes])
    put(home, "sources", batch, [{"source_id": f"src_{name}", "width": 16, "height": height} for name, (height, _) in sizes.items()])
    scores = [{"shot_id": name, "signal": "sharpness", "value": value, "outcome": "measured"} for name, (_, value) in sizes.items()]
    put(home, "scores", batch, scores)


def match(shot_id: str, other_id: str, similarity: float, seconds: float = 3.0) -> Row:
    return {"shot_id": shot_id, "other_id": other_id, "similarity": similarity, "start_s": 0.0, "other_start_s": 0.0,
            "duration_s": seconds, "speed": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ({"a": (480, 9.0), "b": (1080, 1.0), "c": (720, 5.0)}, "b"),  # pixels first
        ({"a": (720, 1.0), "b": (720, 2.0), "c": (720, 3.0)}, "c"),  # then sharpness
        ({"a": (720, 2.0), "b": (720, 2.0), "c": (720, 2.0)}, "a"),  # then the earliest
    ],
)
def test_the_best_shot_of_a_group_stays(home: Home, sizes: dict[str, tuple[int, float]], kept: str):
    described(home, "b1", {**sizes, "alone": (2160, 9.0)})
    put(home, "matches", "b1", [match("b", "a", 0.9), match("c", "b", 0.8)])
    found = group_shots(home)
    assert [row["shot_id"] for row in found] == ["a", "b", "c"]
    assert {row["kept_id"] for row in found} == {kept}
    assert {row["group_id"] for row in found} == {"a"}


def test_similarity_follows_the_strongest_way_to_the_kept_shot(home: Home):
    described(home, "b1", {"a": (720, 9.0), "b": (720, 1.0), "c": (720, 2.0)})
    put(home, "matches", "b1", [match("b", "a", 0.95), match("c", "b", 0.9), match("c", "a", 0.82)])
    assert {row["shot_id"]: row["similarity"] for row in group_shots(home)} == {"a": 1.0, "b": 0.95, "c": 0.9}


def test_a_short_overlap_is_a_match_but_no_group(home: Home):
    described(home, "b1", {"a": (720, 1.0), "b": (720, 1.0)}, seconds=10.0)
    put(home, "matches", "b1", [match("b", "a", 0.9, seconds=4.0)])
    assert group_shots(home) == []
    assert len(group_shots(home, DedupSettings(overlap=0.3))) == 2


def test_duplicates_of_all_batches_are_matched_once(home: Home, store: FingerprintStore):
    described(home, "b1", {"a1": (720, 1.0), "a2": (720, 1.0)})
    store.put(rows("b1", {"a1": shot(1), "a2": shot(2)}))
    first = find_duplicates(home, store)
    assert (first.num_batches, first.num_matched, first.num_groups) == (1, 1, 0)
    described(home, "b2", {"b1": (1080, 1.0)})
    store.put(rows("b2", {"b1": shot(1, noise=4)}))
    second = find_duplicates(home, store)
    assert (second.num_matched, second.num_matches, second.num_groups, second.num_duplicates) == (1, 1, 1, 1)
    assert {row["shot_id"]: row["kept_id"] for row in home.ledger.rows("duplicates").to_pylist()} == {"a1": "b1", "b1": "b1"}
    versions = [home.ledger.version(table) for table in ("matches", "duplicates", "current")]
    again = find_duplicates(home, store)
    assert (again.num_matched, again.data_version) == (0, second.data_version)
    assert [home.ledger.version(table) for table in ("matches", "duplicates", "current")] == versions


def test_a_shot_that_changes_leaves_its_group(home: Home, store: FingerprintStore):
    described(home, "b1", {"a1": (720, 1.0)})
    described(home, "b2", {"b1": (1080, 1.0)})
    store.put(rows("b1", {"a1": shot(1)}))
    store.put(rows("b2", {"b1": shot(1, noise=4)}))
    assert find_duplicates(home, store).num_duplicates == 1
    store.put(rows("b1", {"a1": shot(9)}, "q"))
    changed = find_duplicates(home, store)
    assert (changed.num_matched, changed.num_matches, changed.num_duplicates) == (2, 0, 0)
    assert all(row["kept_id"] == row["shot_id"] for row in home.ledger.rows("duplicates").to_pylist())


# ---- the step, and networks -----------------------------------------------------------------------------------------------------


def test_a_batch_gets_the_fingerprints_that_it_lacks(home: Home, store: FingerprintStore, tmp_path: Path):
    path = tmp_path / "film.mp4"
    world = (np.random.default_rng(0).random((12, 16, 3)) * 255).astype(np.uint8)
    write_video(path, [cv2.resize(np.roll(world, index // 12, axis=1), (128, 96)) for index in range(48)], 24)
    source = {"source_id": "src", "status": "ready", "media": "video", "uri": str(path), "width": 128, "height": 96, "fps_num": 24,
              "fps_den": 1}  # fmt: skip
    put(home, "sources", "b1", [source])
    spans = {"first": (0, 24), "second": (24, 48)}
    put(home, "shots", "b1", [{"shot_id": name, "source_id": "src", "start_frame": start, "end_frame": end, "start_s": start / 24,
                               "end_s": end / 24} for name, (start, end) in spans.items()])  # fmt: skip
    made = embed_batch(home, store, "b1", LocalWorkers(num_workers=1))
    assert (made.num_made, made.num_rows, made.failures) == (1, 2, {})
    assert len(store.load(["first"])["first"].track.times) == 8
    again = embed_batch(home, store, "b1", LocalWorkers(num_workers=1))
    assert (again.num_made, again.data_version) == (0, made.data_version)


def test_a_network_makes_the_descriptors(tmp_path: Path):
    network = OnnxEmbedding(mean_colour_network(tmp_path / "net.onnx"), side=16)
    assert network.dimensions == 3
    vectors = network.embed(np.stack([np.full((20, 30, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255))]))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors.argmax(axis=1).tolist() == [0, 2]


def test_a_file_that_is_no_network_is_refused(tmp_path: Path):
    (tmp_path / "net.onnx").write_bytes(b"weights")
    with pytest.raises(RecipeError, match="not an ONNX network"):
        OnnxEmbedding(tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match="cannot be read"):
        OnnxEmbedding(tmp_path / "absent.onnx")


def mean_colour_network(path: Path) -> Path:
    """An ONNX file, field by field as its format has them: the mean of each channel."""

    def field(number: int, content: bytes | int) -> bytes:
        if isinstance(content, int):
            return bytes([number << 3, content])
        return bytes([number << 3 | 2, len(content)]) + content

    def value(name: bytes, *sides: bytes) -> bytes:
        shape = b"".join(field(1, field(2, side)) for side in sides)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    average = field(1, b"x") + field(2, b"pooled") + field(4, b"GlobalAveragePool")
    flatten = field(1, b"pooled") + field(2, b"y") + field(4, b"Flatten")
    sides = [b"n", b"c", b"h", b"w"]
    graph = field(1, average) + field(1, flatten) + field(2, b"g") + field(11, value(b"x", *sides)) + field(12, value(b"y", *sides[:2]))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return path
