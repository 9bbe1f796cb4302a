"""Fingerprints and alignments of pictures that are made here: what must be the same, what must not, and where a part lies."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.alignment import Alignment, align
from skyreels_platform.curation.fingerprint import DIMENSIONS, MAX_PICTURES, SIDE, Fingerprint, Fingerprinter, describe, unpack
from skyreels_platform.curation.fingerprint import _inside as inside
from skyreels_platform.curation.signals.base import ShotInfo
from skyreels_platform.curation.tracks import Track
from skyreels_platform.media.sample_scene import Background, Camera, ScenePainter, SceneSpec, Subject

FPS = 24
EVERY = 3  # frames per picture

Film = list[np.ndarray]

cv2.setNumThreads(1)


@dataclass(frozen=True, kw_only=True)
class Seen:
    time_s: float
    picture: np.ndarray | None


def fingerprint(film: Film, *, fps: float = FPS, media: str = "video", start_s: float = 0.0) -> Fingerprint:
    height, width = film[0].shape[:2]
    shot = ShotInfo(media=media, num_frames=len(film), duration_s=len(film) / fps, fps=fps, width=width, height=height)
    maker = Fingerprinter(shot)
    for index, image in enumerate(film):
        maker.add(Seen(time_s=start_s + index / fps, picture=image if index % EVERY == 0 else None))
    return maker.result()


def track(film: Film) -> Track:
    made = fingerprint(film)
    return Track(made.times, made.pictures, marks=made.marks, colours=made.colours)


def scene(*, look: int = 1, velocity: tuple[float, float] = (0.2, 0.1), camera: str = "pan_left", speed: float = 0.1) -> Film:
    """Four seconds of a textured set with one subject."""
    spec = SceneSpec(
        num_frames=96, background=Background(kind="texture"), subject=Subject(colour="red", shape="circle", size=0.4, velocity=velocity),
        camera=Camera(motion=camera, speed=speed), look=look,
    )  # fmt: skip
    painter = ScenePainter(spec, width=160, height=90, fps=FPS, seed=0)
    return [painter.frame(index) for index in range(spec.num_frames)]


@pytest.fixture(scope="module")
def film() -> Film:
    return scene()


def crop(film: Film, share: float) -> Film:
    """The lower right part of this share of both sides, enlarged."""
    height, width = film[0].shape[:2]
    return [cv2.resize(image[round(height * (1 - share)):, round(width * (1 - share)):], (width, height)) for image in film]


def bars(film: Film) -> Film:
    return [np.pad(image, ((14, 14), (0, 0), (0, 0))) for image in film]


def subtitle(film: Film) -> Film:
    shown = [image.copy() for image in film]
    for image in shown:
        cv2.putText(image, "I did not expect you", (20, 84), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (255, 255, 255), 1, cv2.LINE_AA)
    return shown


def coded(film: Film, *, quality: int = 15) -> Film:
    """Blocks and ringing of a strong JPEG."""
    encoded = (cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for image in film)
    return [np.array(cv2.imdecode(content, cv2.IMREAD_COLOR)) for content in encoded]


COPIES: dict[str, Callable[[Film], Film]] = {
    "coded": coded,
    "half size": lambda film: [cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in film],
    "crop 80 % of the area": lambda film: crop(film, 0.9),
    "letterbox": bars,
    "subtitle": subtitle,
    "graded": lambda film: [cv2.convertScaleAbs(image, alpha=0.8, beta=12) for image in film],
    "letterbox and subtitle": lambda film: subtitle(bars(film)),
}


# ---- fingerprint ---------------------------------------------------------------------------------------------------------------


def test_a_fingerprint_has_eight_pictures_and_two_descriptors_a_second(film: Film):
    made = fingerprint(film, start_s=100.0)
    assert (made.media, made.duration_s) == ("video", pytest.approx(4.0))
    assert made.pictures.shape == (32, SIDE, SIDE)
    assert made.marks.tolist() == list(range(0, 32, 4))
    assert made.times.tolist() == pytest.approx(np.arange(32) / 8, abs=1e-5)
    assert made.vectors.shape == (8, DIMENSIONS)
    assert np.linalg.norm(made.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_equal_pictures_give_equal_bytes_and_bytes_give_the_pictures(film: Film):
    first, second = fingerprint(film), fingerprint([image.copy() for image in film])
    assert first.to_bytes() == second.to_bytes()
    assert first.vectors.tobytes() == second.vectors.tobytes()
    times, pictures = unpack(first.to_bytes())
    assert np.array_equal(times, first.times)
    assert np.array_equal(pictures, first.pictures)


def test_short_shots_have_three_descriptors_and_an_image_one(film: Film):
    assert len(fingerprint(film[:12]).marks) == 3
    image = fingerprint(film[:1], media="image")
    assert (len(image.marks), image.duration_s) == (1, 0.0)


def test_a_long_shot_is_thinned_evenly():
    shot = ShotInfo(media="video", num_frames=0, duration_s=0.0, fps=8, width=40, height=30)
    maker, image = Fingerprinter(shot), np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for index in range(5 * MAX_PICTURES):
        maker.add(Seen(time_s=index / 8, picture=image))
    made = maker.result()
    assert MAX_PICTURES / 2 < len(made.times) <= MAX_PICTURES
    assert np.allclose(np.diff(made.times), 1.0)
    assert len(made.marks) == len(made.times)  # a picture a second is less than two descriptors


@pytest.mark.parametrize("level", [0, 120, 255])
def test_a_flat_shot_has_no_descriptor_and_aligns_with_nothing(film: Film, level: int):
    flat = [np.full((90, 160, 3), level, np.uint8)] * 48
    assert len(fingerprint(flat).marks) == 0
    assert align(track(flat), track(flat)) is None
    assert align(track(flat), track(film)) is None


def test_bars_are_cut_away_whatever_stands_in_them(film: Film):
    whole = fingerprint(film).pictures.astype(int)
    for changed in (bars(film), subtitle(bars(film)), [np.pad(image, ((0, 0), (30, 30), (0, 0))) for image in film]):
        assert np.abs(fingerprint(changed).pictures.astype(int) - whole).mean() < 4
    assert np.abs(fingerprint([image[14:-14] for image in film]).pictures.astype(int) - whole).mean() > 8


@pytest.mark.parametrize("gain", [0.5, 0.35, 0.25])
def test_the_dark_edge_of_a_scene_is_no_border(film: Film, gain: float):
    """From left to right it grows lighter; at the left it is as dark as a bar may be, and darker in a copy of another grade."""
    shade = 0.15 + 0.85 * np.linspace(0, 1, 160)[None, :, None]
    dark = [np.round(image * shade * gain).astype(np.uint8) for image in film]
    kept = np.stack([cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)[:, :, 0] for image in dark])
    top, bottom, left, right = inside(kept)
    assert (top, bottom, right) == (0, 96, 96)
    assert left <= 14, "as black as a bar"
    boxed = inside(np.pad(kept, ((0, 0), (12, 12), (0, 0))))
    assert 12 <= boxed[0] <= 15
    assert 105 <= boxed[1] <= 108


@pytest.mark.parametrize("name", COPIES)
def test_descriptors_of_a_copy_lie_near_those_of_the_original_and_far_from_other_sets(film: Film, name: str):
    copy, original, other = (fingerprint(shown).vectors for shown in (COPIES[name](film), film, scene(look=9)))
    assert (copy * original).sum(axis=1).min() > 0.75
    assert (copy @ other.T).max() < 0.6


def test_a_green_ball_on_grey_of_its_luma_is_seen():
    pictures = np.full((1, 90, 160, 3), 123, np.uint8)
    cv2.circle(pictures[0], (60, 40), 20, (40, 170, 70), -1)
    assert len(fingerprint(list(pictures), media="image").marks) == 1


def test_describe_takes_no_pictures():
    assert describe(np.zeros((0, SIDE, SIDE), np.uint8)).shape == (0, DIMENSIONS)


# ---- alignment -----------------------------------------------------------------------------------------------------------------


def similarity(found: Alignment | None) -> float:
    return found.similarity if found else 0.0


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_whole(film: Film, name: str):
    found = align(track(COPIES[name](film)), track(film))
    assert similarity(found) > 0.8
    assert found is not None
    assert (found.start_s, found.other_start_s) == pytest.approx((0, 0), abs=0.15)
    assert found.duration_s == pytest.approx(3.87, abs=0.2)
    assert found.speed == pytest.approx(1, abs=0.05)


def faded(film: Film) -> Film:
    """Black for the first fifth, then it comes up."""
    length = len(film)
    return [cv2.convertScaleAbs(image, alpha=float(np.clip((place - 0.2 * length) / (0.3 * length), 0, 1)))
            for place, image in enumerate(film)]  # fmt: skip


def test_what_stands_on_the_black_of_a_fade_does_not_count(film: Film):
    found = align(track(subtitle(faded(film))), track(faded(film)))
    assert similarity(found) > 0.8
    assert found is not None
    assert found.duration_s > 2.5
    assert similarity(align(track(subtitle(faded(film))), track(faded(scene(look=9))))) < 0.5
    black = [np.zeros_like(image) for image in film]
    assert align(track(subtitle(black)), track(faded(film))) is None


def test_a_trimmed_part_is_found_where_it_lies(film: Film):
    found = align(track(film[36:84]), track(film))
    assert similarity(found) > 0.9
    assert found is not None
    assert (found.start_s, found.other_start_s) == pytest.approx((0, 1.5), abs=0.1)
    back = align(track(film), track(film[36:84]))
    assert back is not None
    assert (back.start_s, back.other_start_s) == pytest.approx((1.5, 0), abs=0.1)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_a_changed_speed_is_found(film: Film, speed: float):
    played = [film[min(95, round(index * speed))] for index in range(round(96 / speed))]
    found = align(track(played), track(film))
    assert similarity(found) > 0.8
    assert found is not None
    assert found.speed == pytest.approx(speed, abs=0.04)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("another subject's path", scene(velocity=(-0.2, 0.1))),
        ("another camera", scene(camera="tilt_up")),
        ("another set", scene(look=2)),
        ("another colour", [image[..., ::-1].copy() for image in scene()]),
    ],
)
def test_what_is_merely_similar_is_no_copy(film: Film, name: str, other: Film):
    assert similarity(align(track(other), track(film))) < 0.8, name


def test_a_still_shot_matches_its_copy_and_no_other_still_shot(film: Film):
    one, two = [film[0]] * 48, [scene(look=3)[0]] * 48
    assert similarity(align(track(coded(one)), track(one))) > 0.8
    assert similarity(align(track(one), track(two))) < 0.8


def plain(*, shape: str = "circle", size: float = 0.42, aside: float = 0.0, num_frames: int = 60) -> Film:
    """One thing that crosses a plain wall once, however long the shot is: nearly every other such shot is a crop of it at some speed."""
    subject = Subject(
        colour="yellow", shape=shape, size=size, position=(0.3, 0.5 + aside), velocity=(0.7 * FPS / num_frames, 0.0),
    )  # fmt: skip
    spec = SceneSpec(num_frames=num_frames, background=Background(kind="plain"), subject=subject)
    painter = ScenePainter(spec, width=160, height=90, fps=FPS, seed=0)
    return [painter.frame(index) for index in range(num_frames)]


def before_another_wall(film: Film) -> Film:
    """The same, but the wall is a little redder and less blue; its light stays."""
    wall = film[0][0, 0].astype(np.int16)
    is_wall = [np.abs(image.astype(np.int16) - wall).max(axis=-1, keepdims=True) < 12 for image in film]
    return [np.where(there, image + np.array([7, -2, -8]), image).astype(np.uint8) for image, there in zip(film, is_wall, strict=True)]


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(lambda film: coded(film, quality=25), id="coded"),  # at 15 the wall's tint is gone, by which takes are told apart
        pytest.param(bars, id="letterbox"),
        pytest.param(subtitle, id="subtitle"),
        pytest.param(lambda film: film[12:], id="trimmed"),
        pytest.param(lambda film: crop(film, 0.92), id="cropped"),
        pytest.param(lambda film: [film[min(59, round(1.2 * index))] for index in range(50)], id="faster"),
        pytest.param(lambda film: subtitle([cv2.convertScaleAbs(image, alpha=1.08) for image in film]), id="brighter, subtitle"),
    ],
)
def test_a_copy_of_a_plain_shot_is_found_by_one_change(copy: Callable[[Film], Film]):
    assert similarity(align(track(copy(plain())), track(plain()))) > 0.8


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(plain(aside=0.06), id="path"),
        pytest.param(plain(size=0.36, num_frames=54), id="size and speed"),
        pytest.param(plain(shape="square"), id="shape"),
        pytest.param(subtitle(plain(shape="square")), id="shape, under a subtitle"),
        pytest.param(before_another_wall(plain()), id="wall"),
        pytest.param([crop(plain(num_frames=50), 0.92)[index] for index in range(50)][6:], id="cropped, faster and trimmed"),
    ],
)
def test_another_take_of_a_plain_shot_is_no_copy_although_a_crop_at_some_speed_fits(other: Film):
    assert similarity(align(track(other), track(plain()))) < 0.8
    assert similarity(align(track(plain()), track(other))) < 0.8
