"""The bench's shots: the same seed draws the same, and what the truth says is in the pixels."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from skyreels_platform.media import sample_shots
from skyreels_platform.media.sample_shots import COURSES, SIGNALS, Odds, SampleShot, draw_shot


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_shots, "SIZES", {(320, 180): 1})


@pytest.fixture
def course(small: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Every shot takes this course, and nothing is laid over it."""
    monkeypatch.setattr(sample_shots, "COURSES", {request.param: 1})
    for drawing in ("_areas", "_bars", "_overlays"):
        monkeypatch.setattr(sample_shots, drawing, lambda shot, generator, odds: [])
    return request.param


def _steps(shot: SampleShot) -> np.ndarray:
    """Mean change from each frame to the next, levels."""
    return np.array([cv2.absdiff(one, other).mean() for one, other in pairwise(shot.clip)])


@pytest.mark.usefixtures("small")
def test_a_seed_draws_one_shot_and_another_seed_another():
    first, again, other = draw_shot(3), draw_shot(3), draw_shot(4)
    assert np.array_equal(first.clip, again.clip)
    assert (first.flaws, first.unsure, first.crf, first.detail) == (again.flaws, again.unsure, again.crf, again.detail)
    assert first.clip.shape != other.clip.shape or not np.array_equal(first.clip, other.clip)


@pytest.mark.usefixtures("small")
def test_names_are_those_of_signals():
    for seed in range(4):
        shot = draw_shot(seed)
        assert (shot.flaws | shot.unsure) <= set(SIGNALS)
        assert shot.clip.dtype == np.uint8
        assert 1.5 <= len(shot.clip) / shot.fps <= 3.6


@pytest.mark.parametrize("course", ["black"], indirect=True)
def test_a_black_shot_is_black_for_two_fifths(course: str):
    for seed in range(3):
        shot = draw_shot(seed)
        assert shot.flaws == {"black"}
        assert np.mean([frame.mean() < 8 for frame in shot.clip]) >= 0.38


@pytest.mark.parametrize("course", ["static"], indirect=True)
def test_a_static_shot_holds_one_frame(course: str):
    for seed in range(3):
        shot = draw_shot(seed)
        assert "static" in shot.flaws
        assert np.mean(_steps(shot) == 0) >= 0.4


@pytest.mark.parametrize("course", ["slideshow"], indirect=True)
def test_slides_are_held_and_replaced(course: str):
    shot = draw_shot(0)
    assert "slideshow" in shot.flaws
    assert np.mean(_steps(shot) == 0) >= 0.5
    assert cv2.absdiff(shot.clip[0], shot.clip[-1]).mean() > 5


@pytest.mark.parametrize("course", ["still_pan"], indirect=True)
def test_a_pan_over_a_still_moves_in_every_frame(course: str):
    shot = draw_shot(1)
    assert shot.flaws == {"still_pan"}
    assert np.mean(_steps(shot) > 0) >= 0.9


@pytest.mark.parametrize("course", ["plain"], indirect=True)
def test_a_plain_shot_has_no_flaw(course: str):
    assert all(not draw_shot(seed).flaws for seed in range(3))


def test_every_course_can_be_taken():
    assert set(COURSES) == set(sample_shots._COURSES)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("flaw", SIGNALS)
def test_more_of_a_flaw_puts_it_into_about_half_of_the_shots(flaw: str):
    odds = Odds().with_more(flaw)
    found = [flaw in draw_shot(seed, odds).flaws for seed in range(24)]
    assert 6 <= sum(found) <= 18


def test_more_of_what_is_not_drawn_is_refused():
    with pytest.raises(ValueError, match="'plain' is not drawn"):
        Odds().with_more("plain")


def test_balanced_odds_draw_every_one_of_the_six(small: None):
    shots = [draw_shot(seed, Odds.balanced()) for seed in range(60)]
    for flaw in ("black", "static", "letterbox", "subtitle", "logo", "mosaic"):
        assert sum(flaw in shot.flaws for shot in shots) >= 4, flaw


@pytest.mark.parametrize(("picture", "share"), [((0, 0, 100, 100), 1.0), ((20, 0, 100, 100), 0.5), ((60, 0, 100, 100), 0.0)])
def test_bars_leave_a_share_of_an_area(picture: tuple[int, ...], share: float):
    areas = np.array([[10, 10, 30, 20], [10, 60, 30, 70]])
    assert sample_shots._left(areas, np.array(picture)) == share


@pytest.mark.usefixtures("small")
def test_a_mosaic_under_bars_altogether_is_no_flaw(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sample_shots, "_left", lambda areas, picture: 0.0)
    odds = Odds(courses={"plain": 1}, mosaic=1.0, blurred_region=0.0, bars=1.0, bar_kinds={"letterbox": 1})
    shots = [draw_shot(seed, odds) for seed in range(4)]
    assert all("mosaic" not in shot.flaws | shot.unsure for shot in shots)
    monkeypatch.setattr(sample_shots, "_left", lambda areas, picture: 0.3)
    assert any("mosaic" in shot.unsure for shot in (draw_shot(seed, odds) for seed in range(4)))
