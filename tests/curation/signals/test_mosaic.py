"""Mosaics, on pictures whose blocks are known."""

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals import mosaic
from skyreels_platform.curation.signals.mosaic import Mosaic
from skyreels_platform.curation.signals.mosaic_lattice import Lattice, find_lattices
from skyreels_platform.curation.signals.mosaic_steps import packed, steps_of
from tests.curation.signals.flawed_shots import quick_shots

WIDTH, HEIGHT = 640, 360


def texture(seed: int) -> np.ndarray:
    """(H, W) uint8 with detail of every size, the finer the fainter."""
    generator = np.random.default_rng(seed)
    layers = []
    for size, depth in ((60, 60), (20, 40), (7, 20), (2, 12)):
        coarse = generator.normal(0, depth, (HEIGHT // size + 1, WIDTH // size + 1))
        layers.append(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    return np.clip(128 + np.sum(layers, axis=0) / 2, 0, 255).astype(np.uint8)


def pixelated(luma: np.ndarray, box: tuple[int, int, int, int], block: int) -> np.ndarray:
    x0, y0, x1, y1 = box
    out = luma.copy()
    cells = cv2.resize(luma[y0:y1, x0:x1], ((x1 - x0) // block, (y1 - y0) // block), interpolation=cv2.INTER_AREA)
    out[y0:y1, x0:x1] = cells.repeat(block, axis=0).repeat(block, axis=1)
    return out


@pytest.mark.parametrize("block", [4, 5, 7, 8, 11, 16, 23, 32, 48])
def test_blocks_of_any_size_are_found_where_they_are(block):
    columns, rows = max(5, 160 // block), max(4, 120 // block)
    box = (133, 77, 133 + columns * block, 77 + rows * block)
    found = find_lattices(pixelated(texture(block), box, block))
    assert found
    assert found[0].block == pytest.approx(block, abs=0.5)
    assert found[0].area == pytest.approx(columns * rows * block * block, rel=0.15)
    middle = (found[0].x0 + found[0].x1) / 2, (found[0].y0 + found[0].y1) / 2
    assert middle == pytest.approx(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), abs=block + 2)


def test_a_mosaic_in_a_halved_picture_is_found_at_any_phase():
    luma = cv2.resize(texture(3), (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    for phase in (0, 1):
        box = (300 + phase, 200 + phase, 300 + phase + 17 * 20, 200 + phase + 17 * 14)
        halved = cv2.resize(pixelated(luma, box, 17), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        (found, *_) = find_lattices(halved)
        assert found.block == 8.5


def test_pictures_without_a_mosaic_have_no_lattice():
    for seed in range(6):
        assert find_lattices(texture(seed)) == []


def test_things_that_repeat_are_no_mosaic():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    waves = 128 + 60 * np.sin(columns / 2.5) * np.sin(rows / 2.5)
    bricks = np.where((rows % 24 < 3) | ((columns + 24 * (rows // 24 % 2)) % 48 < 3), 180, 110)
    windows = np.where((rows % 40 < 22) & (columns % 40 < 22), 60, 170)
    generator = np.random.default_rng(0)
    for pattern in (waves, bricks, windows):
        noisy = np.clip(pattern + generator.normal(0, 3, pattern.shape), 0, 255).astype(np.uint8)
        assert find_lattices(noisy) == []


def test_codec_blocks_on_an_even_ground_are_no_mosaic():
    generator = np.random.default_rng(0)
    blocks = generator.integers(-2, 3, (HEIGHT // 8, WIDTH // 8)).repeat(8, axis=0).repeat(8, axis=1)
    assert find_lattices((120 + blocks).astype(np.uint8)) == []


def test_small_pictures_are_measured_too():
    assert find_lattices(np.zeros((40, 40), np.uint8)) == []


@pytest.mark.parametrize("number", range(12))
def test_rendered_and_encoded_shots(number):
    shot = quick_shots()[number]
    score, regions = shot.measure(Mosaic)
    assert score.value is not None
    if shot.kind not in ("mosaic", "moving_mosaic"):
        assert (score.value, regions) == (0, [])
        return
    assert shot.truth is not None
    assert score.value == pytest.approx(shot.truth.share(shot.width, shot.height), rel=0.4)
    assert regions


def test_rectangles_on_a_lattice_are_no_mosaic():
    """Windows of one wall: their sides lie on the lines of a lattice of square cells, most of which are alike."""
    images = []
    for number in range(3):
        generator = np.random.default_rng(number)
        wall = np.full((360, 640), 90.0)
        for top in range(12, 340, 48):
            for left in range(12, 620, 48):
                wall[top:top + 36, left:left + 24] = generator.integers(100, 230)
        images.append(np.clip(wall + generator.normal(0, 1, wall.shape), 0, 255).astype(np.uint8))
    assert not any(find_lattices(image) for image in images)


@pytest.mark.parametrize(("side", "share", "is_found"), [(80, 0.25, False), (80, 0.75, True), (160, 0.25, True)])
def test_a_mosaic_must_last_longer_if_its_blocks_are_few(bench, side, share, is_found):
    clean = bench.rgb(bench.noise(360, 640, 5.0))
    spoiled = clean.copy()
    inside = np.s_[96:96 + side, 160:160 + side]
    spoiled[inside] = clean[inside][::16, ::16].repeat(16, axis=0).repeat(16, axis=1)
    count = round(48 * share)
    scores, _ = bench.measured([spoiled] * count + [clean] * (48 - count), kinds=[Mosaic])
    assert (scores["mosaic"].value > 0.01) == is_found


def test_a_wall_of_tiles_in_two_tones_is_no_mosaic():
    generator = np.random.default_rng(1)
    tones = generator.choice((60.0, 180.0), (20, 20)) + generator.normal(0, 3, (20, 20))
    wall, scene = (np.full((360, 640), 120.0) for _ in range(2))
    wall[16:336, 160:480] = tones.repeat(16, axis=0).repeat(16, axis=1)
    scene[16:336, 160:480] = generator.uniform(40, 200, (20, 20)).repeat(16, axis=0).repeat(16, axis=1)
    assert not find_lattices(wall.astype(np.uint8))
    assert find_lattices(scene.astype(np.uint8))


def test_lattices_of_another_size_in_every_still_are_no_mosaic(bench):
    clean = bench.rgb(bench.noise(360, 640, 5.0))
    frames = []
    for number in range(48):
        block = (9, 12, 16, 20)[number // 12]  # one still each at 24 a second
        spoiled = clean.copy()
        small = clean[96:96 + 12 * block:block, 160:160 + 12 * block:block]
        spoiled[96:96 + 12 * block, 160:160 + 12 * block] = small.repeat(block, axis=0).repeat(block, axis=1)
        frames.append(spoiled)
    scores, _ = bench.measured(frames, kinds=[Mosaic])
    assert scores["mosaic"].value == 0


def test_large_blocks_of_which_half_are_alike_are_found():
    """At first half of the block fits better, and most of its neighbours are alike."""
    luma = np.full((HEIGHT, WIDTH), 90.0)
    levels = np.array([[90, 90, 110, 90], [120, 90, 100, 110], [90, 110, 110, 90], [100, 120, 90, 110]])
    luma[80:80 + 4 * 40, 200:200 + 4 * 40] = levels.repeat(40, axis=0).repeat(40, axis=1)
    noisy = np.clip(luma + np.random.default_rng(0).normal(0, 0.7, luma.shape), 0, 255).astype(np.uint8)
    (found,) = find_lattices(noisy)
    assert found.block == pytest.approx(40, abs=0.5)


@pytest.mark.parametrize(("shown", "moved", "is_found"), [(0.45, 0, True), (0.45, 300, False), (0.3, 0, False)])
def test_few_blocks_need_one_sure_still_where_the_others_show_fewer_steps(bench, monkeypatch, shown, moved, is_found):
    """Nine blocks of 40 pixels: in the first of five stills most of their sides show a step, later fewer, there or elsewhere."""
    def lattice(left: int, share: float) -> Lattice:
        return Lattice(left, 80, left + 120, 200, 40, 9 * 40**2, step=20, differing=0.9, shown=share, lone=0.2, levels=6)

    found = iter([lattice(100, 0.7), *[lattice(100 + moved, shown)] * 4])
    monkeypatch.setattr(mosaic, "find_lattices", lambda luma, *_, **__: [area] if (area := next(found, lattice(0, 0))).is_likely else [])
    scores, _ = bench.measured([bench.rgb(bench.noise(360, 640, 5.0))] * 60, kinds=[Mosaic])
    assert (scores["mosaic"].value > 0.01) == is_found


@pytest.mark.parametrize(("moved", "is_found"), [(0, True), (300, False)])
def test_two_of_seven_stills_are_enough_if_they_agree_in_place(bench, monkeypatch, moved, is_found):
    def lattice(left: int) -> Lattice:
        return Lattice(left, 80, left + 120, 200, 40, 9 * 40**2, step=20, differing=0.9, shown=0.7, lone=0.2, levels=6)

    found = iter([[lattice(100)], [], [], [lattice(100 + moved)], [], [], []])
    monkeypatch.setattr(mosaic, "find_lattices", lambda luma, *_, **__: next(found, []))
    scores, _ = bench.measured([bench.rgb(bench.noise(360, 640, 5.0))] * 84, kinds=[Mosaic])
    assert (scores["mosaic"].value > 0.01) == is_found


def test_a_square_on_a_shaded_wall_is_no_mosaic():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    wall = 150 - 0.4 * rows + 0.2 * columns
    wall[60:90, 300:340] = 40
    noisy = np.clip(wall + np.random.default_rng(0).normal(0, 0.3, wall.shape), 0, 255).astype(np.uint8)
    assert not any(area.is_sure for area in find_lattices(noisy))


def partly_sharp(part: int) -> np.ndarray:
    """Five by four blocks of 40 pixels at (60, 80), of which one in six has its sides left."""
    sharp = pixelated(texture(0), (60, 80, 260, 240), 40)
    around = np.s_[76:244, 56:264]
    out = sharp.copy()
    out[around] = cv2.blur(sharp, (7, 7))[around]
    for row, column in np.ndindex(4, 5):
        if (2 * row + column) % 6 == part:
            block = np.s_[76 + 40 * row:124 + 40 * row, 56 + 40 * column:104 + 40 * column]
            out[block] = sharp[block]
    return out


@pytest.mark.parametrize(
    ("moved", "parts", "is_found"), [(0, (0, 1, 2, 3, 4, 5), True), (70, (0, 1, 2, 3, 4, 5), False), (0, (0, 1, 2, 3, 5), False)]
)
def test_stills_that_show_other_sides_of_standing_blocks_are_put_together(bench, moved, parts, is_found):
    """Where one of them at least shows likely blocks by itself, which is the one of part 4."""
    lumas = [np.roll(partly_sharp(part), moved * number, axis=1) for number, part in enumerate(parts)]
    assert not any(area.is_sure for luma in lumas for area in find_lattices(luma))
    frames = [bench.rgb(luma) for luma in lumas for _ in range(12)]
    scores, regions = bench.measured(frames, kinds=[Mosaic])
    assert (scores["mosaic"].value > 0.01) == is_found
    assert len(regions) == is_found


def test_packed_steps_are_the_same_and_join():
    one, other = (steps_of(texture(seed)[:101, :203]) for seed in (0, 1))
    both = packed(one).joined(packed(other)).unpacked()
    for joined, first, second, again in zip(both, one, other, packed(one).unpacked(), strict=True):
        assert np.array_equal(again, first)
        assert np.array_equal(joined, first | second)
        assert 0 < first.sum() < joined.sum()
