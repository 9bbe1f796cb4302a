"""The memory model finds what made its measurements, and batch sizes keep to tokens, memory and parts."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.batch_sizes import Measurement, MemoryModel, batch_sizes, batch_unit, run_sampler
from model.latents import LatentSet
from tests.model.tiny_run import make_latents, make_spec

TRUE = MemoryModel(fixed_bytes=3e9, clip_bytes=2e6, token_bytes=4e4)
SHAPES = ((200, 1), (200, 8), (1000, 2), (4000, 1), (4000, 3))


def measured(noise: float = 0.0) -> list[Measurement]:
    """Steps of the true model, alternately too high and too low by a share."""
    return [
        Measurement(tokens=tokens, clips=clips, peak_bytes=TRUE.peak(tokens, clips) * (1 + noise * (-1) ** number))
        for number, (tokens, clips) in enumerate(SHAPES)
    ]


def test_exact_measurements_give_the_model_back():
    found = MemoryModel.fit(measured())
    assert found.fixed_bytes == pytest.approx(TRUE.fixed_bytes, rel=1e-6)
    assert found.clip_bytes == pytest.approx(TRUE.clip_bytes, rel=1e-4)
    assert found.token_bytes == pytest.approx(TRUE.token_bytes, rel=1e-6)


def test_noisy_measurements_predict_another_step():
    assert MemoryModel.fit(measured(0.02)).peak(2000, 4) == pytest.approx(TRUE.peak(2000, 4), rel=0.05)


def test_no_number_is_negative():
    """A process whose clips cost nothing of their own: a plain least-squares fit would say less than nothing."""
    steps = [Measurement(tokens=t, clips=c, peak_bytes=1e9 + c * (t - 50) * 4e4) for t, c in SHAPES]
    found = MemoryModel.fit(steps)
    assert min(found.fixed_bytes, found.clip_bytes, found.token_bytes) >= 0
    assert found.clip_bytes == 0


@pytest.mark.parametrize("shapes", [SHAPES[:2], ((200, 1), (200, 2), (200, 3)), ((200, 1), (200, 1), (200, 1))])
def test_measurements_that_cannot_tell_are_refused(shapes: tuple[tuple[int, int], ...]):
    with pytest.raises(ValueError, match="vary clips and tokens"):
        MemoryModel.fit([Measurement(tokens=t, clips=c, peak_bytes=TRUE.peak(t, c)) for t, c in shapes])


def test_what_fits_fits_and_one_more_does_not():
    for tokens in (100, 1000, 51_000):
        clips = TRUE.max_clips(tokens, 80e9)
        assert TRUE.peak(tokens, clips) <= 80e9 < TRUE.peak(tokens, clips + 1)
    assert TRUE.max_clips(100, 1e9) == 0


BUCKETS = {"film": (1000, 500), "short": (260, 500), "image": (40, 900), "few": (40, 3)}


def test_every_bucket_gets_as_many_tokens_in_whole_parts():
    assert batch_sizes(BUCKETS, batch_size=8) == {"film": 8, "short": 30, "image": 200, "few": 8}
    parts = batch_sizes(BUCKETS, batch_size=8, multiple=4)
    assert parts == {"film": 8, "short": 28, "image": 200, "few": 8}


def test_memory_bounds_a_batch_and_a_clip_that_never_fits_is_named():
    one_part = {"film": 8, "short": 30, "image": TRUE.max_clips(40, 3.4e9), "few": 8}
    assert batch_sizes(BUCKETS, batch_size=8, memory=TRUE, budget_bytes=3.4e9) == one_part
    assert one_part["image"] == 111
    with pytest.raises(ValueError, match=r"bucket film: one clip of 1000 tokens takes 2.83 GiB of 2.82"):
        batch_sizes(BUCKETS, batch_size=8, memory=TRUE, budget_bytes=3.03e9)


@pytest.mark.parametrize(("ranks", "batch_size", "unit"), [(2, 32, 2), (8, 64, 8), (6, 60, 60), (8, 12, 12), (1, 7, 1), (256, 1024, 256)])
def test_every_batch_divides_among_whatever_ranks_are_left(ranks: int, batch_size: int, unit: int):
    assert batch_unit(ranks, batch_size) == unit
    sizes = batch_sizes(BUCKETS, batch_size=batch_size, multiple=unit)
    for left in range(1, ranks + 1):
        if batch_size % left == 0:
            assert all(size % left == 0 for size in sizes.values())


def test_a_runs_sampler_gives_images_their_share_and_equal_tokens(tmp_path: Path):
    """Clips of 3 latents and images, as they lie in a folder of latents."""
    folder = make_latents(tmp_path / "films", num_clips=12)
    data = LatentSet(folder)
    data.clips = [replace(clip, shape=(4, 1, 4, 4)) if number % 3 == 0 else clip for number, clip in enumerate(data.clips)]
    spec = make_spec(tmp_path / "run", folder, image_share=0.25)
    sampler = run_sampler(data, spec)
    for step in range(40):
        clips = [data.clips[position] for position in sampler.batch(step)]
        assert len({(clip.shape, clip.fps) for clip in clips}) == 1
        assert (clips[0].shape[1] == 1) == (step % 4 == 3)
        assert len(clips) % spec.batch_unit == 0
        tokens = sum(clip.shape[1] * clip.shape[2] * clip.shape[3] // 4 for clip in clips)
        assert tokens <= spec.batch_size * 3 * 4 * 6 // 4


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size 6 does not divide into 4 parts"):
        batch_sizes(BUCKETS, batch_size=6, multiple=4)
