"""The truth of sample films, checked against their pixels: most tests decode the written file and measure."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.media.decode import frames
from skyreels_platform.media.sample_edit import FilmSpec, film_frames
from skyreels_platform.media.sample_film import render_film, sample_library
from skyreels_platform.media.sample_scene import COLOURS, FLAWS, SHAPES, Background, Camera, ScenePainter, SceneSpec, Subject
from skyreels_platform.media.sample_truth import FilmTruth, caption_of

TEXTURE = Background(kind="texture", level=0.5)


def subject(colour: str = "red", shape: str = "circle", **values) -> Subject:
    return Subject(**{"colour": colour, "shape": shape, "size": 0.35, "velocity": (0.2, 0.0)} | values)


def scene(num_frames: int, level: float, **values) -> SceneSpec:
    defaults = {"num_frames": num_frames, "background": Background(level=level), "subject": subject(), "look": num_frames}
    return SceneSpec(**defaults | values)


EDITED = FilmSpec(
    name="edited", width=192, height=108, fps=24, fade_out_frames=8,
    scenes=(
        scene(30, 0.5, transition_in="fade", transition_frames=8),
        scene(31, 0.3, subject=subject("green", "square")),
        scene(32, 0.7, subject=subject("blue", "triangle"), transition_in="dissolve", transition_frames=9),
        SceneSpec(num_frames=10, background=Background(kind="black")),
        scene(33, 0.4, subject=subject("yellow"), flaws=("flash",)),
        scene(34, 0.6, flaws=("freeze",), transition_in="fade", transition_frames=16, black_hold=3),
        scene(35, 0.5, subject=None, background=TEXTURE, camera=Camera(motion="pan_right", speed=0.1), transition_in="wipe",
              transition_frames=8),
        scene(36, 0.3, subject=subject("green"), flaws=("freeze_tail",)),
    ),
)  # fmt: skip
STARTS = [0, 30, 61, 93, 103, 136, 170, 205, 241]


def decoded(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in frames(path)])


def drawn(spec: FilmSpec, seed: int = 0) -> np.ndarray:
    return np.stack(list(film_frames(spec, seed=seed)))


def one_scene(values: SceneSpec, *, width: int = 160, height: int = 120, fps: int = 16) -> FilmSpec:
    return FilmSpec(name="one", width=width, height=height, fps=fps, scenes=(values,))


def changes(film: np.ndarray) -> np.ndarray:
    """(F,) mean absolute difference of each frame to the one before; 0 for the first."""
    return np.array([0.0, *(np.abs(a.astype(np.int16) - b).mean() for a, b in itertools.pairwise(film))])


def hard_changes(film: np.ndarray) -> list[int]:
    """Frames that change far more than the frame before and the frame after do."""
    change = np.append(changes(film), 0.0)
    return [i for i in range(1, len(film)) if change[i] > 5 + 3 * max(change[i - 1], change[i + 1])]


def subject_centre(image: np.ndarray, colour: str) -> tuple[float, float]:
    """Centroid of the pixels near the colour, in pixels (x, y)."""
    distance = np.linalg.norm(image.astype(np.float32) - COLOURS[colour], axis=-1)
    rows, columns = np.nonzero(distance < 70)
    return float(columns.mean()), float(rows.mean())


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> tuple[np.ndarray, FilmTruth]:
    path = tmp_path_factory.mktemp("edited") / "edited.mp4"
    truth = render_film(path, EDITED, seed=3)
    return decoded(path), truth


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> list[tuple[Path, FilmTruth]]:
    return sample_library(tmp_path_factory.mktemp("library"))


def test_edit_list_is_what_the_spec_says(edited):
    film, truth = edited
    assert len(film) == truth.num_frames == STARTS[-1]
    assert [(shot.start, shot.end) for shot in truth.shots] == list(itertools.pairwise(STARTS))
    assert truth.cuts == (30, 93, 103, 205)
    assert [(mix.type, mix.start, mix.end, mix.boundary) for mix in truth.gradual] == [
        ("fade_from_black", 0, 7, None),
        ("dissolve", 57, 65, 61),
        ("fade_out_to_black", 125, 132, None),
        ("fade_from_black", 136, 143, 136),
        ("wipe", 166, 173, 170),
        ("fade_out_to_black", 233, 240, None),
    ]


def test_hard_changes_are_exactly_the_cuts(edited):
    film, truth = edited
    assert hard_changes(film) == list(truth.cuts)


def test_black_spans_are_black_in_the_file_and_nothing_else_is(edited):
    film, truth = edited
    black = set(np.nonzero(film.mean(axis=(1, 2)) @ (0.299, 0.587, 0.114) < 1)[0])
    assert truth.black == ((93, 103), (132, 136), (240, 241))
    assert black == {index for start, end in truth.black for index in range(start, end)}


def test_dissolve_frames_are_growing_mixtures(edited):
    film, truth = edited
    dissolve = next(mix for mix in truth.gradual if mix.type == "dissolve")
    before, after = (ScenePainter(EDITED.scenes[k], width=192, height=108, fps=24, seed=3) for k in (1, 2))
    shares = []
    for index in range(dissolve.start, dissolve.end + 1):
        old, new, seen = (image.astype(float) for image in (before.frame(index - 30), after.frame(index - 61), film[index]))
        share = float(((seen - old) * (new - old)).sum() / ((new - old) ** 2).sum())
        assert np.abs(old + share * (new - old) - seen).mean() < 2
        shares.append(share)
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], abs=0.02)


def test_frozen_frames_repeat_and_moving_ones_do_not(edited):
    change, truth = changes(edited[0]), edited[1]
    frozen, moving = slice(145, 165), slice(206, 222)
    tail = slice(truth.shots[7].start + 36 // 2 + 1, 232)
    assert max(change[frozen].max(), change[tail].max()) < 0.2 < change[moving].min()
    assert truth.shots[5].directions == ((136, 170, "still"),)
    assert truth.shots[7].directions == ((205, 223, "right"), (223, 241, "still"))


def test_flash_is_one_white_frame_and_no_cut(edited):
    film, truth = edited
    assert truth.flashes == (119,)
    bright = [int(index) for index in np.nonzero(film.mean(axis=(1, 2, 3)) > 220)[0]]
    assert bright == [119]


def test_truth_survives_json_and_reads_like_an_annotation(edited):
    truth = edited[1]
    text = truth.to_json()
    assert FilmTruth.from_json(text) == truth
    values = json.loads(text)
    assert values["frames"] == 241
    assert values["cuts"] == [30, 93, 103, 205]
    assert values["gradual"][1] == {"type": "dissolve", "start": 57, "end": 65, "boundary": 61}
    assert values["black"][0] == [93, 103]
    assert values["shots"][0] == [0, 30]
    assert values["all_boundaries"] == STARTS[1:-1]


@pytest.mark.parametrize("shape", SHAPES)
def test_subjects_are_where_the_truth_says(tmp_path, shape):
    velocities = [(0.8, 0.0), (0.0, -0.9), (-0.5, 0.5), (0.0, 0.0)]
    cast = [subject(colour, shape, velocity=velocity) for colour, velocity in zip(COLOURS, velocities, strict=True)]
    spec = FilmSpec(name=shape, width=160, height=120, fps=16, scenes=tuple(scene(24, 0.5, subject=one) for one in cast))
    truth = render_film(tmp_path / "film.mp4", spec, seed=0)
    film = decoded(tmp_path / "film.mp4")
    for shot in truth.shots:
        assert shot.colour is not None
        for index, centre in zip(range(shot.start, shot.end), shot.centres, strict=True):
            assert np.hypot(*np.subtract(subject_centre(film[index], shot.colour), centre)) < 1
    assert [shot.directions[0][2] for shot in truth.shots] == ["right", "up", "down and left", "still"]
    bounce = truth.shots[0]  # off the right edge
    assert bounce.caption == f"a red {shape} moves right, then moves left"
    assert max(range(24), key=lambda index: bounce.centres[index]) == pytest.approx(bounce.directions[1][0], abs=1)


@pytest.mark.parametrize(
    ("camera", "flaws"),
    [
        (Camera(motion="zoom_in", speed=0.3), ()),
        (Camera(motion="roll_clockwise", speed=30), ()),
        (Camera(motion="tilt_down", speed=0.2), ()),
        (Camera(motion="handheld", speed=0.1), ()),
        (Camera(), ("crop",)),
    ],
)
def test_subject_centre_follows_the_camera(camera, flaws):
    one = subject("red", "square", position=(0.6, 0.6), velocity=(0.0, 0.0), size=0.2)
    values = SceneSpec(num_frames=20, subject=one, background=TEXTURE, camera=camera, flaws=flaws)
    painter = ScenePainter(values, width=160, height=120, fps=16, seed=0)
    for index in range(values.num_frames):
        assert np.hypot(*np.subtract(subject_centre(painter.frame(index), "red"), painter.centre(index))) < 1
    assert np.hypot(*np.subtract(painter.centre(19), (0.6 * 160 - 0.5, 0.6 * 120 - 0.5))) > 1  # and it did move on screen


def test_direction_words_cover_the_compass():
    eight = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    words = [caption_of(subject(velocity=velocity), Camera()).removeprefix("a red circle moves ") for velocity in eight]
    assert words == ["right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right"]


@pytest.mark.parametrize(
    ("motion", "shift"),
    [("pan_right", (-1.6, 0)), ("pan_left", (1.6, 0)), ("tilt_down", (0, -1.2)), ("tilt_up", (0, 1.2)), ("static", (0, 0))],
)
def test_pan_and_tilt_by_phase_correlation(tmp_path, motion, shift):
    camera = Camera(motion=motion, speed=0.0 if motion == "static" else 0.16)  # 0.01 of the frame per frame at 16 fps
    render_film(tmp_path / "film.mp4", one_scene(SceneSpec(num_frames=16, background=TEXTURE, camera=camera)), seed=0)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in decoded(tmp_path / "film.mp4")]
    window = cv2.createHanningWindow((160, 120), cv2.CV_32F)
    moved, _ = cv2.phaseCorrelate(grey[0], grey[8], window)
    assert np.array(moved) / 8 == pytest.approx(shift, abs=0.1)


@pytest.mark.parametrize(
    ("motion", "speed", "scale", "turn"),
    [("zoom_in", 0.3, 1.3, 0), ("zoom_out", 0.3, 1 / 1.3, 0), ("roll_clockwise", 20, 1, -20), ("roll_anticlockwise", 20, 1, 20)],
)
def test_zoom_and_roll_by_tracked_points(motion, speed, scale, turn):
    film = drawn(one_scene(SceneSpec(num_frames=17, background=TEXTURE, camera=Camera(motion=motion, speed=speed))))
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in film]
    total = np.eye(3)
    for old, new in itertools.pairwise(grey):
        points = cv2.goodFeaturesToTrack(old, 80, 0.01, 5)
        tracked, found, _ = cv2.calcOpticalFlowPyrLK(old, new, points, np.empty(0))
        step, _ = cv2.estimateAffinePartial2D(points[found == 1], tracked[found == 1])
        total = np.vstack([step, [0, 0, 1]]) @ total
    assert np.hypot(total[0, 0], total[1, 0]) == pytest.approx(scale, rel=0.02)
    assert np.degrees(np.arctan2(total[1, 0], total[0, 0])) == pytest.approx(turn, abs=1)


def test_handheld_shakes_around_its_place():
    camera = Camera(motion="handheld", speed=0.1)
    painter = ScenePainter(scene(64, 0.5, camera=camera, subject=subject(velocity=(0, 0))), width=160, height=120, fps=16, seed=0)
    path = np.array([painter.centre(index) for index in range(64)]) - (79.5, 59.5)
    steps = np.diff(path, axis=0)
    assert np.abs(path).max() <= 0.1 * 120
    assert (steps > 0.2).any(axis=0).all()  # both ways on both axes
    assert (steps < -0.2).any(axis=0).all()


def test_same_seed_same_frames_other_seed_other_frames():
    spec = replace(EDITED, scenes=EDITED.scenes[:3])
    assert np.array_equal(drawn(spec, seed=1), drawn(spec, seed=1))
    others = drawn(spec, seed=2)
    assert all((a != b).any() for a, b in zip(drawn(spec, seed=1)[1:92], others[1:92], strict=True))


def changed_box(flaw: str) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The spoilt frame and the box (left, top, right, bottom; shares) of what the flaw changed."""
    values = SceneSpec(num_frames=9, background=TEXTURE, subject=subject())
    clean, spoilt = drawn(one_scene(values))[6], drawn(one_scene(replace(values, flaws=(flaw,))))[6]
    rows, columns = np.nonzero((clean != spoilt).any(axis=-1))
    return spoilt, (columns.min() / 160, rows.min() / 120, (columns.max() + 1) / 160, (rows.max() + 1) / 120)


def test_overlays_lie_where_they_belong():
    _, (left, top, right, bottom) = changed_box("subtitle")
    assert left < 0.3
    assert top > 0.8
    assert right > 0.7
    assert bottom <= 1
    _, (left, top, right, bottom) = changed_box("logo")
    assert left > 0.7
    assert bottom < 0.25
    spoilt, (left, top, right, bottom) = changed_box("mosaic")
    assert 0.2 < left < right < 0.8
    assert 0.2 < top < bottom < 0.8
    inner = spoilt[60:68, 60:100].astype(int)  # cells are 8 pixels wide: most neighbours are equal
    assert (np.abs(np.diff(inner, axis=1)).sum(axis=-1) == 0).mean() > 0.8
    spoilt, _ = changed_box("letterbox")
    assert spoilt[:14].max() == 0 == spoilt[-14:].max()
    assert spoilt[14:-14].min(axis=(1, 2)).max() > 0


def test_blur_and_darkness_can_be_measured():
    values = SceneSpec(num_frames=4, background=TEXTURE, subject=subject())
    clean, blurred, dark, brighter = (
        drawn(one_scene(replace(values, flaws=flaws)))[0].astype(np.float64)
        for flaws in ((), ("blur",), ("dark",), ("brighter",))
    )
    assert cv2.Laplacian(clean, cv2.CV_64F).var() > 20 * cv2.Laplacian(blurred, cv2.CV_64F).var()
    assert 5 < dark.mean() < 25
    assert clean.mean() + 10 < brighter.mean() < clean.mean() + 40


@pytest.mark.parametrize("flaw", FLAWS)
def test_every_flaw_changes_the_film(flaw):
    values = SceneSpec(num_frames=9, background=TEXTURE, subject=subject())
    assert not np.array_equal(drawn(one_scene(values)), drawn(one_scene(replace(values, flaws=(flaw,)))))


@pytest.mark.parametrize(
    ("one", "camera", "sentence"),
    [
        (subject(), Camera(), "a red circle moves right"),
        (
            subject("blue", "square", velocity=(0.0, 0.0)), Camera(motion="pan_left", speed=0.1),
            "a blue square stands still, the camera pans left",
        ),
        (None, Camera(motion="handheld", speed=0.1), "an empty scene, the camera shakes"),
    ],
)  # fmt: skip
def test_captions(one, camera, sentence):
    assert caption_of(one, camera) == sentence


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: subject("mauve"), "Subject.colour is 'mauve'; known: red"),
        (lambda: subject(size=1.5), "Subject.size is 1.5"),
        (lambda: Camera(motion="pan_left"), "Camera.speed is 0.0 for 'pan_left'"),
        (lambda: scene(9, 0.5, flaws=("scratch",)), "'scratch'; known: freeze"),
        (lambda: scene(9, 0.5, transition_in="dissolve"), "0 for a dissolve"),
        (lambda: replace(EDITED, scenes=()), "no scenes"),
        (lambda: replace(EDITED, scenes=EDITED.scenes[2:]), "begins with a dissolve"),
        (lambda: replace(EDITED, fade_out_frames=37), "scene 7: its transitions take 0 \\+ 37 frames of 36"),
    ],
)
def test_impossible_specs_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


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
