"""Which shots are aligned: those whose descriptors speak for it, all of them, and not too many."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.vectors import open_vectors
from skyreels_platform.curation.candidates import DedupSettings, candidates
from skyreels_platform.curation.fingerprint import DIMENSIONS, Fingerprint
from skyreels_platform.curation.fingerprint_store import FingerprintStore
from tests.curation.textured_shots import rows, shot

AXES = np.eye(DIMENSIONS, dtype=np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FingerprintStore:
    return open_vectors(str(tmp_path / "vectors"))


def leaning(*cosines: float, to: int = 0) -> Fingerprint:
    """A shot whose descriptors have these cosines with axes `to`, `to` + 1, ... and nothing else in common with any other shot."""
    away = np.sqrt(1 - np.square(cosines))[:, None] * AXES[60 + to :][: len(cosines)]
    vectors = (np.array(cosines)[:, None] * AXES[to:][: len(cosines)] + away).astype(np.float32)
    return Fingerprint(**{**vars(shot(1)), "vectors": vectors, "duration_s": len(cosines) / 2})


def asked(store: FingerprintStore, earlier: dict[str, Fingerprint], new: dict[str, Fingerprint], **settings: Any) -> dict[str, list[str]]:
    store.put(rows("b1", earlier))
    known = store.descriptors_of("b1")
    store.index("b1", known.owners, known.vectors)
    store.put(rows("b2", new))
    return candidates(store, "b2", store.descriptors_of("b2"), DedupSettings(**settings))


def test_nobody_asks_and_nobody_answers(store: FingerprintStore):
    assert candidates(store, "b1", store.descriptors_of("b1"), DedupSettings()) == {}
    assert asked(store, {}, {"new": leaning(1, 1, 1, 1)}) == {}


@pytest.mark.parametrize(
    ("cosines", "is_aligned"),
    [
        ((0.8, 0.8, 0.8, 0.8), True),
        ((0.7, 0.7, 0.7, 0.7), False),  # a hint, and not enough
        ((0.7, 0.8, 0.7, 0.8), True),  # those that did not ask speak for it as well
        ((0.8, 0.1, 0.8, 0.1), False),  # and against it
        ((0.62, 0.95, 0.62, 0.95), False),  # no hint: what did not ask is not looked at
        ((0.92, 0.1, 0.1, 0.1), True),  # striking
        ((0.88, 0.1, 0.1, 0.1), False),
    ],
)
def test_all_descriptors_decide_where_some_give_a_hint(store: FingerprintStore, cosines: tuple[float, ...], is_aligned: bool):
    found = asked(store, {"old": leaning(1, 1, 1, 1)}, {"new": leaning(*cosines)})
    assert found == ({"new": ["old"]} if is_aligned else {})


def test_shots_of_one_batch_are_compared_once_and_those_without_a_fingerprint_never(store: FingerprintStore):
    store.index("b0", ["gone"] * 4, AXES[:4])
    assert asked(store, {}, {"new a": leaning(0.9, 0.9, 0.9, 0.9), "new b": leaning(1, 1, 1, 1)}) == {"new b": ["new a"]}


def test_of_many_answers_the_nearest_are_aligned_and_further_ones_only_if_certain(store: FingerprintStore):
    alike = {f"alike {place}": leaning(*[0.92 - 0.01 * place] * 4) for place in range(5)}
    copies = {f"copy {place}": leaning(*[0.99 - 0.01 * place] * 4) for place in range(3)}
    limits = {"candidates": 2, "most_candidates": 4, "certain": 0.95}
    assert asked(store, alike | copies, {"new": leaning(1, 1, 1, 1)}, **limits)["new"] == ["copy 0", "copy 1", "copy 2"]
    assert candidates(store, "b2", store.descriptors_of("b2"), DedupSettings(candidates=4))["new"][3:] == ["alike 0"]


def test_the_more_there_are_the_nearer_a_shot_must_be(store: FingerprintStore, monkeypatch: pytest.MonkeyPatch):
    earlier = {"old": leaning(1, 1, 1, 1)} | {f"other {place}": leaning(1, 1, 1, 1, to=10 + 4 * place) for place in range(7)}
    assert asked(store, earlier, {"new": leaning(0.74, 0.74, 0.74, 0.74)}) == {"new": ["old"]}
    monkeypatch.setattr("skyreels_platform.curation.candidates.CROWD_FROM", 4)  # of 32: three doublings
    known = store.descriptors_of("b2")
    assert candidates(store, "b2", known, DedupSettings()) == {}
    assert candidates(store, "b2", known, DedupSettings(crowd=0.006)) == {"new": ["old"]}
