"""Shake, slide shows, flicker and repeated frames of known amount."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals.cadence import Cadence
from skyreels_platform.curation.signals.flicker import Flicker
from skyreels_platform.curation.signals.playback import Playback
from skyreels_platform.curation.signals.shake import Shake
from skyreels_platform.curation.signals.slideshow import Slideshow
from skyreels_platform.curation.signals.static import Static
from skyreels_platform.media.pyramid import pyramid
from tests.curation.signals.degraded import dropped, levels, rendered, scores, value

HEIGHT, WIDTH = 144, 256


@pytest.fixture(scope="module")
def world(bench) -> np.ndarray:
    return bench.noise(2 * HEIGHT, 2 * WIDTH, 2.5)


def camera(
    world: np.ndarray, path: Callable[[float], tuple[float, float]], fps: float = 24, seconds: float = 2.0,
    turn: Callable[[float], float] = lambda time: 0.0,
) -> list[np.ndarray]:
    """A camera whose middle follows a path (heights right and down over seconds) and that turns (radians)."""
    frames = []
    for index in range(round(fps * seconds)):
        time = index / fps
        x, y = (HEIGHT * part for part in path(time))
        cos, sin = np.cos(turn(time)), np.sin(turn(time))
        middle = np.array([WIDTH + x, HEIGHT + y])
        view = np.array([[cos, -sin], [sin, cos]])
        to_world = np.column_stack([view, middle - view @ np.array([WIDTH / 2, HEIGHT / 2])])
        frame = cv2.warpAffine(
            world.astype(np.uint8), to_world, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP,
        )
        frames.append(np.repeat(frame[..., None], 3, axis=2))
    return frames


# ---- shake ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [(0.0, 0.0), (0.2, 0.0), (-0.6, 0.3)])
def test_a_smooth_pan_is_no_shake(world: np.ndarray, speed: tuple[float, float]) -> None:
    assert value(Shake, camera(world, lambda time: (speed[0] * time, speed[1] * time))) < 0.01 + 0.02 * np.hypot(*speed)


def test_a_pan_that_gathers_speed_and_stops_is_no_shake(world: np.ndarray) -> None:
    assert value(Shake, camera(world, lambda time: (0.25 * (1 - np.cos(np.pi * time / 2)), 0.0))) < 0.02


@pytest.mark.parametrize(("amplitude", "hertz"), [(0.01, 2.0), (0.03, 2.0), (0.01, 3.0), (0.03, 1.0)])
def test_shake_of_known_amplitude(world: np.ndarray, amplitude: float, hertz: float) -> None:
    def path(time: float) -> tuple[float, float]:
        return 0.1 * time, amplitude * float(np.sin(2 * np.pi * hertz * time + 0.4))

    expected = 4 * amplitude * hertz * (1 - np.cos(2 * np.pi * hertz / 8))
    expected *= np.sinc(hertz / 8)  # displacement over 1/8 s is less than speed
    assert value(Shake, camera(world, path, seconds=4.0)) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("fps", [16, 25, 60])
def test_shake_does_not_depend_on_the_frame_rate(world: np.ndarray, fps: int) -> None:
    frames = camera(world, lambda time: (0.0, 0.02 * float(np.sin(4 * np.pi * time))), fps=fps, seconds=3.0)
    found = value(Shake, frames, fps)
    assert found == pytest.approx(0.153, rel=0.2)


def test_a_roll_to_and_fro_shakes_too(world: np.ndarray) -> None:
    assert value(Shake, camera(world, lambda time: (0.0, 0.0), turn=lambda time: 0.02 * float(np.sin(4 * np.pi * time)))) > 0.04


def test_shake_is_unknown_on_plain_ground_and_in_a_glimpse(world: np.ndarray, bench) -> None:
    discs = [bench.disc(144, 0.2 + 0.02 * index, 0.5, 0.1, (200, 40, 40), (110, 110, 110)) for index in range(24)]
    assert scores([Shake], levels(discs, 24), 24)["shake"].outcome == "unknown"
    assert scores([Shake], levels(camera(world, lambda time: (0.0, 0.0), seconds=0.25), 24), 24)["shake"].outcome == "unknown"


def test_hand_held_and_fixed_cameras_of_real_footage(footage: Path) -> None:
    found = {}
    for name in ("intel_asl_book.mkv", "mdn_flower.mp4", "mpy_chaplin.mp4", "mdn_crystal.mp4", "mdn_elf.mp4"):
        fps = 25 if name == "mpy_chaplin.mp4" else 30
        found[name] = scores([Shake], list(pyramid(footage / "videos" / name, stop=60)), fps)["shake"].value
    fixed, held = list(found.values())[:3], list(found.values())[3:]
    assert max(fixed) < 0.02
    assert min(held) > 0.06


# ---- slide shows ---------------------------------------------------------------------------------------------------------------


def _slides(bench, num_slides: int, hold: int = 20) -> list[np.ndarray]:
    pictures = [bench.rgb(bench.noise(HEIGHT, WIDTH, 8.0, seed)) for seed in range(num_slides)]
    return [picture for picture in pictures for _ in range(hold)]


def test_held_pictures_joined_by_jumps_are_a_slide_show(bench) -> None:
    frames = _slides(bench, 4)
    assert value(Slideshow, frames) == 1
    noisy = [np.clip(frame + np.random.default_rng(i).normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for i, frame in enumerate(frames)]
    assert value(Slideshow, noisy) == 1


def test_dissolves_between_slides_belong_to_the_show(bench) -> None:
    first, second = _slides(bench, 2, 1)
    mixes = [cv2.addWeighted(first, 1 - share, second, share, 0) for share in np.linspace(0, 1, 18)]
    assert value(Slideshow, [first] * 20 + mixes + [second] * 20) == 1


def test_what_is_held_but_no_slide_show(world: np.ndarray, bench) -> None:
    picture = _slides(bench, 1, 1)[0]
    pan = camera(world, lambda time: (0.3 * time, 0.0), seconds=3)
    assert value(Slideshow, [picture] * 48) == 0
    assert value(Static, [picture] * 48) == 1
    assert value(Slideshow, pan) == 0
    assert value(Slideshow, [*pan, *[pan[-1]] * 40]) == 0  # a scene that ends in a freeze
    assert value(Slideshow, [*[pan[0]] * 24, *pan, *[pan[-1]] * 24]) == 0  # two freezes, 3 s of film between them
    assert value(Slideshow, [picture] * 24 + [np.zeros_like(picture)] * 24) == 0  # then black


def test_a_subject_that_jumps_before_a_still_ground_is_no_slide_show(bench) -> None:
    places = [bench.disc(144, x, 0.5, 0.12, (200, 40, 40), (110, 110, 110)) for x in (0.2, 0.4, 0.6, 0.8)]
    assert value(Slideshow, [place for place in places for _ in range(16)]) == 0


def test_a_slide_show_within_a_film_is_a_share(world: np.ndarray, bench) -> None:
    pan = camera(world, lambda time: (0.3 * time, 0.0), seconds=2)
    assert value(Slideshow, [*_slides(bench, 3, 16), *pan]) == pytest.approx(0.5, abs=0.03)


# ---- flicker -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels_", [1, 2, 5])
def test_flicker_of_known_amplitude(bench, levels_: int) -> None:
    texture = bench.noise(HEIGHT, WIDTH, 4.0) * 0.7 + 30
    assert value(Flicker, [bench.rgb(texture + levels_ * (-1) ** index) for index in range(48)]) == pytest.approx(levels_, rel=0.1)


def test_fades_flashes_and_pans_are_no_flicker(world: np.ndarray, bench) -> None:
    texture = bench.noise(HEIGHT, WIDTH, 4.0) * 0.7 + 30
    assert value(Flicker, [bench.rgb(texture * index / 47) for index in range(48)]) < 0.1
    flash = [bench.rgb(texture)] * 48
    flash[20] = np.full_like(flash[0], 250)
    assert value(Flicker, flash) < 0.05
    assert value(Flicker, camera(world, lambda time: (0.5 * time, 0.0))) < 0.4


def test_flicker_of_a_part_counts_by_its_length(bench) -> None:
    texture = bench.noise(HEIGHT, WIDTH, 4.0) * 0.7 + 30
    frames = [bench.rgb(texture + (4 * (-1) ** index if index < 48 else 0)) for index in range(96)]
    assert value(Flicker, frames) == pytest.approx(2, rel=0.1)


# ---- repeated frames -----------------------------------------------------------------------------------------------------------


def _shown(frames: list[np.ndarray], rate: float, num_frames: int) -> list[np.ndarray]:
    """Each shown frame is the newest one: `rate` film frames per shown frame."""
    return [frames[int(index * rate + 1e-9)] for index in range(num_frames)]


@pytest.mark.parametrize(("rate", "share"), [(1.0, 0.0), (0.8, 0.2), (0.5, 0.5), (1 / 3, 2 / 3), (0.4, 0.6), (5 / 6, 1 / 6), (0.96, 0.04)])
def test_cadence_is_the_share_of_repeats(world: np.ndarray, rate: float, share: float) -> None:
    film = camera(world, lambda time: (0.3 * time, 0.1 * time), seconds=5)
    assert value(Cadence, _shown(film, rate, 110), 30) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(("rate", "share"), [(1.0, 0.0), (0.5, 0.5)])
def test_a_small_subject_is_enough(bench, rate: float, share: float) -> None:
    ground = bench.noise(144, 144, 4.0)[..., None] * 0.3 + 80
    film = []
    for index in range(60):
        disc = bench.disc(144, 0.2 + 0.01 * index, 0.5, 0.15, (220, 60, 60), (0, 0, 0))
        film.append(np.where(disc.any(axis=2, keepdims=True), disc, ground).astype(np.uint8))
    assert value(Cadence, _shown(film, rate, 48)) == pytest.approx(share, abs=0.05)


def test_repeats_without_a_rhythm_count_less() -> None:
    frames = dropped(rendered(1, num_frames=96), 0.3)
    assert value(Cadence, frames) < 0.24


def test_a_freeze_is_no_cadence(world: np.ndarray) -> None:
    film = camera(world, lambda time: (0.3 * time, 0.0), seconds=2)
    assert value(Cadence, [*film[:24], *[film[24]] * 24, *film[24:]]) < 0.02


def test_a_scene_that_rests_says_nothing_about_repeats() -> None:
    found = scores([Cadence], levels([rendered(1)[0]] * 48, 24), 24)["cadence"]
    assert found.outcome == "unknown"
    assert "0.5 s of motion" in found.reason


def test_repeats_of_real_footage(footage: Path) -> None:
    """jet_sintel slows down by showing frames twice, mpy_chaplin shows about 17 frames per second at 25; mdn_elf shows each once."""
    found = {
        name: scores([Cadence], list(pyramid(footage / "videos" / name, start=start, stop=stop, small_only=True)), 25)["cadence"].value
        for name, start, stop in (("jet_sintel.mp4", 72, 110), ("mpy_chaplin.mp4", 0, 241), ("mdn_elf.mp4", 0, 120))
    }
    assert found["jet_sintel.mp4"] == pytest.approx(0.5, abs=0.12)
    assert found["mpy_chaplin.mp4"] == pytest.approx(0.3, abs=0.06)
    assert found["mdn_elf.mp4"] == pytest.approx(0, abs=0.03)


# ---- playback ------------------------------------------------------------------------------------------------------------------


def test_nobody_claims_to_know_the_direction_of_time() -> None:
    found = scores([Playback], levels(rendered(1)[::-1], 24), 24)["playback"]
    assert (found.value, found.outcome) == (None, "unknown")
    assert "needs a model" in found.reason
    assert scores([Playback], levels(rendered(1)[:1], 24), 0.0, media="image")["playback"].outcome == "not_applicable"
