"""Fingerprints in the store: written once, and asked for by an index whose parts stay few."""

from pathlib import Path

import numpy as np
import pytest

from resources.vectors import open_vectors
from skyreels_platform.curation import fingerprint_store
from skyreels_platform.curation.fingerprint import Fingerprint
from skyreels_platform.curation.fingerprint_store import FingerprintStore
from tests.curation.textured_shots import rows, shot


@pytest.fixture
def store(tmp_path: Path) -> FingerprintStore:
    return open_vectors(str(tmp_path / "vectors"))


def test_the_store_writes_what_is_new_and_nothing_twice(store: FingerprintStore):
    first = rows("b1", {"a": shot(1), "b": shot(2)})
    assert store.put(first)
    assert not store.put(first)
    assert not store.put([])
    assert store.put(rows("b1", {"b": shot(3), "c": shot(4)}, "q"))
    assert store.standing(["a", "b", "c", "d"]) == {"a": "p", "b": "q", "c": "q"}
    assert np.array_equal(store.load(["b"])["b"].track.pictures, shot(3).pictures)


def test_pruning_removes_shots_that_are_gone(store: FingerprintStore):
    store.put(rows("b1", {"a": shot(1), "b": shot(2)}))
    store.put(rows("b2", {"c": shot(3)}))
    assert store.prune("b1", ["a"])
    assert not store.prune("b1", ["a"])
    assert sorted(store.standing(["a", "b", "c"])) == ["a", "c"]
    assert list(store.batches()) == ["b1", "b2"]


def test_a_still_shot_has_one_descriptor_in_the_index(store: FingerprintStore):
    moving = shot(1)
    still = Fingerprint(**{**vars(moving), "pictures": np.repeat(moving.pictures[:1], 24, axis=0),
                           "vectors": np.repeat(moving.vectors[:1], 6, axis=0)})  # fmt: skip
    store.put(rows("b1", {"moving": moving, "still": still}))
    owners, vectors, _ = store.descriptors_of("b1")
    assert owners.count("still") == 1
    assert owners.count("moving") == len(vectors) - 1 > 1


def held(*lengths: int, duration_s: float | None = None) -> Fingerprint:
    """A shot whose descriptors are held, one after the other, for so many half seconds."""
    vectors = np.repeat(np.eye(len(lengths), fingerprint_store.DIMENSIONS, dtype=np.float32), lengths, axis=0)
    return Fingerprint(**{**vars(shot(1)), "vectors": vectors, "duration_s": duration_s or len(vectors) / 2})


@pytest.mark.parametrize(
    ("made", "asks"),
    [
        (held(1, 1, 1, 1, 1, 1), [True, False, True, False, True, False]),
        (held(1, 1, 1), [True, True, True]),  # few enough
        (held(1, 4, 1, 1, 1), [True, True, True, False, True]),  # the second is seen for two seconds, and may be all that a copy shows
        (held(4, 1, 1, 1, 2), [True, True, False, True, True]),  # the second starts long after the first
        (held(1, 1, 1, 1, 1, 1, duration_s=12.0), [True] * 6),  # a thinned shot has one in two seconds
    ],
)  # fmt: skip
def test_every_second_descriptor_asks_where_it_stands_for_half_a_second(store: FingerprintStore, made: Fingerprint, asks: list[bool]):
    store.put(rows("b1", {"a": made, "b": made}))
    known = store.descriptors_of("b1")
    assert known.is_asked.tolist() == asks * 2
    assert known.owners == ["a"] * len(asks) + ["b"] * len(asks)


def test_all_descriptors_of_a_shot_are_read(store: FingerprintStore):
    store.put(rows("b1", {"a": shot(1), "b": shot(2)}))
    assert store.vectors([]) == {}
    found = store.vectors(["a", "unknown"])
    assert found.keys() == {"a"}
    assert np.array_equal(found["a"], shot(1).vectors)


@pytest.mark.parametrize("is_indexed", [False, True])
def test_answers_are_as_near_as_asked_for(store: FingerprintStore, monkeypatch: pytest.MonkeyPatch, is_indexed: bool):
    monkeypatch.setattr(fingerprint_store, "INDEX_FROM", 2 if is_indexed else 4000)
    axes = np.eye(fingerprint_store.DIMENSIONS, dtype=np.float32)
    store.index("b1", ["same", "near", "far"], np.stack([axes[0], 0.8 * axes[0] + 0.6 * axes[1], 0.5 * axes[0] + 0.75**0.5 * axes[2]]))
    asked = {"batch": "b2", "count": 9}
    assert sorted(store.search(axes[:1], **asked).shot_ids) == ["far", "near", "same"]
    assert sorted(store.search(axes[:1], **asked, near=0.6).shot_ids) == ["near", "same"]
    assert store.search(axes[3:4], **asked, near=0.6).shot_ids.size == 0


def test_parts_of_the_index_stay_few_and_the_trained_one_is_left_alone(store: FingerprintStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint_store, "INDEX_FROM", 500)
    monkeypatch.setattr(fingerprint_store, "CELL_ROWS", 50)
    generator = np.random.default_rng(0)

    def add(number: int, count: int) -> list[int]:
        vectors = generator.normal(size=(count, fingerprint_store.DIMENSIONS)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.index(f"b{number:02d}", [f"s{number}"] * count, vectors)
        return fingerprint_store._index_parts(store._connection.open_table("descriptors"))

    assert add(0, 400) == [], "too few rows"
    assert add(1, 600) == [1000]
    seen = [add(number, 40) for number in range(2, 14)]
    assert [sum(parts) for parts in seen] == [1000 + 40 * number for number in range(1, 13)]
    assert all(parts[0] == 1000 for parts in seen)
    assert max(map(len, seen)) == 3, "merged by size"
    assert add(14, 80) == [1560], "half as many rows again: trained anew"
    assert add(15, 40) == [1560, 40]
