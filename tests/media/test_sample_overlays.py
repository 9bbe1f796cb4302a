"""Drawn overlays: what is said to be there is there, and nothing else."""

import numpy as np
import pytest

from skyreels_platform.media.sample_overlays import KINDS, Kind, draw_overlays

SIZE = 24, 180, 320


def _ground() -> np.ndarray:
    return np.full((*SIZE, 3), 100, np.uint8)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_says_where_and_when(kind: Kind, seed: int) -> None:
    clip = _ground()
    truths = draw_overlays(clip, [kind], seed=seed, fps=8)
    changed = (clip != 100).any(axis=3)
    if kind == "scene_text":
        assert changed.any()
        return
    told = np.zeros(SIZE, bool)
    for truth in truths:
        x0, y0, x1, y1 = (round(share * side) for share, side in zip(truth.box, (320, 180, 320, 180), strict=True))
        told[truth.start : truth.end, y0:y1, x0:x1] = True
        here = changed[truth.start : truth.end, y0:y1, x0:x1]
        assert here.any(axis=(1, 2)).all()
    assert not changed[~told].any()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    clips = [_ground() for _ in range(3)]
    truths = [draw_overlays(clip, KINDS, seed=seed, fps=8) for clip, seed in zip(clips, (1, 1, 2), strict=True)]
    assert np.array_equal(clips[0], clips[1])
    assert truths[0] == truths[1]
    assert not np.array_equal(clips[0], clips[2])


def test_scene_text_moves_and_overlays_stand_still() -> None:
    sign, logo = _ground(), _ground()
    draw_overlays(sign, ["scene_text"], seed=3, fps=8)
    draw_overlays(logo, ["logo"], seed=3, fps=8)
    assert not np.array_equal(sign[8], sign[16])
    assert np.array_equal(logo[8], logo[16])


def test_wrong_kinds_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="overlay 'banner' is not known; known: subtitle"):
        draw_overlays(_ground(), ["banner"], seed=0, fps=8)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="takes \\(F, H, W, 3\\) uint8"):
        draw_overlays(np.zeros((4, 8, 8), np.uint8), ["logo"], seed=0, fps=8)
