import itertools
from collections import Counter

import numpy as np
import pytest

from skyreels_platform.captioning.subjects import describe_subject
from tests.captioning.drawing import COLOURS, HEADINGS, SHAPES, camera_film, crude_codec, draw, film, texture

SEEN = list(itertools.product(COLOURS, SHAPES, HEADINGS))
SPEED = 0.016  # of the frame per frame


def moving(colour: str, shape: str, heading: str, number: int, num_frames: int) -> np.ndarray:
    """A subject that crosses the middle; background, size and brightness turn with `number`."""
    right, down = HEADINGS[heading]
    length = float(np.hypot(right, down))
    step = SPEED * right / length, SPEED * down / length
    background = texture(number, 128) if number % 3 == 0 else (40, 110, 190)[number // 3 % 3]
    return film(
        shape, colour, start=(0.5 - 8 * step[0], 0.5 - 8 * step[1]), step=step, size=(0.24, 0.3, 0.36)[number % 5 % 3],
        num_frames=num_frames, background=background,
    )


@pytest.mark.parametrize(("codec", "num_frames"), [("none", 9), ("crude", 17)])
def test_names_colour_shape_and_direction_over_the_whole_grid(codec: str, num_frames: int) -> None:
    right, wrong = Counter(), []
    for number, (colour, shape, heading) in enumerate(SEEN):
        frames = moving(colour, shape, heading, number, num_frames)
        finding = describe_subject(crude_codec(frames, number) if codec == "crude" else frames)
        if finding is None:
            wrong.append((colour, shape, heading, None))
            continue
        right.update(colour=finding.colour == colour, shape=finding.shape == shape, direction=finding.direction == heading)
        if (finding.name, finding.action) == (f"{colour} {shape}", f"moves {heading}"):
            right["all"] += 1
            assert finding.speed == pytest.approx(SPEED, rel=0.15)
        else:
            wrong.append((colour, shape, heading, finding.name, finding.action))
    shares = {name: right[name] / len(SEEN) for name in ("colour", "shape", "direction", "all")}
    assert shares["all"] >= 0.95, f"{shares}, e.g. {wrong[:10]}"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((0.2, 0.2), "upper left"), ((0.5, 0.2), "upper centre"), ((0.8, 0.5), "right"), ((0.5, 0.5), "centre"),
        ((0.2, 0.8), "lower left"),
    ],
)
def test_a_still_subject_has_a_position(place: tuple[float, float], name: str) -> None:
    finding = describe_subject(film("square", "blue", start=place))
    assert finding is not None
    assert (finding.position, finding.is_still, finding.action) == (name, True, "stands still")
    assert finding.place == pytest.approx(place, abs=0.01)
    assert finding.area == pytest.approx(0.28**2, rel=0.05)


def test_one_picture_is_enough_for_colour_and_shape() -> None:
    finding = describe_subject(film("triangle", "green", num_frames=1))
    assert finding is not None
    assert (finding.name, finding.is_still) == ("green triangle", True)


def test_sees_a_bounce_and_names_the_first_leg() -> None:
    places = [0.3 + 0.03 * min(index, 24 - index) for index in range(25)]
    frames = np.concatenate([film("circle", "yellow", start=(x, 0.5), num_frames=1) for x in places])
    finding = describe_subject(frames)
    assert finding is not None
    assert (finding.is_bouncing, finding.action) == (True, "moves right and bounces")
    assert finding.speed == pytest.approx(0.03, rel=0.1)


def test_a_long_bar_is_none_of_the_three_shapes() -> None:
    finding = describe_subject(film("bar", "red", size=0.5))
    assert finding is not None
    assert finding.name == "red shape"


def test_takes_the_cameras_motion_out() -> None:
    """A subject held in the middle of the frame by a camera that pans right moves right in the world."""
    finding = describe_subject(film("circle", "red"), drift=(0.01, 0.0, 0.0, 0.0))
    assert finding is not None
    assert finding.action == "moves right"
    assert finding.speed == pytest.approx(0.01, rel=0.05)


def test_clipped_by_the_frame_is_still_the_same_thing() -> None:
    finding = describe_subject(film("circle", "red", start=(0.05, 0.5), step=(0.03, 0.0)))
    assert finding is not None
    assert (finding.name, finding.direction) == ("red circle", "right")


def noise(deviation: float, side: int = 64) -> np.ndarray:
    generator = np.random.default_rng(3)
    gray = 128 + deviation * generator.normal(size=(17, side, side, 1))
    return np.clip(gray.repeat(3, axis=3), 0, 255).astype(np.uint8)


def two_subjects() -> np.ndarray:
    frames = film("circle", "red", start=(0.25, 0.5))
    return np.stack([draw(frame, "circle", COLOURS["green"], (96.0, 64.0), 34.0) for frame in frames])


def colour_gradient() -> np.ndarray:
    share = np.linspace(0, 1, 128)[None, :, None]
    return np.broadcast_to(share * (255, 40, 40) + (1 - share) * (60, 60, 200), (17, 128, 128, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(noise(40), id="gray noise"),
        pytest.param(np.random.default_rng(0).integers(0, 255, (17, 64, 64, 3), dtype=np.uint8), id="colour noise"),
        pytest.param(np.zeros((17, 64, 64, 3), np.uint8), id="black"),
        pytest.param(np.full((17, 64, 64, 3), (220, 30, 30), np.uint8), id="all red"),
        pytest.param(two_subjects(), id="two subjects of equal rank"),
        pytest.param(colour_gradient(), id="colour gradient"),
        pytest.param(film("circle", "red", size=0.04), id="a speck"),
        pytest.param(np.concatenate([film("circle", "red", num_frames=4), noise(2, side=128)[:13]]), id="seen briefly"),
        pytest.param(camera_film(texture(1), pan=0.1, subject=False), id="a textured world without a subject"),
    ],
)
def test_says_nothing_without_a_single_clear_subject(frames: np.ndarray) -> None:
    assert describe_subject(frames) is None


def test_jumps_are_no_motion() -> None:
    places = [(0.2, 0.2), (0.8, 0.8)] * 8
    frames = np.concatenate([film("circle", "red", start=place, num_frames=1) for place in places])
    assert describe_subject(frames) is None
