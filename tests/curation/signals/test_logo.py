"""Logos and watermarks in the corners."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals.logo import Logo
from skyreels_platform.curation.signals.overlay_statistics import Edges
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_overlays import draw_overlays
from tests.curation.signals.overlay_shots import drawn_shot, measure, rendered_shot, samples_of, texture_clip

BOUND = 0.3


def _logo(clip: np.ndarray) -> Logo:
    signal = measure(Logo, *drawn_shot(clip))
    assert isinstance(signal, Logo)
    return signal


@pytest.mark.parametrize("kind", ["logo", "watermark"])
@pytest.mark.parametrize("seed", range(4))
def test_a_mark_is_found_under_a_moving_picture_and_none_where_none_is(kind: str, seed: int) -> None:
    clip = texture_clip(seed=seed)
    clean = _logo(clip).result()
    assert clean.value is not None
    assert clean.value < BOUND
    (truth,) = draw_overlays(clip, [kind], seed=seed, fps=16)  # pyright: ignore[reportArgumentType]
    signal = _logo(clip)
    value = signal.result().value
    assert value is not None
    assert value > BOUND
    (region,) = signal.regions()
    assert abs(region.x0 - truth.box[0]) < 0.06
    assert abs(region.y1 - truth.box[3]) < 0.06


def test_a_picture_at_rest_cannot_tell_a_mark_from_the_scene() -> None:
    clip = texture_clip(pan=0)
    clip[:, 20:50:6, 20:60] = 255  # a window blind, or a logo
    clip[:, 10:80, 100:180:8] = 0
    score = _logo(clip).result()
    assert score.outcome == "unknown"
    assert "does not move" in score.reason


@pytest.mark.parametrize(
    ("is_level", "x", "y", "is_found"),
    [(True, 12, 12, True), (False, 12, 12, False), (True, 60, 38, False), (True, 12, 0, False)],
)
def test_a_line_of_text_close_to_a_corner_is_found_even_at_rest(is_level: bool, x: int, y: int, is_found: bool) -> None:
    clip = texture_clip(pan=0)
    written = np.full((24, 120, 3), 20, np.uint8)
    cv2.putText(written, "www.example.org", (4, 17), cv2.FONT_HERSHEY_PLAIN, 0.8, (255, 255, 255), 1, cv2.LINE_AA)
    # Trunks and posts are strokes in a column, too; what the frame cuts off was not laid over it.
    part = (written if is_level else written.swapaxes(0, 1)[:60])[8 if y == 0 else 0 :]
    clip[:, y : y + part.shape[0], x : x + part.shape[1]] = part
    score = _logo(clip).result()
    assert score.outcome == ("measured" if is_found else "unknown")
    assert score.value is None or score.value >= BOUND


def test_a_plate_of_a_colour_is_found_although_the_picture_behind_it_is_as_light() -> None:
    """In luma its edges are those of the stripes that pass behind it, which is not steady; in colour they are its own."""
    columns = np.arange(480)
    clip = np.empty((40, 270, 480, 3), np.uint8)
    for number, frame in enumerate(clip):
        frame[:] = np.where((columns + 3 * number) // 12 % 2, 150, 90)[None, :, None]
        frame[12:34, 400:460] = (190, 80, 190)
    assert (_logo(clip).result().value or 0) >= BOUND
    clip[20:, 12:34, 400:460] = clip[20:, 112:134, 400:460]
    assert (_logo(clip).result().value or 0) < BOUND


def test_a_mark_alone_on_plain_ground_is_found_even_at_rest() -> None:
    clip = np.full((40, 270, 480, 3), 90, np.uint8)
    assert _logo(clip).result().value == 0
    clip[:, 18:24, 20:60] = clip[:, 36:42, 20:60] = clip[:, 24:36, 36:44] = 240
    value = _logo(clip).result().value
    assert value is not None
    assert value > BOUND


def test_letterbox_bars_and_a_subtitle_are_no_logo() -> None:
    clip = texture_clip(seed=9)
    clip[:, :40], clip[:, -40:] = 0, 0
    draw_overlays(clip, ["subtitle"], seed=2, fps=16)
    value = _logo(clip).result().value
    assert value is not None
    assert value < BOUND


def test_a_thing_that_moves_through_the_corner_is_no_logo() -> None:
    clip = texture_clip(pan=3)
    for index, frame in enumerate(clip):
        frame[20:50, 4 + 2 * index : 60 + 2 * index] = (250, 60, 60)
    value = _logo(clip).result().value
    assert value is not None
    assert value < BOUND


def test_what_drifts_slowly_through_the_corner_is_no_logo() -> None:
    clip = texture_clip(60)
    for index, frame in enumerate(clip):
        left, top = 10 + index // 3, 12 + index // 6
        frame[top : top + 24, left : left + 40] = (40, 40, 40)
        frame[top + 5 : top + 19, left + 6 : left + 34] = (240, 230, 60)
    score = _logo(clip).result()
    assert score.value is None or score.value < BOUND


def test_a_freeze_at_the_end_makes_no_logo_of_the_scene() -> None:
    clip = texture_clip(20, seed=4)
    clip[:, 14:40, 14:60] = clip[:, 14:40, 14:60] // 4
    moving = np.concatenate([np.roll(clip, 40 * k, axis=2)[2 * k : 2 * k + 2] for k in range(6)])
    score = _logo(np.concatenate([moving, np.repeat(moving[-1:], 60, axis=0)])).result()
    assert score.value is None or score.value < BOUND


def test_a_held_scene_over_which_something_moves_has_no_logo() -> None:
    """The pictures go on changing, so none counts as held; the scene's own edges stay for most of them."""
    moving = texture_clip(20, seed=4)
    moving[:, 14:40, 14:60] = moving[:, 14:40, 14:60] // 4
    moving = np.concatenate([np.roll(moving, 40 * k, axis=2)[2 * k : 2 * k + 2] for k in range(6)])
    held = np.repeat(moving[-1:], 60, axis=0)
    for index, frame in enumerate(held):
        frame[150:200, 100 + 4 * index : 140 + 4 * index] = 250
    score = _logo(np.concatenate([moving, held])).result()
    assert score.value is None or score.value < BOUND


def _emblem(clip: np.ndarray, x: int, y: int, levels: int = 240) -> None:
    """Three bars and a post, 40 wide and 24 high, into every frame, in place."""
    clip[:, y : y + 6, x : x + 40] = clip[:, y + 18 : y + 24, x : x + 40] = clip[:, y + 6 : y + 18, x + 16 : x + 24] = levels


@pytest.mark.parametrize(("passing", "is_found"), [(480, True), (115, False)])
def test_where_the_camera_rests_most_of_what_is_around_a_mark_must_come_and_go(passing: int, is_found: bool) -> None:
    """Somebody who passes through 0.6 of a corner (192 pixels across are looked at) leaves what stands beside it as still as a mark."""
    still, moving = texture_clip(pan=0), texture_clip(pan=0, seed=1)
    for number, frame in enumerate(moving):  # as flow cannot follow it, no camera moves
        np.copyto(frame, np.roll(frame, (61 * number, 97 * number), axis=(0, 1)))
    clip = still.copy()
    clip[:, :, :passing] = moving[:, :, :passing]
    _emblem(clip, 20, 18)
    score = _logo(clip).result()
    assert ((score.value or 0) >= BOUND) == is_found


@pytest.mark.parametrize(("ground", "is_found"), [(16, True), (None, False)])
def test_a_mark_on_a_bar_is_found_even_at_rest(ground: int | None, is_found: bool) -> None:
    clip = texture_clip(pan=0)
    if ground is not None:
        clip[:, :60] = ground
    _emblem(clip, 20, 18)
    score = _logo(clip).result()
    assert ((score.value or 0) >= BOUND) == is_found


@pytest.mark.parametrize("is_cross", [True, False])
def test_edges_of_one_direction_are_no_mark(is_cross: bool) -> None:
    """Lines aslant along which the scene slides stay as a mark does."""
    clip = texture_clip()
    for frame in clip:
        for shift in (0, 14):
            cv2.line(frame, (12 + shift, 62), (58 + shift, 12), (250, 250, 250), 2)
        if is_cross:
            cv2.line(frame, (20, 12), (66, 62), (250, 250, 250), 2)
    assert ((_logo(clip).result().value or 0) >= BOUND) == is_cross


@pytest.mark.parametrize(("piece", "stays"), [(300, True), (30, False)])
def test_a_mark_at_the_height_of_a_border_stays_if_the_border_ends_beside_it(piece: int, stays: bool) -> None:
    """Where a border shows in pieces alone, nobody can say which of them are a mark."""
    strength = np.zeros((100, 400))
    strength[50, 80:380] = 20 * (np.arange(300) % (piece + 12) < piece)
    strength[46:54, 20:50] = 20
    edges = Edges(
        strength=strength, energy=strength**2, turn=np.zeros((2, 100, 400), np.float32), pictures=20,
        parts=np.zeros((3, 100, 400), np.float32),
    )  # fmt: skip
    lasting = edges.lasting(with_lines=True)
    assert not lasting[50, 80:].any()
    assert lasting[48:53, 20:50].all() == stays


@pytest.mark.parametrize("is_drawn", [True, False])
def test_a_mark_before_a_pattern_that_comes_back(is_drawn: bool) -> None:
    """Every other picture shows the same checks, so all of them last somewhat."""
    rows, columns = np.mgrid[:270, :480]
    clip = np.empty((40, 270, 480, 3), np.uint8)
    for number, frame in enumerate(clip):
        shift = (0, 2, 0, 9)[number // 2 % 4]  # every second frame counts
        frame[:] = np.where(((rows + shift) // 12 + columns // 12) % 2, 170, 110)[..., None]
    if is_drawn:
        _emblem(clip, 20, 18)
    assert ((_logo(clip).result().value or 0) >= BOUND) == is_drawn


@pytest.mark.parametrize(("side", "is_found"), [(8, False), (60, True)])
def test_a_corner_that_a_mark_fills_must_show_enough_else_to_say_that_it_moves(side: int, is_found: bool) -> None:
    clip = texture_clip(pan=0)
    clip[:, :90, :200] = 100
    clip[:, 12:72:12, 12:132] = clip[:, 12:72, 12:132:16] = 240
    clip[:, 60:72, 172:184] = 130  # so that the mark does not stand alone
    clip[:, 8:68, 148 : 148 + side] = np.random.default_rng(0).integers(60, 140, (40, 60, side, 3)) if side > 8 else 100
    clip[:, 20:38, 160:178] = np.random.default_rng(1).integers(60, 140, (40, 18, 18, 3))
    assert ((_logo(clip).result().value or 0) >= BOUND) == is_found


def test_one_picture_is_not_enough() -> None:
    assert _logo(texture_clip(1)).result().outcome == "unknown"


def test_half_transparent_mark_after_a_codec(tmp_path: Path) -> None:
    shot = rendered_shot(5021, ("logo",), tmp_path, camera="pan_right")
    value = measure(Logo, shot.info, shot.samples).result().value
    assert value is not None
    assert value > BOUND


@pytest.mark.parametrize("name", ["mdn_crystal.mp4", "mdn_elf.mp4", "vdf_cat.3.webm"])
def test_real_footage_without_logo(name: str, footage: Path) -> None:
    info, _ = drawn_shot(texture_clip(2))
    score = measure(Logo, info, samples_of(pyramid(footage / "videos" / name, stop=120))).result()
    assert score.value is None or score.value < BOUND
