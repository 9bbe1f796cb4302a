"""What a crop leaves of subtitles, logos and stickers, and how pools judge it."""

from dataclasses import replace

import numpy as np
import pytest

from skyreels_platform.curation.crop import AVOIDED, CROP_VERSION
from skyreels_platform.curation.pools import judge
from skyreels_platform.curation.signals import SIGNALS, Region, Score, ShotInfo
from skyreels_platform.curation.signals.logo_after_crop import LogoAfterCrop
from skyreels_platform.curation.signals.sticker_after_crop import StickerAfterCrop
from skyreels_platform.curation.signals.subtitle_after_crop import CROP_MAKERS, SubtitleAfterCrop
from skyreels_platform.media.sample_overlays import draw_overlays
from skyreels_platform.recipe import load_recipe
from tests.curation.signals.overlay_shots import texture_clip

SHOT = ShotInfo(media="video", num_frames=48, duration_s=2.0, fps=24, width=640, height=360)
LOW = Region(kind="subtitle", x0=0.2, y0=0.86, x1=0.8, y1=0.94)
MIDDLE = Region(kind="subtitle", x0=0.2, y0=0.6, x1=0.8, y1=0.68)
MARK = Region(kind="logo", x0=0.03, y0=0.04, x1=0.13, y1=0.12)


def _score(kind, value: float | None, regions: list[Region], reason: str = "", outcome: str | None = None) -> Score:
    signal = kind(SHOT)
    scores = {name: SIGNALS[name].measured(0.0) for name in AVOIDED}
    first = SIGNALS[kind.of].measured(value) if value is not None else SIGNALS[kind.of].unknown(reason)
    scores[kind.of] = first if outcome is None else replace(first, outcome=outcome)
    signal.settle(scores, regions)
    return signal.result()


def test_a_subtitle_that_the_crop_avoids_is_gone_and_the_remark_says_so():
    score = _score(SubtitleAfterCrop, 0.048, [LOW])
    assert score.value == 0
    assert score.reason == "crop cropped: avoids subtitle"


def test_a_subtitle_that_no_crop_avoids_keeps_its_value():
    score = _score(SubtitleAfterCrop, 0.048, [MIDDLE])
    assert score.value == pytest.approx(0.048)
    assert score.reason.startswith("crop refused: subtitle: the largest clean rectangle takes")


def test_bars_make_the_same_text_a_larger_share_of_what_is_left():
    bar = Region(kind="letterbox", x0=0.0, y0=0.0, x1=1.0, y1=0.2)
    assert _score(SubtitleAfterCrop, 0.048, [MIDDLE, bar]).value == pytest.approx(0.048 / 0.8, rel=0.01)


def test_text_on_a_bar_is_cut_with_it():
    bar = Region(kind="letterbox", x0=0.0, y0=0.84, x1=1.0, y1=1.0)
    score = _score(SubtitleAfterCrop, 0.048, [LOW, bar])
    assert score.value == 0
    assert score.reason == "crop cropped: avoids letterbox"


def test_one_mark_that_shows_is_enough_for_the_whole_confidence():
    other = Region(kind="logo", x0=0.88, y0=0.88, x1=0.97, y1=0.96)
    assert _score(LogoAfterCrop, 0.9, [MARK]).value == 0
    assert _score(LogoAfterCrop, 0.9, [MARK, other]).value == pytest.approx(0.9)  # nothing clean is larger than 80 %


def test_a_confidence_without_a_place_stays():
    assert _score(LogoAfterCrop, 0.2, []).value == pytest.approx(0.2)


def test_unknown_stays_unknown_for_the_same_reason():
    score = _score(StickerAfterCrop, None, [], "the picture does not move")
    assert (score.outcome, score.reason) == ("unknown", "the picture does not move")


def test_not_applicable_stays_so():
    score = _score(StickerAfterCrop, None, [], "one picture", "not_applicable")
    assert score.outcome == "not_applicable"


def test_the_version_follows_everything_that_moves_the_crop():
    assert {kind.name for kind in CROP_MAKERS} == set(AVOIDED)
    for kind in (SubtitleAfterCrop, LogoAfterCrop, StickerAfterCrop):
        assert CROP_VERSION in kind.version
        assert all(f"{maker.name}-{maker.version}" in kind.version for maker in CROP_MAKERS)


@pytest.mark.parametrize(("place", "verdict"), [(226, "pass"), (190, "fail")], ids=["low enough to crop", "too high to crop"])
def test_the_540p_pool_judges_the_picture_that_trains(bench, place: int, verdict: str):
    clip = texture_clip(48, size=(480, 270), seed=3)
    draw_overlays(canvas := np.zeros_like(clip), ["subtitle"], seed=1, fps=24)  # white letters, dark outline, at the bottom
    rows = np.flatnonzero(canvas[-1].max(axis=(1, 2)) > 128)
    text = canvas[-1, rows[0] - 3 : rows[-1] + 4]
    clip[:, place : place + len(text)] = np.where(text > 90, text, clip[:, place : place + len(text)])
    scores, _ = bench.measured(list(clip))
    bounds = load_recipe("laptop").pools["540p"].bounds
    assert scores["subtitle"].value > bounds["subtitle_after_crop"].max
    found = judge(scores, {"subtitle_after_crop": bounds["subtitle_after_crop"]})
    assert found.verdict == verdict
    if verdict == "fail":
        assert "crop refused: subtitle" in found.reasons[0]
    else:
        assert scores["subtitle_after_crop"].reason == "crop cropped: avoids subtitle"
