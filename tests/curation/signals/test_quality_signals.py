"""Blocks, clipping, grain and the quality estimators against known damage."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals.aesthetic import Aesthetic
from skyreels_platform.curation.signals.base import Score, Signal
from skyreels_platform.curation.signals.bits_per_pixel import BitsPerPixel
from skyreels_platform.curation.signals.blockiness import Blockiness, blockiness
from skyreels_platform.curation.signals.clipped import Clipped
from skyreels_platform.curation.signals.iqa import PictureQuality
from skyreels_platform.curation.signals.noise import Noise
from skyreels_platform.curation.signals.vqa import VideoQuality
from skyreels_platform.curation.signals.vtss import TrainingSuitability
from skyreels_platform.media.decode import frames as decode_frames
from tests.curation.signals.degraded import (
    CRFS,
    LADDERS,
    encoded,
    grain,
    jpeg,
    levels,
    rank_correlation,
    rendered,
    rescaled,
    scores,
    value,
)

ESTIMATORS: tuple[type[Signal], ...] = (PictureQuality, VideoQuality, Aesthetic, TrainingSuitability)
SEEN_BY = {
    "blur": ("iqa", "vqa", "aesthetic", "vtss"), "jpeg": ("iqa", "vqa", "aesthetic", "vtss"), "noise": ("iqa", "vqa", "aesthetic"),
    "dark": ("iqa", "vqa", "aesthetic", "vtss"), "rescale": ("iqa", "vqa", "aesthetic", "vtss"), "drops": ("vtss",),
    "shake": ("vqa",), "flicker": ("vqa", "vtss"), "h264": ("iqa", "vqa", "aesthetic", "vtss"),
}
"""Which estimator must fall with which damage."""
REAL = (
    ("mdn_crystal.mp4", 30), ("mdn_rabbit.mp4", 30), ("mango_sintel.mp4", 140), ("intel_car.mp4", 40), ("intel_asl_book.mkv", 5),
    ("mdn_flower.mp4", 20), ("mdn_elf.mp4", 30), ("ar_sintel.mp4", 140), ("psd_testvideo.mp4", 430), ("mpy_chaplin.mp4", 20),
    ("vdf_cat.1.mp4", 400), ("tc_nasa_13013.mp4", 230),
)
"""Film and first frame: a stretch of 32 frames within one shot."""


def climb(name: str, frames: Sequence[np.ndarray], fps: int, kinds: Sequence[type[Signal]]) -> dict[str, float]:
    """Rank correlation of each signal with one kind of damage to one clip."""
    damage, strengths = LADDERS.get(name, (None, CRFS))
    rows = []
    for strength in strengths:
        if damage is None:
            with tempfile.TemporaryDirectory() as folder:
                seen = encoded(frames, fps, Path(folder), int(strength))
        else:
            seen = levels(damage(frames, strength), fps)
        rows.append(scores(kinds, seen, fps))
    return {kind.name: rank_correlation(strengths, [row[kind.name].value or 0.0 for row in rows]) for kind in kinds}


@pytest.mark.parametrize("name", SEEN_BY)
def test_estimators_fall_with_damage(name: str) -> None:
    kinds = [kind for kind in ESTIMATORS if kind.name in SEEN_BY[name]]
    found = [climb(name, rendered(number, size=(240, 136)), 24, kinds) for number in (1, 2)]
    for kind in kinds:
        assert np.mean([row[kind.name] for row in found]) <= -0.8, kind.name


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("source", ["drawn", "unseen", "real"])
def test_rank_correlations(source: str, request: pytest.FixtureRequest) -> None:
    """Prints the table that `curation.quality` and the README quote. The formulas were settled on `drawn` and `real`."""
    if source != "real":
        clips = [(rendered(number, num_frames=32), 24) for number in (range(6) if source == "drawn" else range(100, 106))]
    else:
        footage: Path = request.getfixturevalue("footage")
        clips = [_stretch(footage / "videos" / name, start) for name, start in REAL]
    kinds = (*ESTIMATORS, Blockiness)
    print(f"\n{source:10s}" + "".join(f"{kind.name:>12s}" for kind in kinds))
    table = {}
    for name in (*LADDERS, "h264"):
        found = [climb(name, frames, fps, kinds) for frames, fps in clips]
        table[name] = {kind.name: float(np.mean([row[kind.name] for row in found])) for kind in kinds}
        print(f"{name:10s}" + "".join(f"{table[name][kind.name]:+12.2f}" for kind in kinds))
    for name in ("blur", "jpeg", "noise", "dark", "rescale"):
        assert table[name]["iqa"] <= -0.9
        assert table[name]["vqa"] <= -0.85
    for name in ("shake", "flicker"):
        assert table[name]["vqa"] <= -0.85
    assert table["h264"]["iqa"] <= -0.75
    assert table["jpeg"]["blockiness"] >= 0.95


def _stretch(path: Path, start: int) -> tuple[list[np.ndarray], int]:
    pictures = [frame.image for frame in decode_frames(path, start=start, stop=start + 32)]
    height, width = pictures[0].shape[:2]
    scale = min(1.0, 360 / height)
    size = round(width * scale), round(height * scale)
    return [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures], 25


def test_the_better_of_two_is_better_on_real_footage(footage: Path) -> None:
    """mdn_rabbit320 is mdn_rabbit at less than half its size."""
    pictures = {name: _stretch(footage / "videos" / name, 30)[0] for name in ("mdn_rabbit.mp4", "mdn_rabbit320.mp4")}
    found = {name: value(PictureQuality, frames, 30) for name, frames in pictures.items()}
    assert found["mdn_rabbit.mp4"] > found["mdn_rabbit320.mp4"]


@pytest.mark.parametrize("number", [1, 2])
def test_estimators_lie_between_0_and_1(number: int) -> None:
    for damage, strength in ((jpeg, 0), (jpeg, 95), (grain, 40), (rescaled, 8)):
        for score in scores(ESTIMATORS, levels(damage(rendered(number), strength), 24), 24).values():
            assert score.value is not None
            assert 0 < score.value < 1


def test_equal_pictures_give_equal_scores_wherever_they_lie_in_memory() -> None:
    frames = rendered(3)
    shifted = []
    for offset, frame in enumerate(frames):
        room = np.empty(frame.size + 64, np.uint8)
        room[offset % 31 : offset % 31 + frame.size] = frame.ravel()
        shifted.append(room[offset % 31 : offset % 31 + frame.size].reshape(frame.shape))
    kinds = (*ESTIMATORS, Blockiness, Clipped, Noise)
    assert scores(kinds, levels(frames, 24), 24) == scores(kinds, levels(shifted, 24), 24)


def test_a_black_shot_has_no_quality() -> None:
    for score in scores(ESTIMATORS, levels([np.zeros((90, 160, 3), np.uint8)] * 8, 24), 24).values():
        assert (score.value, score.outcome) == (None, "unknown")


def test_an_image_has_picture_quality_and_no_video_quality() -> None:
    found = scores((*ESTIMATORS, BitsPerPixel), levels(rendered(1)[:1], 24), 0.0, media="image")
    assert {name: score.outcome for name, score in found.items()} == {
        "iqa": "measured", "aesthetic": "measured", "vqa": "not_applicable", "vtss": "not_applicable", "bits_per_pixel": "not_applicable",
    }


def test_a_frozen_shot_does_not_suit_training() -> None:
    frames = rendered(1)
    assert value(TrainingSuitability, [frames[0]] * 24) == pytest.approx(0, abs=1e-6)
    assert value(PictureQuality, [frames[0]] * 24) > 0.2


# ---- blocks --------------------------------------------------------------------------------------------------------------------


def test_blocks_of_known_height() -> None:
    generator = np.random.default_rng(0)
    blocks = np.kron(generator.choice([-2.0, 2.0], (40, 40)), np.ones((8, 8)))  # half of the neighbours differ by 4
    smooth = cv2.GaussianBlur(generator.normal(0, 40, (320, 320)), (0, 0), 6)
    picture = np.clip(128 + smooth + blocks, 0, 255).astype(np.uint8)
    assert blockiness(picture) == pytest.approx(1.9, rel=0.2)
    assert blockiness(np.ascontiguousarray(picture[3:, 5:])) == pytest.approx(0, abs=0.2)  # the same blocks off the grid
    assert blockiness(np.clip(128 + smooth, 0, 255).astype(np.uint8)) == pytest.approx(0, abs=0.1)


def test_lines_of_a_drawing_on_the_grid_are_no_blocks() -> None:
    picture = np.full((320, 320), 90, np.uint8)
    picture[:, 160:] = 200
    assert blockiness(picture) == 0


def test_blockiness_follows_jpeg() -> None:
    found = [value(Blockiness, jpeg(rendered(1), strength)[:1]) for strength in (0, 40, 70, 90)]
    assert found == sorted(found)
    assert found[0] < 0.5
    assert found[-1] > 3


def test_a_picture_of_less_than_two_blocks_is_unknown() -> None:
    assert scores([Blockiness], levels([np.zeros((12, 12, 3), np.uint8)], 24), 24)["blockiness"].outcome == "unknown"


# ---- clipping ------------------------------------------------------------------------------------------------------------------


def test_clipped_share() -> None:
    picture = np.full((100, 200, 3), 120, np.uint8)
    picture[10:40, 20:120] = 255
    picture[50:70, :50] = 0
    assert value(Clipped, [picture]) == pytest.approx(0.2, abs=0.002)


def test_black_borders_are_not_crushed() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[15:85, 10:190] = 120
    assert value(Clipped, [picture]) == 0
    picture[20:55] = 0
    assert value(Clipped, [picture]) == pytest.approx(0.5, abs=0.002)


def test_a_black_picture_is_clipped_altogether() -> None:
    assert value(Clipped, [np.zeros((90, 160, 3), np.uint8)]) == 1


# ---- grain ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [2, 4, 8, 16])
def test_grain_of_known_deviation(deviation: int) -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 60, (180, 320)), (0, 0), 12) + 128
    luma = smooth + deviation * np.random.default_rng(2).normal(size=smooth.shape)
    picture = np.repeat(np.clip(np.rint(luma), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    assert value(Noise, [picture]) == pytest.approx(deviation, rel=0.25)


def test_edges_and_ramps_are_no_grain() -> None:
    picture = np.repeat(np.tile(np.linspace(30, 220, 320), (180, 1))[..., None], 3, axis=2).astype(np.uint8)
    picture[40:120, 60:150] = (200, 60, 60)
    assert value(Noise, [picture]) < 0.5


def test_the_letters_of_a_title_card_are_no_grain() -> None:
    card = np.zeros((180, 320, 3), np.uint8)
    cv2.putText(card, "A title", (60, 100), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 2, cv2.LINE_AA)
    found: Score = scores([Noise], levels([card], 24), 24)["noise"]
    assert found.outcome == "unknown"
    assert "a third" in found.reason


# ---- bits ----------------------------------------------------------------------------------------------------------------------


def test_bits_per_pixel() -> None:
    seen = levels(rendered(0)[:2], 25)
    found = scores([BitsPerPixel], seen, 25.0, width=1920, height=1080, bitrate=5_184_000)["bits_per_pixel"]
    assert found.value == pytest.approx(0.1)
    assert scores([BitsPerPixel], seen, 25.0)["bits_per_pixel"].reason == "the source states no bitrate"
    assert scores([BitsPerPixel], seen, 0.0, bitrate=1000)["bits_per_pixel"].outcome == "unknown"
