"""The pictures of edited sample films: cuts, mixes, black, frozen and white frames, measured in the decoded file."""

from dataclasses import replace

import numpy as np
import pytest

from skyreels_platform.media.sample_scene import ScenePainter
from tests.media.sample_specs import EDITED, changes, drawn, hard_changes


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


def test_same_seed_same_frames_other_seed_other_frames():
    spec = replace(EDITED, scenes=EDITED.scenes[:3])
    assert np.array_equal(drawn(spec, seed=1), drawn(spec, seed=1))
    others = drawn(spec, seed=2)
    assert all((a != b).any() for a, b in zip(drawn(spec, seed=1)[1:92], others[1:92], strict=True))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(EDITED, scenes=()), "no scenes"),
        (lambda: replace(EDITED, scenes=EDITED.scenes[2:]), "begins with a dissolve"),
        (lambda: replace(EDITED, fade_out_frames=37), "scene 7: its transitions take 0 \\+ 37 frames of 36"),
    ],
)
def test_impossible_films_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
