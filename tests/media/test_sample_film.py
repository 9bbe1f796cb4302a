"""The sample library: what it holds, and that its files show it."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from skyreels_platform.media.sample_film import sample_library
from skyreels_platform.media.sample_scene import FLAWS
from skyreels_platform.media.sample_truth import FilmTruth
from tests.media.sample_specs import decoded, hard_changes


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> list[tuple[Path, FilmTruth]]:
    return sample_library(tmp_path_factory.mktemp("library"))


def is_clean(shot) -> bool:
    return shot.background == "plain" and shot.camera == "static" and not shot.flaws


def test_library_is_mostly_clean_training_shots(library):
    shots = [shot for _, truth in library for shot in truth.shots]
    clean = [shot for shot in shots if is_clean(shot)]
    assert (len(library), len(shots), len(clean)) == (5, 70, 48)
    assert all(33 <= shot.end - shot.start <= 49 and 0.35 <= shot.size / 128 <= 0.45 for shot in clean)
    assert all(shot.caption == f"a {shot.colour} {shot.shape} moves {shot.direction}" for shot in clean)  # no bounce
    seen = Counter((shot.colour, shot.shape) for shot in clean)
    assert len(seen) == 8
    assert min(seen.values()) >= 4
    for pair in seen:
        assert len({shot.direction for shot in clean if (shot.colour, shot.shape) == pair}) >= 3


def test_library_holds_something_to_reject_of_every_kind(library):
    truths = [truth for _, truth in library]
    shots = [shot for truth in truths for shot in truth.shots]
    flaws = Counter(flaw for shot in shots for flaw in shot.flaws)
    assert set(flaws) == set(FLAWS)
    assert {shot.camera for shot in shots} >= {"pan_left", "pan_right", "tilt_up", "zoom_in", "roll_clockwise", "handheld"}
    assert {mix.type for truth in truths for mix in truth.gradual} == {"dissolve", "fade_out_to_black", "fade_from_black"}
    assert truths[0].black[0] == (0, 24)
    assert sorted(truth.fps for truth in truths) == [16, 16, 24, 24, 24]
    assert [shot.copy_of for shot in shots if shot.copy_of] == ["carnival:2", "toybox:1"]


def test_library_cuts_are_hard_and_its_shots_coherent(library):
    for path, truth in library:
        assert hard_changes(decoded(path)) == list(truth.cuts), path.name


def look(film: np.ndarray, start: int, end: int) -> np.ndarray:
    """Early, middle and late picture without their mean colour: a copy may be brighter, and every subject crosses the middle."""
    pictures = film[[start + 2, (start + end) // 2, end - 3]].astype(float)
    return pictures - pictures.mean(axis=(1, 2), keepdims=True)


def test_library_copies_resemble_their_originals(library):
    films = {path.stem: (decoded(path), truth) for path, truth in library}
    remix, truth = films["remix"]
    for shot in truth.shots:
        if shot.copy_of:
            name, number = shot.copy_of.split(":")
            copy = look(remix, shot.start, shot.end)
            distance = {
                (stem, index): np.abs(look(film, other.start, other.end) - copy).mean()
                for stem, (film, others) in films.items() if stem != "remix" for index, other in enumerate(others.shots)
            }
            assert min(distance, key=distance.__getitem__) == (name, int(number))


def test_library_sidecars(library):
    folder = library[0][0].parent
    sidecars = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert sorted(sidecars) == ["balcony", "carnival", "toybox"]
    assert all(set(fields) == {"licence", "source_kind"} for fields in sidecars.values())
