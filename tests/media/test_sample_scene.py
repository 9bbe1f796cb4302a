"""The pictures of one scene: subjects, cameras and flaws, measured."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from skyreels_platform.media.sample_film import render_film
from skyreels_platform.media.sample_scene import FLAWS, Camera, ScenePainter, SceneSpec
from tests.media.sample_specs import TEXTURE, decoded, drawn, one_scene, scene, subject, subject_centre


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
    ("make", "words"),
    [
        (lambda: subject("mauve"), "Subject.colour is 'mauve'; known: red"),
        (lambda: subject(size=1.5), "Subject.size is 1.5"),
        (lambda: Camera(motion="pan_left"), "Camera.speed is 0.0 for 'pan_left'"),
        (lambda: scene(9, 0.5, flaws=("scratch",)), "'scratch'; known: freeze"),
        (lambda: scene(9, 0.5, transition_in="dissolve"), "0 for a dissolve"),
    ],
)
def test_impossible_scenes_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
