"""Objectives against their naive formulas in float64, at extreme inputs, and in the paper's convention."""

import math

import pytest
import torch

from model.objectives import (
    add_noise,
    bradley_terry_ties,
    bradley_terry_ties_loss,
    flow_dpo_loss,
    flow_matching_loss,
    level_weights,
    velocity_errors,
)

torch.set_num_threads(1)

SHAPE_BCFHW = (3, 4, 5, 2, 6)


def normal(*shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def latents():
    return normal(*SHAPE_BCFHW, seed=1), normal(*SHAPE_BCFHW, seed=2), normal(*SHAPE_BCFHW, seed=3)


def test_noise_has_one_level_per_frame(latents):
    data, noise, _ = latents
    sigma_BF = torch.rand(3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    noised = add_noise(data, noise, sigma_BF)
    for sample in range(3):
        for frame in range(5):
            sigma = sigma_BF[sample, frame]
            expected = (1 - sigma) * data[sample, :, frame] + sigma * noise[sample, :, frame]
            torch.testing.assert_close(noised[sample, :, frame], expected, rtol=0, atol=1e-15)


def test_the_ends_of_the_noise_path_are_exact(latents):
    data, noise, _ = (tensor.bfloat16() for tensor in latents)
    assert torch.equal(add_noise(data, noise, torch.zeros(3, 5)), data)
    assert torch.equal(add_noise(data, noise, torch.ones(3, 5)), noise)
    assert add_noise(data, noise, torch.full((3, 5), 0.5)).dtype == torch.bfloat16


def test_velocity_points_from_data_to_noise(latents):
    """x at sigma, minus sigma times the velocity that has loss 0, is the data: what the sampler relies on."""
    data, noise, _ = latents
    sigma_BF = torch.full((3, 5), 0.7, dtype=torch.float64)
    velocity = noise - data
    assert flow_matching_loss(velocity, data, noise) == 0
    torch.testing.assert_close(add_noise(data, noise, sigma_BF) - 0.7 * velocity, data)


def test_the_paper_convention_gives_the_same_loss(latents):
    data, noise, velocity = latents
    t = 0.3
    x_paper = t * data + (1 - t) * noise
    torch.testing.assert_close(x_paper, add_noise(data, noise, torch.full((3, 5), 1 - t, dtype=torch.float64)))
    paper_loss = ((-velocity) - (data - noise)).square().mean()
    torch.testing.assert_close(flow_matching_loss(velocity, data, noise), paper_loss)


def test_clean_frames_carry_no_loss(latents):
    data, noise, velocity = latents
    is_clean_BF = torch.zeros(3, 5, dtype=torch.bool)
    is_clean_BF[1, :2] = True
    velocity = velocity.requires_grad_()
    loss = flow_matching_loss(velocity, data, noise, is_clean_BF)
    square = (velocity - (noise - data)).square()
    naive = (square[0].mean() + square[1][:, 2:].mean() + square[2].mean()) / 3
    torch.testing.assert_close(loss, naive)
    (gradient,) = torch.autograd.grad(loss, velocity, retain_graph=True)
    (naive_gradient,) = torch.autograd.grad(naive, velocity)
    torch.testing.assert_close(gradient, naive_gradient)
    assert (gradient[1, :, :2] == 0).all()
    assert (gradient[1, :, 2:] != 0).all()


def test_reductions_differ_by_the_elements_that_count(latents):
    data, noise, velocity = latents
    is_clean_BF = torch.zeros(3, 5, dtype=torch.bool)
    is_clean_BF[2, :4] = True
    mean, total = (velocity_errors(velocity, data, noise, is_clean_BF, reduction) for reduction in ("mean", "sum"))
    elements = torch.tensor([5, 5, 1]) * 4 * 2 * 6
    torch.testing.assert_close(total, mean * elements)
    torch.testing.assert_close(velocity_errors(velocity, data, noise), ((velocity - noise + data) ** 2).mean(dim=(1, 2, 3, 4)))
    torch.testing.assert_close(velocity_errors(velocity, data, noise, None, "sum")[:2], total[:2])
    no_mask = torch.zeros(3, 5, dtype=torch.bool)
    torch.testing.assert_close(velocity_errors(velocity, data, noise, no_mask), velocity_errors(velocity, data, noise))


def test_the_loss_over_ranks_is_the_loss_over_their_samples(latents):
    data, noise, velocity = latents
    is_clean_BF = torch.arange(5) < torch.tensor([[0], [1], [2]])
    whole = flow_matching_loss(velocity, data, noise, is_clean_BF)
    parts = [flow_matching_loss(*(tensor[i : i + 1] for tensor in (velocity, data, noise, is_clean_BF))) for i in range(3)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_a_sample_of_history_alone_has_no_error(latents):
    data, noise, velocity = latents
    assert (velocity_errors(velocity, data, noise, torch.ones(3, 5, dtype=torch.bool)) == 0).all()


def test_half_precision_is_summed_in_float32():
    ones = torch.ones(1, 16, 5, 64, 64, dtype=torch.bfloat16)
    loss = velocity_errors(ones, ones * 0, ones * 0, None, "sum")
    assert loss.dtype == torch.float32
    assert loss.item() == ones.numel()


def test_misfitting_shapes_are_refused(latents):
    data, noise, velocity = latents
    with pytest.raises(ValueError, match="noise has"):
        add_noise(data, noise[:1], torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"sigma has shape \(3,\).*\(3, 5\)"):
        add_noise(data, noise, torch.zeros(3))
    with pytest.raises(ValueError, match=r"is_clean has shape \(5, 3\)"):
        flow_matching_loss(velocity, data, noise, torch.zeros(5, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="velocity has"):
        flow_matching_loss(velocity[:, :, :1], data, noise)
    with pytest.raises(ValueError, match="they must agree"):
        flow_dpo_loss(torch.zeros(3), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="they must agree"):
        bradley_terry_ties(torch.zeros(3), torch.zeros(3, 1), 5.0)
    with pytest.raises(ValueError, match="they must agree"):
        bradley_terry_ties_loss(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1), 5.0)


@pytest.mark.parametrize("beta", [0.1, 5.0, 100.0])
def test_flow_dpo_equals_the_naive_formula_with_its_gradient(beta):
    errors = [normal(64, seed=seed).square().mul(0.1).requires_grad_() for seed in range(4)]
    loss, accuracy = flow_dpo_loss(*errors, beta=beta)
    win, lose, reference_win, reference_lose = errors
    bracket = (win - lose) - (reference_win - reference_lose)
    naive = -torch.log(1 / (1 + torch.exp(beta / 2 * bracket))).mean()
    torch.testing.assert_close(loss, naive, rtol=1e-10, atol=0)
    for gradient, expected in zip(torch.autograd.grad(loss, errors), torch.autograd.grad(naive, errors), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-14)
    assert accuracy.item() == pytest.approx((bracket < 0).double().mean().item())
    assert not accuracy.requires_grad


def test_flow_dpo_by_hand():
    loss, accuracy = flow_dpo_loss(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([1.5]), torch.tensor([1.5]), 2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert accuracy == 1
    loss, accuracy = flow_dpo_loss(*(torch.ones(4),) * 4, beta=2.0)
    assert loss.item() == pytest.approx(math.log(2))
    assert accuracy == 0  # an untouched policy prefers neither


def test_flow_dpo_at_extreme_errors():
    policy_lose = torch.tensor([0.0, 1e6], requires_grad=True)
    loss, accuracy = flow_dpo_loss(torch.tensor([1e6, 0.0]), policy_lose, torch.zeros(2), torch.zeros(2), 5000.0)
    assert loss.item() == pytest.approx(0.5 * 2500 * 1e6)
    assert accuracy == 0.5
    (gradient,) = torch.autograd.grad(loss, policy_lose)
    assert gradient.tolist() == pytest.approx([-1250.0, 0.0])


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_flow_dpo_needs_a_positive_beta(beta):
    with pytest.raises(ValueError, match="beta is"):
        flow_dpo_loss(*(torch.ones(2),) * 4, beta=beta)


def naive_ties(a, b, theta):
    p_a = a.exp() / (a.exp() + theta * b.exp())
    p_b = b.exp() / (b.exp() + theta * a.exp())
    p_tie = (theta**2 - 1) * a.exp() * b.exp() / ((a.exp() + theta * b.exp()) * (theta * a.exp() + b.exp()))
    return p_a, p_tie, p_b


@pytest.mark.parametrize("theta", [1.0, 1.001, 2.0, 5.0, 100.0])
def test_ties_equal_the_naive_formula(theta):
    a, b = normal(200, seed=5) * 2, normal(200, seed=6) * 2
    probabilities = bradley_terry_ties(a, b, theta)
    for value, expected in zip(probabilities, naive_ties(a, b, theta), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(sum(probabilities), torch.ones(200, dtype=torch.float64))
    swapped = bradley_terry_ties(b, a, theta)
    for value, mirrored in zip(probabilities, reversed(swapped), strict=True):
        torch.testing.assert_close(value, mirrored)


@pytest.mark.parametrize("theta", [1.001, 2.0, 5.0])
def test_ties_loss_equals_the_naive_formula_with_its_gradient(theta):
    a, b = (normal(90, seed=seed).requires_grad_() for seed in (7, 8))
    label = torch.tensor([1, 0, -1] * 30)
    loss = bradley_terry_ties_loss(a, b, label, theta)
    p_a, p_tie, p_b = naive_ties(a, b, theta)
    naive = -torch.where(label == 1, p_a, torch.where(label == 0, p_tie, p_b)).log().mean()
    torch.testing.assert_close(loss, naive, rtol=1e-10, atol=0)
    for gradient, expected in zip(torch.autograd.grad(loss, (a, b)), torch.autograd.grad(naive, (a, b)), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-14)


def test_ties_by_hand():
    """Equal rewards, theta 5: 1/6, 24/36, 1/6."""
    probabilities = bradley_terry_ties(torch.tensor([0.3]), torch.tensor([0.3]), 5.0)
    assert [value.item() for value in probabilities] == pytest.approx([1 / 6, 2 / 3, 1 / 6])
    for label, expected in ((1, 1 / 6), (0, 2 / 3), (-1, 1 / 6)):
        loss = bradley_terry_ties_loss(torch.tensor([0.3]), torch.tensor([0.3]), torch.tensor([label]), 5.0)
        assert loss.item() == pytest.approx(-math.log(expected))


def test_ties_at_extreme_rewards():
    a = torch.tensor([1e4, -1e4, 1e4, -1e4, 1e4], requires_grad=True)
    b = torch.tensor([-1e4, 1e4, 1e4, 1e4, -1e4])
    p_a, p_tie, p_b = bradley_terry_ties(a.detach(), b, 5.0)
    assert p_a.tolist() == pytest.approx([1, 0, 1 / 6, 0, 1])
    assert p_b.tolist() == pytest.approx([0, 1, 1 / 6, 1, 0])
    assert p_tie.tolist() == pytest.approx([0, 0, 2 / 3, 0, 0])
    loss = bradley_terry_ties_loss(a, b, torch.tensor([1, 1, 0, 0, -1]), 5.0)
    assert loss.item() == pytest.approx((2e4 - math.log(2 / 3) + 2e4 + 2e4) / 5, rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, a)
    assert gradient.tolist() == pytest.approx([0, -0.2, 0, -0.2, 0.2], abs=1e-6)


def test_huge_theta_makes_everything_a_tie():
    p_a, p_tie, p_b = bradley_terry_ties(torch.tensor([1.0]), torch.tensor([0.0]), 1e30)
    assert p_tie.item() == pytest.approx(1, abs=1e-4)
    assert p_a < 1e-20
    assert p_b < 1e-20


@pytest.mark.parametrize("theta", [0.5, -1.0, float("nan"), float("inf")])
def test_theta_below_one_is_refused(theta):
    with pytest.raises(ValueError, match="theta is"):
        bradley_terry_ties(torch.zeros(1), torch.zeros(1), theta)
    with pytest.raises(ValueError, match="theta is"):
        bradley_terry_ties_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), theta)


def test_a_tie_needs_theta_above_one():
    with pytest.raises(ValueError, match="must exceed 1"):
        bradley_terry_ties_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), 1.0)


def test_unknown_labels_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 22\]"):
        bradley_terry_ties_loss(torch.zeros(2), torch.zeros(2), torch.tensor([1, 22]), 5.0)


@pytest.mark.filterwarnings("ignore")  # diffusers' own
def test_level_weights_are_those_of_stable_diffusion_3():
    from diffusers.training_utils import compute_loss_weighting_for_sd3

    sigma = torch.rand(64, 5, generator=torch.Generator().manual_seed(0))
    weights = level_weights(sigma, "cosmap")
    assert weights is not None
    torch.testing.assert_close(weights, compute_loss_weighting_for_sd3("cosmap", sigma))
    grid = level_weights(torch.linspace(0, 1, 10_001)[None], "cosmap")
    assert grid is not None
    assert grid.mean().item() == pytest.approx(1, abs=1e-3)
    assert level_weights(sigma, "none") is None
    with pytest.raises(ValueError, match="weighting is 'sigma'"):
        level_weights(sigma, "sigma")  # type: ignore[arg-type]


def test_a_weight_multiplies_each_frames_error():
    velocity, data, noise = torch.randn(3, 2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    weight, is_clean = torch.tensor([[1.0, 2.0, 0.5], [0.0, 4.0, 1.0]]), torch.tensor([[True, False, False], [False] * 3])
    square = (velocity - (noise - data)).square().mean(dim=(1, 3, 4)) * weight
    expected = (square[0, 1:].mean() + square[1].mean()) / 2
    loss = flow_matching_loss(velocity, data, noise, is_clean, weight)
    torch.testing.assert_close(loss, expected)
