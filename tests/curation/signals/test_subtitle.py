"""Burnt-in subtitles."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals import text_track
from skyreels_platform.curation.signals.base import Region, Score
from skyreels_platform.curation.signals.subtitle import Subtitle
from skyreels_platform.curation.signals.text_lines import Strokes, TextLine, strokes, text_lines
from skyreels_platform.curation.signals.text_track import TextTrack
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_overlays import Kind, OverlayTruth, draw_overlays
from tests.curation.signals.overlay_shots import (
    drawn_shot,
    measure,
    rendered_shot,
    samples_of,
    texture_clip,
)


def _subtitle(clip: np.ndarray) -> Subtitle:
    signal = measure(Subtitle, *drawn_shot(clip))
    assert isinstance(signal, Subtitle)
    return signal


def _value(score: Score) -> float:
    assert score.outcome == "measured", score.reason
    assert score.value is not None
    return score.value


@pytest.mark.parametrize("pan", [6.0, 0.0], ids=["the picture moves", "the picture is at rest"])
@pytest.mark.parametrize("seed", range(4))
def test_a_subtitle_is_found_where_it_stands_and_nothing_where_none_is(pan: float, seed: int) -> None:
    clip = texture_clip(pan=pan, seed=seed)
    assert _value(_subtitle(clip).result()) == 0
    truths = draw_overlays(clip, ["subtitle"], seed=seed, fps=16)
    signal = _subtitle(clip)
    assert 0.001 < _value(signal.result()) < 0.3
    assert all(any(_overlap(truth, region) for truth in truths) for region in signal.regions())


def test_text_on_a_letterbox_bar_is_found_and_the_bar_is_not() -> None:
    clip = texture_clip()
    clip[:, :40], clip[:, -40:] = 0, 0
    assert _value(_subtitle(clip).result()) == 0
    clip[:, -40:] = _line_of_text(40, clip.shape[2])
    signal = _subtitle(clip)
    assert _value(signal.result()) > 0.005
    assert all(region.y0 > 0.8 for region in signal.regions())


def test_text_that_changes_in_the_middle_of_the_shot_is_one_subtitle() -> None:
    clip = texture_clip(48)
    for start, text in ((0, "We leave at dawn."), (24, "Listen to the sea, it never lies.")):
        _write(clip[start : start + 24], text, 240)
    assert _value(_subtitle(clip).result()) > 0.005


def test_a_sign_that_moves_with_the_scene_is_no_subtitle() -> None:
    clip = texture_clip()
    for index, frame in enumerate(clip):
        _write(frame[None], "Hotel Astoria", 250 - 3 * index)
    assert _value(_subtitle(clip).result()) == 0


def test_text_that_the_frame_cuts_off_was_not_laid_over_it() -> None:
    for baseline, is_subtitle in ((240, True), (271, False)):
        clip = texture_clip()
        _write(clip, "We leave at dawn.", baseline)
        assert (_value(_subtitle(clip).result()) > 0) == is_subtitle


def test_a_mark_in_the_corner_is_left_to_the_logo() -> None:
    clip = texture_clip()
    draw_overlays(clip, ["watermark"], seed=3, fps=16)
    assert _value(_subtitle(clip).result()) == 0


@pytest.mark.parametrize(("surer", "is_kept"), [(0.9, True), (0.7, False)])
def test_of_a_line_seen_by_its_letters_and_by_their_outline_the_surer_counts(
    monkeypatch: pytest.MonkeyPatch, surer: float, is_kept: bool
) -> None:
    seen = [TextLine(x0=0.89, y0=0.12, x1=0.92, y1=0.88, letters=30, kept=kept, lasted=0.0) for kept in (surer, 0.6)]
    monkeypatch.setattr(text_track, "text_lines", lambda now, before, earlier: seen)
    track, still = TextTrack(), strokes(np.zeros((360, 640), np.uint8))
    for _ in range(2):
        track.add(still)
    assert bool(track.found()) == is_kept


@pytest.mark.parametrize(("columns", "is_text"), [(30, True), (9, False)])
def test_two_lines_that_touch_are_text_if_they_have_many_letters(columns: int, is_text: bool) -> None:
    """Letters a quarter as high as both lines; every third reaches down or up to the other line."""
    hat = np.zeros((360, 640), np.uint8)
    for number in range(columns):
        left, reach = 150 + 8 * number, 7 if number % 3 == 0 else 0
        hat[300 : 310 + reach, left : left + 3] = hat[326 - reach : 336, left : left + 3] = 200
    still = Strokes(plane=hat, hats=(hat, np.zeros_like(hat)))
    assert bool(text_lines(still, still)) == is_text


def test_an_image_is_judged_by_its_strokes() -> None:
    clip = texture_clip(1)
    assert _value(_subtitle(clip).result()) == 0
    _write(clip, "It was never about money.", 240)
    assert _value(_subtitle(clip).result()) > 0.005


def test_rendered_shots_after_a_codec(tmp_path: Path) -> None:
    both: tuple[Kind, ...] = "subtitle", "scene_text"
    for kinds in (both, both[1:]):
        shot = rendered_shot(5010, kinds, tmp_path, camera="pan_left")
        assert (_value(measure(Subtitle, shot.info, shot.samples).result()) > 0) == shot.has("subtitle")


def test_burnt_in_copyright_text_of_real_footage(footage: Path) -> None:
    levels = pyramid(footage / "videos" / "psd_testvideo.mp4", start=30, stop=110)
    info, _ = drawn_shot(texture_clip(2), fps=30)
    signal = measure(Subtitle, info, samples_of(levels))
    assert _value(signal.result()) > 0.01
    assert all(region.y0 > 0.78 and region.y1 < 0.97 for region in signal.regions())


@pytest.mark.parametrize("name", ["mdn_crystal.mp4", "mango_sintel.mp4", "vdf_cat.2.mp4"])
def test_real_footage_without_subtitles(name: str, footage: Path) -> None:
    info, _ = drawn_shot(texture_clip(2), fps=25)
    assert _value(measure(Subtitle, info, samples_of(pyramid(footage / "videos" / name, stop=120))).result()) == 0


def _overlap(truth: OverlayTruth, region: Region) -> bool:
    x0, y0, x1, y1 = truth.box
    x, y = (region.x0 + region.x1) / 2, (region.y0 + region.y1) / 2
    return x0 - 0.03 < x < x1 + 0.03 and y0 - 0.03 < y < y1 + 0.03


def _write(clip: np.ndarray, text: str, baseline: int) -> None:
    """White text with a dark outline, in the middle, on every frame."""
    place = (clip.shape[2] - 11 * len(text)) // 2, baseline
    for frame in clip:
        for ink, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            cv2.putText(frame, text, place, cv2.FONT_HERSHEY_PLAIN, 1.2, ink, thickness, cv2.LINE_AA)


def _line_of_text(height: int, width: int) -> np.ndarray:
    bar = np.zeros((1, height, width, 3), np.uint8)
    _write(bar, "Where were you last night?", height * 2 // 3)
    return bar[0]
