"""What training minimises: flow matching, Flow-DPO and the reward model's Bradley-Terry with ties.

Code convention throughout: sigma = 1 is noise, x = (1 - sigma) * data + sigma * noise, velocity = noise - data, so that
published weights load. The paper writes t = 1 - sigma and the velocity data - noise: both time and sign are flipped, and the
squared error is the same number in either convention.

Shapes: B samples, C latent channels, F latent frames, H and W latent rows and columns. Errors are summed in float32 at least.
"""

import math
from typing import Literal

import torch
from torch.nn.functional import logsigmoid


def add_noise(data_BCFHW: torch.Tensor, noise_BCFHW: torch.Tensor, sigma_BF: torch.Tensor) -> torch.Tensor:
    """Noised latents (1 - sigma) * data + sigma * noise with one sigma in 0..1 per frame, in the data's dtype.

    Sigma 0 returns the data and sigma 1 the noise, bit for bit.
    """
    _same_shape("data", data_BCFHW, "noise", noise_BCFHW)
    _per_frame("sigma", sigma_BF, data_BCFHW)
    sigma_B1F11 = sigma_BF[:, None, :, None, None].to(_wide(data_BCFHW))
    return ((1 - sigma_B1F11) * data_BCFHW + sigma_B1F11 * noise_BCFHW).to(data_BCFHW.dtype)


def velocity_errors(
    velocity_BCFHW: torch.Tensor,
    data_BCFHW: torch.Tensor,
    noise_BCFHW: torch.Tensor,
    is_clean_BF: torch.Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> torch.Tensor:
    """Squared error of the predicted velocity against noise - data, per sample: (B,).

    is_clean_BF: frames that were given without noise and carry no loss; None means none. A sample without any other frame has
    error 0. reduction: over the elements of the frames that count. The choice scales Flow-DPO's beta by the number of
    elements (1e5 and more), so it belongs into every log.
    """
    _same_shape("velocity", velocity_BCFHW, "data", data_BCFHW)
    _same_shape("data", data_BCFHW, "noise", noise_BCFHW)
    wide = _wide(velocity_BCFHW)
    square_BCFHW = (velocity_BCFHW.to(wide) - (noise_BCFHW.to(wide) - data_BCFHW.to(wide))).square()
    if is_clean_BF is None:
        return square_BCFHW.flatten(1).sum(1) if reduction == "sum" else square_BCFHW.flatten(1).mean(1)
    _per_frame("is_clean", is_clean_BF, velocity_BCFHW)
    sum_B = square_BCFHW.sum(dim=(1, 3, 4)).masked_fill(is_clean_BF, 0.0).sum(1)
    if reduction == "sum":
        return sum_B
    elements_per_frame = velocity_BCFHW[0, :, 0].numel()
    return sum_B / ((~is_clean_BF).sum(1).clamp(min=1) * elements_per_frame)


def level_weights(sigma_BF: torch.Tensor, weighting: Literal["none", "cosmap"]) -> torch.Tensor | None:
    """Weight of each frame's squared error by its noise level, float32 (B, F); None where every frame counts as one.

    none: the paper's loss has no weight. cosmap: 2 / (pi (1 - 2 sigma + 2 sigma^2)), Stable Diffusion 3's, largest at sigma 0.5 and
    of mean 1 over uniform sigma (an option; our choice is none). A density of sigma and a weight do the same to the mean; the
    density decides where samples are spent as well.
    """
    if weighting == "none":
        return None
    if weighting != "cosmap":
        raise ValueError(f"loss weighting is {weighting!r}; known: none, cosmap")
    sigma_BF = sigma_BF.float()
    return 2 / (math.pi * (1 - 2 * sigma_BF + 2 * sigma_BF.square()))


def flow_matching_loss(
    velocity_BCFHW: torch.Tensor,
    data_BCFHW: torch.Tensor,
    noise_BCFHW: torch.Tensor,
    is_clean_BF: torch.Tensor | None = None,
    weight_BF: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared velocity error (paper), a scalar: per sample over the frames that carry loss, then over samples.

    Samples weigh the same however many clean frames they have, so the mean over ranks of equal batches is the mean over all
    their samples. weight_BF: factor on each frame's error (`level_weights`); the count that divides is of frames, not of weights.
    """
    if weight_BF is not None:
        _per_frame("weight", weight_BF, velocity_BCFHW)
        root_B1F11 = weight_BF.sqrt()[:, None, :, None, None]
        velocity_BCFHW, data_BCFHW, noise_BCFHW = (t * root_B1F11 for t in (velocity_BCFHW, data_BCFHW, noise_BCFHW))
    return velocity_errors(velocity_BCFHW, data_BCFHW, noise_BCFHW, is_clean_BF).mean()


def flow_dpo_loss(
    policy_win: torch.Tensor,
    policy_lose: torch.Tensor,
    reference_win: torch.Tensor,
    reference_lose: torch.Tensor,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow-DPO with constant beta (paper): loss and implicit accuracy, both scalars.

    loss = mean(-logsigmoid(-beta/2 * ((policy_win - policy_lose) - (reference_win - reference_lose)))); accuracy = share of
    pairs whose bracket is below 0, that is, where the policy has gained more on the winner than the reference has.

    All inputs are (B,) per-sample velocity errors from `velocity_errors`. Winner and loser of a pair, policy and reference,
    must share one noise and one sigma. The loss falls as well when both errors rise: log the four errors beside it.
    beta depends on the reduction of the errors; the paper's value is not published.
    """
    if not beta > 0:
        raise ValueError(f"beta is {beta}; it must be positive")
    for name, value in (("policy_lose", policy_lose), ("reference_win", reference_win), ("reference_lose", reference_lose)):
        _same_shape("policy_win", policy_win, name, value)
    bracket_B = (policy_win - policy_lose) - (reference_win - reference_lose)
    accuracy = (bracket_B.detach() < 0).to(_wide(bracket_B)).mean()
    return -logsigmoid(-beta / 2 * bracket_B).mean(), accuracy


def bradley_terry_ties(
    reward_a: torch.Tensor, reward_b: torch.Tensor, theta: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities that a is better, that they tie and that b is better; they add up to 1 (Rao and Kupper's model).

    P(a) = e^a / (e^a + theta e^b); P(tie) = (theta^2 - 1) e^a e^b / ((e^a + theta e^b) (theta e^a + e^b)).
    theta >= 1: 1 has no ties, larger has more (VideoAlign's code uses 5; the paper's value is not published).
    """
    log_a, log_tie, log_b = _log_probabilities(reward_a, reward_b, theta)
    return log_a.exp(), log_tie.exp(), log_b.exp()


def bradley_terry_ties_loss(reward_a: torch.Tensor, reward_b: torch.Tensor, label: torch.Tensor, theta: float) -> torch.Tensor:
    """Mean negative log-likelihood of labels 1 (a better), 0 (tie) and -1 (b better); a scalar.

    theta must exceed 1, otherwise a tie has probability 0. Raises ValueError on any other label.
    """
    if theta <= 1:
        raise ValueError(f"theta is {theta}; it must exceed 1, or a tie cannot happen")
    _same_shape("reward_a", reward_a, "label", label)
    if not bool(torch.isin(label, torch.tensor([-1, 0, 1], device=label.device, dtype=label.dtype)).all()):
        raise ValueError(f"labels are {sorted(set(label.tolist()))}; only 1 (a better), 0 (tie) and -1 (b better) are known")
    log_a, log_tie, log_b = _log_probabilities(reward_a, reward_b, theta)
    return -torch.where(label > 0, log_a, torch.where(label < 0, log_b, log_tie)).mean()


def _log_probabilities(
    reward_a: torch.Tensor, reward_b: torch.Tensor, theta: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """In logs, so that rewards of any size neither overflow nor end at log(0): P(a) = sigmoid(a - b - ln theta)."""
    if not (theta >= 1 and math.isfinite(theta)):
        raise ValueError(f"theta is {theta}; it must be at least 1 (1 has no ties)")
    _same_shape("reward_a", reward_a, "reward_b", reward_b)
    margin = reward_a - reward_b
    log_a, log_b = logsigmoid(margin - math.log(theta)), logsigmoid(-margin - math.log(theta))
    # ln(theta^2 - 1) by factors: the square of a theta near 1 would lose its digits
    log_odds = math.log(theta - 1) + math.log(theta + 1) if theta > 1 else -math.inf
    return log_a, log_odds + log_a + log_b, log_b


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _same_shape(name: str, tensor: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    """Broadcasting would turn (B,) against (B, 1) into a silent (B, B)."""
    if tensor.shape != other.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but {other_name} has {tuple(other.shape)}; they must agree")


def _per_frame(name: str, tensor_BF: torch.Tensor, latents_BCFHW: torch.Tensor) -> None:
    expected = (latents_BCFHW.shape[0], latents_BCFHW.shape[2])
    if tuple(tensor_BF.shape) != expected:
        raise ValueError(f"{name} has shape {tuple(tensor_BF.shape)}; these latents need one value per frame, {expected}")
