"""The pixel check of a film: passes on what its prompt names, fails on anything else, and says when it cannot tell."""

import numpy as np
import pytest

from skyreels_platform.generation.check import check_film, names_subject
from skyreels_platform.media.sample_edit import FilmSpec, film_frames
from skyreels_platform.media.sample_scene import SceneSpec, Subject


def film(*pairs: tuple[str, str], side: int = 64, num_frames: int = 34) -> np.ndarray:
    """Frames (F, H, W, 3), one scene per pair of colour and shape."""
    scenes = tuple(
        SceneSpec(
            num_frames=num_frames, look=number,
            subject=Subject(colour=colour, shape=shape, size=0.45, position=(0.35, 0.5), velocity=(0.12, 0.0)),
        )
        for number, (colour, shape) in enumerate(pairs)
    )  # fmt: skip
    return np.stack(list(film_frames(FilmSpec(name="f", width=side, height=side, fps=16, scenes=scenes), seed=0)))


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize(("colour", "shape"), [("red", "circle"), ("blue", "square")])
def test_a_film_of_its_prompt_passes(colour: str, shape: str, side: int):
    check = check_film(film((colour, shape), side=side), f"a {colour} {shape} moves right.")
    assert (check.outcome, check.wanted) == ("pass", f"{colour} {shape}")
    assert (check.num_spans, check.num_colour, check.num_shape) == (2, 2, 2)
    assert f"{colour} {shape} in 2" in check.text


@pytest.mark.parametrize(
    ("shown", "colours", "shapes"), [(("blue", "square"), 0, 0), (("red", "square"), 2, 0), (("blue", "circle"), 0, 0)]
)
def test_a_film_of_something_else_fails_and_says_of_what(shown: tuple[str, str], colours: int, shapes: int):
    check = check_film(film(shown), "a red circle moves right.")
    assert (check.outcome, check.num_colour, check.num_shape) == ("fail", colours, shapes)
    assert " ".join(shown) in check.text


def test_half_of_a_film_is_not_enough_and_most_of_it_is():
    red, blue = ("red", "circle"), ("blue", "square")
    assert check_film(film(red, blue), "a red circle").outcome == "fail"
    assert check_film(film(red, red, blue), "a red circle").outcome == "pass"


def test_noise_fails():
    noise = np.random.default_rng(0).integers(0, 255, (34, 64, 64, 3), np.uint8)
    check = check_film(noise, "a red circle")
    assert check.outcome == "fail"
    assert "nothing clear" in check.text


@pytest.mark.parametrize("prompt", ["a man walks his dog.", "", "a red car", "predicted circles", "an infrared circle"])
def test_a_prompt_without_a_coloured_shape_cannot_be_checked(prompt: str):
    check = check_film(film(("red", "circle")), prompt)
    assert (check.outcome, check.num_spans, check.wanted) == ("not_applicable", 0, "")


def test_the_subject_is_found_in_any_case_and_place():
    assert names_subject("On a grey ground a Blue Square moves up.") == ("blue", "square")
    assert names_subject("a red circle left of a blue square") == ("red", "circle")
