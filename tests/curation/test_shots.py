"""Files cut into shots: drawn films whose truth is known, and annotated footage where it is present."""

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.scoring import BoundaryScore, Report, Truth, reports_of, score
from skyreels_platform.curation.segments import Shot
from skyreels_platform.curation.shots import find_shots
from skyreels_platform.curation.voters import Votes, vote
from skyreels_platform.curation.voters.cuts import runs
from skyreels_platform.curation.voters.fusion import fuse
from skyreels_platform.errors import DecodeError
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_edit import FilmSpec
from skyreels_platform.media.sample_film import render_film
from skyreels_platform.media.sample_scene import Background, Camera, SceneSpec, Subject
from skyreels_platform.media.sample_truth import FilmTruth
from skyreels_platform.recipe import ShotSettings

PLAIN = ShotSettings(transnet=False, min_length_s=0.5, max_length_s=60)


def spans(shots: list[Shot]) -> list[tuple[int, int, str]]:
    return [(shot.start_frame, shot.end_frame, shot.transition_in) for shot in shots]


# ---- drawn films ---------------------------------------------------------------------------------------------------------------


def drawn(seed: int) -> FilmSpec:
    """Cuts, two dissolves, a wipe, a fade with black between, a flash, subtitles and four kinds of camera."""
    transitions = [("cut", 0, 0), ("cut", 0, 0), ("dissolve", 12, 0), ("cut", 0, 0), ("wipe", 16, 0), ("fade", 20, 8), ("cut", 0, 0)]
    cameras = [Camera(), Camera(motion="pan_left", speed=0.2), Camera(motion="zoom_in", speed=0.2), Camera(motion="tilt_up", speed=0.2)]
    scenes = []
    for number, (kind, length, hold) in enumerate(transitions):
        scenes.append(SceneSpec(
            num_frames=40, look=number, transition_in=kind, transition_frames=length, black_hold=hold,  # type: ignore[arg-type]
            background=Background(kind="texture", level=(0.35, 0.6, 0.45, 0.7)[number % 4]), camera=cameras[(number + seed) % 4],
            subject=Subject(colour=("red", "green", "blue")[number % 3], shape="circle", size=0.3, velocity=(0.2, 0.0)),
            flaws={1: ("flash",), 3: ("subtitle",)}.get(number, ()),
        ))
    return FilmSpec(name="drawn", width=256, height=144, fps=24, scenes=tuple(scenes))


@pytest.fixture(scope="module", params=[0, 1])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FilmTruth]:
    path = tmp_path_factory.mktemp("films") / "drawn.mp4"
    return path, render_film(path, drawn(request.param), seed=request.param)


def test_a_drawn_film_is_cut_as_it_was_drawn(film: tuple[Path, FilmTruth]) -> None:
    path, truth = film
    seen: list[int] = []
    shots = find_shots(path, PLAIN, num_threads=1, on_frame=seen.append)
    result = score(reports_of(shots), Truth.from_json(json.loads(truth.to_json())))
    assert (result.num_found, result.num_false) == (3, 0)
    assert result.num_gradual_found == result.num_gradual == 3
    assert [shot.transition_in for shot in shots] == ["start", "cut", "dissolve", "cut", "wipe", "fade", "fade", "cut"]
    assert seen == list(range(1, truth.num_frames + 1))
    black = shots[5]
    assert (black.start_frame, black.end_frame) == (pytest.approx(192, abs=2), pytest.approx(200, abs=2))


def test_the_same_film_gives_the_same_shots(film: tuple[Path, FilmTruth]) -> None:
    path, _ = film
    threads = cv2.getNumThreads()
    assert find_shots(path, PLAIN, num_threads=1) == find_shots(path, PLAIN, num_threads=2)
    assert cv2.getNumThreads() == threads


def test_seconds_are_presentation_times(tmp_path: Path) -> None:
    pictures = np.zeros((40, 48, 64, 3), np.uint8)
    pictures[:20, :, :32], pictures[20:, 24:] = (200, 60, 40), (30, 90, 220)
    write_video(tmp_path / "ntsc.mp4", pictures, Fraction(30000, 1001))
    first, second = find_shots(tmp_path / "ntsc.mp4", PLAIN)
    assert spans([first, second]) == [(0, 20, "start"), (20, 40, "cut")]
    assert second.start_s == first.end_s == pytest.approx(20 * 1001 / 30000, abs=1e-3)
    assert second.end_s == pytest.approx(40 * 1001 / 30000, abs=1e-3)


def test_an_image_is_one_shot_of_one_frame(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "still.png"), np.full((50, 70, 3), 120, np.uint8))
    for transnet in (False, True):
        settings = PLAIN.model_copy(update={"transnet": transnet})
        assert find_shots(tmp_path / "still.png", settings) == [
            Shot(start_frame=0, end_frame=1, start_s=0.0, end_s=0.0, transition_in="start")
        ]


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    for name in ("broken.mp4", "broken.png"):
        (tmp_path / name).write_bytes(b"not a picture at all")
        with pytest.raises(DecodeError):
            find_shots(tmp_path / name, PLAIN)


# ---- annotated footage ---------------------------------------------------------------------------------------------------------

Reporter = Callable[[Votes], list[Report]]


def fused(votes: Votes) -> list[Report]:
    return [(boundary.end, boundary.start) for boundary in fuse(votes) if boundary.end > 0 and boundary.start < len(votes)]


def transnet_alone(votes: Votes) -> list[Report]:
    """The package's rule: the last frame of each run above 0.5 ends a shot."""
    assert votes.sharp is not None
    return [(last - 1, last - 1) for _, last in runs(votes.sharp > 0.5)]


def content_alone(votes: Votes) -> list[Report]:
    return [(t, t) for t in votes.content_cuts.tolist()]


def adaptive_alone(votes: Votes) -> list[Report]:
    return [(t, t) for t in votes.adaptive_cuts.tolist()]


def compare(footage: Path, reporters: dict[str, Reporter], *, transnet: bool) -> dict[str, BoundaryScore]:
    """Totals of each way to report over all annotated films; the table per film goes to standard error (pytest -s shows it)."""
    totals = dict.fromkeys(reporters, BoundaryScore())
    for annotation in sorted((footage / "truth").glob("*.json")):
        value = json.loads(annotation.read_text(encoding="utf-8"))
        truth = Truth.from_json(value)
        votes = vote(pyramid(footage / "videos" / value["file"], small_only=True), transnet=transnet)
        for name, reporter in reporters.items():
            result = score(reporter(votes), truth)
            totals[name] += result
            show(value["file"], name, result)
    for name, total in totals.items():
        show("all films", name, total)
    return totals


def show(film_name: str, reporter: str, result: BoundaryScore) -> None:
    print(
        f"{film_name:20s} {reporter:10s} P {result.precision:.3f} R {result.recall:.3f} F1 {result.f1:.3f} "
        f"hard {result.num_found}/{result.num_cuts} false {result.num_false} "
        f"gradual {result.num_gradual_found}/{result.num_gradual}",
        file=sys.stderr, flush=True,
    )


def test_without_transnet_annotated_footage_is_cut_better_than_by_pyscenedetect(footage: Path) -> None:
    totals = compare(footage, {"fused": fused, "content": content_alone, "adaptive": adaptive_alone}, transnet=False)
    assert totals["fused"].f1 >= 0.96
    assert totals["fused"].gradual_recall >= 0.75
    assert totals["fused"].f1 > max(totals["content"].f1, totals["adaptive"].f1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_annotated_footage_is_cut_better_than_by_any_single_voter(footage: Path) -> None:
    reporters = {"fused": fused, "transnet": transnet_alone, "content": content_alone, "adaptive": adaptive_alone}
    totals = compare(footage, reporters, transnet=True)
    best = totals.pop("fused")
    assert best.f1 >= 0.96
    assert best.gradual_recall >= 0.9
    assert best.f1 > max(total.f1 for total in totals.values())
    assert best.num_gradual_found > max(total.num_gradual_found for total in totals.values())
