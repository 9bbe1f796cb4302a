"""FoPP against its table of path counts, and the mixture that training draws."""

import itertools
import math

import pytest
import torch

from model.forcing import _multisets, sample_fopp, sample_sigmas

torch.set_num_threads(1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def suffix_counts(num_frames, num_timesteps):
    """d_s[i][j]: non-decreasing sequences of frames i..F that start at timestep j; filled by the paper's recursion (from 0)."""
    table = [[1] * num_timesteps for _ in range(num_frames)]
    for frame in reversed(range(num_frames - 1)):
        for step in reversed(range(num_timesteps - 1)):
            table[frame][step] = table[frame][step + 1] + table[frame + 1][step]
    return table


def prefix_counts(num_frames, num_timesteps):
    """d_e[i][j]: non-decreasing sequences of frames 1..i that end at timestep j."""
    table = [[1] * num_timesteps for _ in range(num_frames)]
    for frame in range(1, num_frames):
        for step in range(1, num_timesteps):
            table[frame][step] = table[frame][step - 1] + table[frame - 1][step]
    return table


def fopp_probability(sequence, num_timesteps, after, before):
    """The probability of one sequence, multiplied along the tables' transitions for every anchor."""
    num_frames, steps = len(sequence), range(num_timesteps)
    total = 0.0
    for anchor in range(num_frames):
        probability = 1 / num_frames / num_timesteps
        for frame in range(anchor + 1, num_frames):
            allowed = sum(after[frame][step] for step in steps if step >= sequence[frame - 1])
            probability *= after[frame][sequence[frame]] / allowed
        for frame in reversed(range(anchor)):
            allowed = sum(before[frame][step] for step in steps if step <= sequence[frame + 1])
            probability *= before[frame][sequence[frame]] / allowed
        total += probability
    return total


def chi_square_excess(observed, expected):
    """Standard deviations by which chi-square lies above its mean; normal for many cells."""
    statistic = ((observed - expected) ** 2 / expected).sum().item()
    freedom = len(expected) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(("num_frames", "num_timesteps"), [(1, 40), (2, 9), (3, 7), (5, 12), (8, 3)])
def test_fopp_has_the_distribution_of_the_table(num_frames, num_timesteps):
    after, before = suffix_counts(num_frames, num_timesteps), prefix_counts(num_frames, num_timesteps)
    sequences = list(itertools.combinations_with_replacement(range(num_timesteps), num_frames))
    expected = torch.tensor([fopp_probability(sequence, num_timesteps, after, before) for sequence in sequences])
    assert expected.sum().item() == pytest.approx(1, abs=1e-5)
    num_draws = 200_000
    drawn = sample_fopp(num_frames, num_timesteps, num_draws, seeded()) - 1
    weights = num_timesteps ** torch.arange(num_frames).flip(0)
    codes = (torch.tensor(sequences) * weights).sum(1)  # ascending, like the sequences
    observed = torch.bincount(torch.searchsorted(codes, (drawn * weights).sum(1)), minlength=len(codes))
    assert observed.sum() == num_draws
    assert len(observed) == len(codes)
    assert abs(chi_square_excess(observed.double(), expected.double() * num_draws)) < 4


def test_completions_of_an_anchor_are_equally_frequent():
    drawn = _multisets(torch.full((140_000, 1), 4), 4, seeded()).sort(dim=1).values  # 35 multisets of 4 out of 4
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert len(counts) == 35
    assert abs(chi_square_excess(counts.double(), torch.full((35,), 4_000.0, dtype=torch.float64))) < 4


def test_a_leading_part_of_a_multiset_draw_is_uniform_too():
    drawn = _multisets(torch.full((200_000, 1), 3), 6, seeded())[:, :2].sort(dim=1).values
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert counts.double().div(200_000).tolist() == pytest.approx([1 / 6] * 6, abs=0.005)


def test_marginals_at_full_size():
    """E[u] per frame at F = 25, T = 1000, and the rarity of synchronous draws, as computed from the published code."""
    drawn = sample_fopp(25, 1000, 50_000, seeded()).double() / 1000
    means = drawn.mean(0)
    published = {1: 0.076, 2: 0.134, 7: 0.329, 13: 0.499, 19: 0.67, 24: 0.867, 25: 0.924}
    for frame, mean in published.items():
        assert means[frame - 1].item() == pytest.approx(mean, abs=0.005)
    synchronous = ((drawn[:, -1] - drawn[:, 0]) < 0.05).double().mean().item()
    assert synchronous == pytest.approx(0.004, abs=0.002)


def test_range_order_and_shape():
    drawn = sample_fopp(25, 1000, 5_000, seeded())
    assert drawn.shape == (5_000, 25)
    assert drawn.dtype == torch.int64
    assert (drawn.diff(dim=1) >= 0).all()
    assert drawn.min() == 1
    assert drawn.max() == 1000  # both ends are reached, never passed
    assert sample_fopp(4, 1, 3).tolist() == [[1] * 4] * 3


def test_anchor_frame_and_timestep_are_uniform():
    """With T = 2, P(all ones) is P(anchor at 1) over the completions of the frames after it, averaged over anchor frames."""
    num_frames = 4
    drawn = sample_fopp(num_frames, 2, 200_000, seeded())
    expected = sum(0.5 / (num_frames - anchor) for anchor in range(num_frames)) / num_frames
    assert (drawn == 1).all(1).double().mean().item() == pytest.approx(expected, abs=0.005)
    assert (drawn == 2).all(1).double().mean().item() == pytest.approx(expected, abs=0.005)


def test_the_generator_decides_alone():
    first = sample_fopp(7, 100, 50, seeded(3))
    torch.manual_seed(12345)
    assert torch.equal(first, sample_fopp(7, 100, 50, seeded(3)))
    assert not torch.equal(first, sample_fopp(7, 100, 50, seeded(4)))


def test_frames_of_a_block_share_a_level_and_blocks_are_fopp():
    drawn = sample_fopp(8, 100, 500, seeded(3), block=3)
    assert drawn.shape == (500, 8)
    assert (drawn[:, 0:3] == drawn[:, :1]).all()
    assert (drawn[:, 3:6] == drawn[:, 3:4]).all()
    assert (drawn[:, 6] == drawn[:, 7]).all()  # the last block is shorter
    assert torch.equal(drawn[:, ::3], sample_fopp(3, 100, 500, seeded(3)))


def test_the_mixture_takes_fopp_by_blocks():
    drawn = sample_sigmas(
        200, 9, p_fopp=1, p_sync=0, p_prefix=0, mean=0, std=1, shift=1, fopp_block=3, generator=seeded()
    ).sigma_BF
    assert torch.equal(drawn.unflatten(1, (3, 3)), drawn[:, ::3, None].expand(-1, -1, 3))
    assert (drawn[:, 0] < drawn[:, 3]).any()


@pytest.mark.parametrize("arguments", [(0, 10, 1), (5, 0, 1), (5, 10, 0), (5, 10, 1, None, 0)])
def test_empty_requests_are_refused(arguments):
    with pytest.raises(ValueError, match="is 0; it must be at least 1"):
        sample_fopp(*arguments)


def draw_sigmas(batch, frames, *, p_fopp, p_sync, p_prefix, shift=1.0, mean=0.0, std=1.0, seed=0):
    return sample_sigmas(
        batch, frames, p_fopp=p_fopp, p_sync=p_sync, p_prefix=p_prefix, mean=mean, std=std, shift=shift, generator=seeded(seed)
    )


def test_sync_is_one_shifted_logit_normal_for_all_frames():
    drawn = draw_sigmas(100_000, 3, p_fopp=0, p_sync=1, p_prefix=0, mean=0.5, std=0.8, shift=3.0)
    assert drawn.sigma_BF.dtype == torch.float32
    assert not drawn.is_clean_BF.any()
    assert (drawn.sigma_BF == drawn.sigma_BF[:, :1]).all()
    sigma = drawn.sigma_BF[:, 0].double()
    assert ((sigma > 0) & (sigma < 1)).all()
    normal = torch.logit(sigma / (3 - 2 * sigma))  # undo the shift
    assert normal.mean().item() == pytest.approx(0.5, abs=0.02)
    assert normal.std().item() == pytest.approx(0.8, abs=0.02)


def test_fopp_kind_is_fopp_over_t():
    drawn = draw_sigmas(20_000, 25, p_fopp=1, p_sync=0, p_prefix=0, shift=8.0)
    assert (drawn.sigma_BF.diff(dim=1) >= 0).all()
    assert not drawn.is_clean_BF.any()
    assert drawn.sigma_BF.min().item() == pytest.approx(0.001)
    assert drawn.sigma_BF.max() == 1
    assert drawn.sigma_BF.mean(0)[[0, 12, 24]].tolist() == pytest.approx([0.076, 0.499, 0.924], abs=0.02)
    assert torch.allclose(drawn.sigma_BF * 1000, (drawn.sigma_BF * 1000).round(), atol=1e-3)


def test_prefix_is_clean_history_before_synchronous_noise():
    frames = 9
    drawn = draw_sigmas(40_000, frames, p_fopp=0, p_sync=0, p_prefix=1)
    lengths = drawn.is_clean_BF.sum(1)
    assert torch.equal(drawn.is_clean_BF, torch.arange(frames) < lengths[:, None])  # leading frames only
    assert torch.bincount(lengths).tolist()[0] == 0
    assert (torch.bincount(lengths)[1:].double() / 40_000).tolist() == pytest.approx([0.25] * 4, abs=0.01)
    assert (drawn.sigma_BF[drawn.is_clean_BF] == 0).all()
    noisy = drawn.sigma_BF.masked_fill(drawn.is_clean_BF, torch.nan)
    assert torch.equal(noisy.nan_to_num(nan=2.0).min(1).values, noisy.nan_to_num(nan=-1.0).max(1).values)
    assert (drawn.sigma_BF[~drawn.is_clean_BF] > 0).all()


@pytest.mark.parametrize("frames", [2, 3])
def test_short_clips_keep_a_noisy_frame(frames):
    drawn = draw_sigmas(100, frames, p_fopp=0, p_sync=0, p_prefix=1)
    assert (drawn.is_clean_BF.sum(1) == 1).all()


def test_mixture_shares():
    drawn = draw_sigmas(50_000, 25, p_fopp=0.5, p_sync=0.3, p_prefix=0.2)
    is_prefix = drawn.is_clean_BF.any(1)
    is_sync = (drawn.sigma_BF == drawn.sigma_BF[:, :1]).all(1)
    assert is_prefix.double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert is_sync.double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_one_frame_is_always_sync():
    for mixture in ({"p_fopp": 1, "p_sync": 0, "p_prefix": 0}, {"p_fopp": 0, "p_sync": 0, "p_prefix": 1}):
        drawn = draw_sigmas(64, 1, **mixture)
        assert drawn.sigma_BF.shape == (64, 1)
        assert not drawn.is_clean_BF.any()
        assert torch.equal(drawn.sigma_BF, draw_sigmas(64, 1, p_fopp=0, p_sync=1, p_prefix=0).sigma_BF)


def test_the_mixture_does_not_change_what_each_kind_draws():
    sync = draw_sigmas(400, 5, p_fopp=0, p_sync=1, p_prefix=0).sigma_BF
    mixed = draw_sigmas(400, 5, p_fopp=0, p_sync=0.5, p_prefix=0.5)
    noisy = ~mixed.is_clean_BF
    assert torch.equal(mixed.sigma_BF[noisy], sync[noisy])
    generators = [seeded(), seeded()]
    for generator, p_fopp in zip(generators, (0.0, 1.0), strict=True):
        sample_sigmas(8, 5, p_fopp=p_fopp, p_sync=1 - p_fopp, p_prefix=0, mean=0, std=1, shift=1, generator=generator)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


@pytest.mark.parametrize("mixture", [(0.5, 0.5, 0.5), (0.2, 0.2, 0.2), (-0.5, 1.0, 0.5)])
def test_a_mixture_must_add_up(mixture):
    p_fopp, p_sync, p_prefix = mixture
    with pytest.raises(ValueError, match="together they must be 1"):
        draw_sigmas(4, 5, p_fopp=p_fopp, p_sync=p_sync, p_prefix=p_prefix)
