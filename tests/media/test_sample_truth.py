"""The truth of sample films: what the specification says, where their subjects are, and how it is told."""

import itertools
import json

import numpy as np
import pytest

from skyreels_platform.media.sample_edit import FilmSpec
from skyreels_platform.media.sample_film import render_film
from skyreels_platform.media.sample_scene import COLOURS, SHAPES, Camera
from skyreels_platform.media.sample_truth import FilmTruth, caption_of
from tests.media.sample_specs import STARTS, decoded, scene, subject, subject_centre


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


def test_direction_words_cover_the_compass():
    eight = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    words = [caption_of(subject(velocity=velocity), Camera()).removeprefix("a red circle moves ") for velocity in eight]
    assert words == ["right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right"]


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
