"""What a rank trains on: image and video steps, equal shares, the same step for any number of ranks and micro-batches."""

from pathlib import Path

import pytest
import torch

from model.feed import Feed
from model.latents import EMPTY_TEXT, LatentClip, write_latents
from model.spec import TrainSpec
from tests.model.tiny_run import make_spec

IMAGE, FILM = (4, 1, 4, 4), (4, 3, 4, 4)


def joint_latents(folder: Path) -> Path:
    """Eight films and six images."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    shapes = [FILM] * 8 + [IMAGE] * 6
    clips = [
        (LatentClip(clip_id=f"clip_{n}", shot_id=f"shot_{n}", shard="", shape=(), fps=24, text="text"),
         torch.randn(shape, generator=generator))
        for n, shape in enumerate(shapes)
    ]  # fmt: skip
    write_latents(folder, clips, {key: torch.randn(5, 8, generator=generator) for key in ("text", EMPTY_TEXT)}, shard_clips=5)
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> TrainSpec:
    return make_spec(tmp_path / "run", joint_latents(tmp_path / "latents"), image_share=0.25, batch_size=4, batch_unit=4)


def feed(spec: TrainSpec, share: int = 0, shares: int = 1) -> Feed:
    return Feed(spec, share, shares, torch.device("cpu"))


def test_every_fourth_step_is_of_images_in_a_batch_of_as_many_tokens(spec: TrainSpec):
    whole = feed(spec)
    for step in range(12):
        (batch,) = whole.micro_batches(step)
        clips, _, frames = batch.noised_BCFHW.shape[:3]
        assert (clips, frames) == ((4, 1) if step % 4 == 3 else (4, 3))
        assert batch.sigma_BF.shape == (clips, frames)
        assert {clip.shape for clip in whole.batch_clips(step)} == {IMAGE if step % 4 == 3 else FILM}


def test_images_come_in_larger_batches_where_there_are_enough(tmp_path: Path):
    spec = make_spec(tmp_path / "run", joint_latents(tmp_path / "latents"), image_share=0.5, batch_size=2, batch_unit=2)
    sizes = {len(feed(spec).batch_clips(step)) for step in range(8) if feed(spec).batch_clips(step)[0].shape == IMAGE}
    assert sizes == {6}, "three images have the tokens of one film of three latents"


@pytest.mark.parametrize("shares", [2, 4])
def test_the_shares_of_a_step_make_up_the_whole_one(shares: int, spec: TrainSpec):
    for step in (2, 3):
        (whole,) = feed(spec).micro_batches(step)
        parts = [next(iter(feed(spec, share, shares).micro_batches(step))) for share in range(shares)]
        assert torch.equal(torch.cat([part.noised_BCFHW for part in parts]), whole.noised_BCFHW)
        assert torch.equal(torch.cat([part.sigma_BF for part in parts]), whole.sigma_BF)
