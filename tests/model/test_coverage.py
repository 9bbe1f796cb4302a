"""Coverage of the sampler's rows, by counts that can be done by hand and by what is known of FoPP."""

import pytest
import torch

from model.coverage import row_coverage, sampled_levels
from model.forcing import sample_fopp, sample_sigmas
from model.schedule import flow_sigmas


def seeded():
    return torch.Generator().manual_seed(0)


def test_shares_and_distances_of_a_hand_made_case():
    rows = torch.tensor([[0.0, 0.5], [1.0, 1.0]])
    drawn = torch.tensor([[0.0, 0.52], [0.04, 0.5], [0.0, 0.6], [0.9, 0.9]])
    coverage = row_coverage(rows, drawn, tolerance=0.05)
    assert coverage.share_R.tolist() == [0.5, 0.0]
    assert coverage.nearest_R.tolist() == pytest.approx([0.02, 0.1], abs=1e-6)
    assert coverage.summary()["rows_never_trained"] == 1
    assert coverage.summary()["farthest_row"] == 1


def test_rows_are_what_the_sampler_shows_the_model():
    rows = sampled_levels((2, 1, 1), num_steps=3, ar_step=1, shift=2.0, num_ready=2, history_level=0.02)
    sigmas = flow_sigmas(3, 2.0).tolist()
    assert rows[:, :2].unique().tolist() == pytest.approx([0.02])
    assert rows[:, 2].tolist() == pytest.approx([sigmas[0], sigmas[1], sigmas[2], 0.0])
    assert rows[:, 3].tolist() == pytest.approx([sigmas[0], sigmas[0], sigmas[1], sigmas[2]])


def test_fopp_alone_leaves_synchronous_rows_untrained_and_the_mixture_does_not():
    """Why the recipe mixes: with FoPP alone no draw of 20,000 comes near the synchronous rows of 25 frames."""
    rows = sampled_levels((25,), num_steps=30, ar_step=0, shift=8.0)
    alone = row_coverage(rows, sample_fopp(25, 1000, 20_000, seeded()).float() / 1000)
    mixed = row_coverage(
        rows, sample_sigmas(20_000, 25, p_fopp=0.5, p_sync=0.3, p_prefix=0.2, mean=0, std=1, shift=8, generator=seeded()).sigma_BF
    )
    assert alone.share_R.median() < 1e-3
    assert mixed.share_R.median() > 0.02
    assert mixed.nearest_R.max() < 0.05


def test_block_level_fopp_covers_block_rows_better():
    rows = sampled_levels((5,) * 5, num_steps=30, ar_step=5, shift=8.0)
    frames, blocks = (row_coverage(rows, sample_fopp(25, 1000, 20_000, seeded(), block=block).float() / 1000) for block in (1, 5))
    assert blocks.share_R.mean() > 2 * frames.share_R.mean()
    assert blocks.nearest_R.mean() < frames.nearest_R.mean()


@pytest.mark.parametrize(("rows", "drawn"), [((2, 3), (4, 5)), ((0, 3), (4, 3)), ((2, 3), (0, 3))])
def test_what_cannot_be_compared_is_refused(rows: tuple, drawn: tuple):
    with pytest.raises(ValueError, match="draws"):
        row_coverage(torch.zeros(rows), torch.zeros(drawn))
