"""Which pictures of a shot are kept."""

import numpy as np
import pytest

from skyreels_platform.curation.kept_frames import MOST, Keeper, decode_pictures, encode_picture, evenly_spread
from skyreels_platform.media.pyramid import Levels

SMALL = np.zeros((81, 144, 3), np.uint8)


def kept(num_frames: int, every: int = 3) -> list[int]:
    keeper = Keeper()
    for index in range(num_frames):
        picture = np.full((8, 8, 3), 100, np.uint8) if index % every == 0 else None
        keeper.add(Levels(index=index, time_s=index / 24, small=SMALL, picture=picture, still=None))
    return [frame.frame for frame in keeper.result()]


@pytest.mark.parametrize("num_frames", [1, 20, 95, 96, 97, 190, 200, 1000, 5000])
def test_pictures_are_evenly_spread_and_bounded(num_frames: int) -> None:
    *found, end = kept(num_frames)
    assert end == (num_frames - 1) // 3 * 3, "the last sampled picture"
    assert len(found) <= MOST
    assert [*found, end][0] == 0
    steps = set(np.diff(found).tolist())
    assert len(steps) <= 1
    assert all(end - found[-1] <= step for step in steps), "nothing at the end is left out"
    assert len(found) + 1 >= min(MOST // 2, (num_frames + 2) // 3)


def test_a_picture_out_of_step_is_told_apart() -> None:
    assert evenly_spread([0.0, 0.5, 1.0, 1.5]) == [0, 1, 2, 3]
    assert evenly_spread([0.0, 0.5, 1.0, 1.2]) == [0, 1, 2]
    assert evenly_spread([0.0, 0.1]) == [0, 1]
    assert evenly_spread([]) == []


def test_a_shot_without_a_picture_keeps_none() -> None:
    keeper = Keeper()
    keeper.add(Levels(index=1, time_s=0.04, small=SMALL, picture=None, still=None))
    assert keeper.result() == []


def test_pictures_come_back_nearly_as_they_were() -> None:
    picture = np.random.default_rng(0).integers(80, 140, (6, 9, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    (back,) = decode_pictures([encode_picture(picture)])
    assert np.abs(back.astype(int) - picture).mean() < 2
