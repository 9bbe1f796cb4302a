"""Folders of encoded clips: everything written is read back, by clip, in order, in batches of one bucket."""

from pathlib import Path

import pytest
import torch

from model.latents import EMPTY_TEXT, LatentClip, LatentSet, write_latents

CPU = torch.device("cpu")


def clips(count: int) -> list[tuple[LatentClip, torch.Tensor]]:
    return [
        (LatentClip(clip_id=f"clip_{number}", shot_id=f"shot_{number // 2}", shard="", shape=(), fps=(16, 24)[number % 2],
                    text=f"t{number % 3}"),
         torch.full((4, 3, 2, (2, 4)[number % 2]), float(number)))
        for number in range(count)
    ]  # fmt: skip


TEXT = {key: torch.full((5, 8), float(number)) for number, key in enumerate(("t0", "t1", "t2", EMPTY_TEXT), start=1)}


def write(folder: Path, count: int, shard_clips: int) -> LatentSet:
    folder.mkdir()
    assert write_latents(folder, iter(clips(count)), TEXT, shard_clips) == count
    return LatentSet(folder)


@pytest.mark.parametrize(("count", "shard_clips", "shards"), [(10, 4, 3), (8, 4, 2), (1, 4, 1), (3, 1, 3)])
def test_every_clip_comes_back_from_its_shard(count: int, shard_clips: int, shards: int, tmp_path: Path):
    read = write(tmp_path / "lat", count, shard_clips)
    assert [clip.clip_id for clip in read.clips] == [f"clip_{number}" for number in range(count)]
    for number, clip in enumerate(read.clips):
        latents = read.latents(clip)
        assert (latents == number).all()
        assert tuple(latents.shape) == clip.shape
        assert clip.shard == f"latents-{number // shard_clips:05d}.safetensors"
    assert len(list((tmp_path / "lat").glob("latents-*"))) == shards


def test_clips_of_one_shape_and_rate_share_a_bucket(tmp_path: Path):
    assert write(tmp_path / "lat", 4, 4).bucket_keys() == ["4x3x2x2@16", "4x3x2x4@24"] * 2


def test_a_batch_stacks_clips_and_drops_captions(tmp_path: Path):
    read = write(tmp_path / "lat", 6, 4)
    batch = read.batch([read.clips[4], read.clips[2]], [False, True], CPU)
    assert batch.latents_BCFHW[:, 0, 0, 0, 0].tolist() == [4.0, 2.0]
    assert batch.text_BSD[:, 0, 0].tolist() == [2.0, 4.0], "clip 4 has caption t1, the dropped one the empty prompt"
    assert batch.fps_B.tolist() == [16, 16]


def test_an_empty_set_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no clips"):
        write(tmp_path / "lat", 0, 4)
