"""Which states of the sampler the training distribution has seen: rows of the step matrix against draws of noise levels.

Sampling asks the model for one velocity per row of the step matrix, at that row's noise level per frame. Training draws noise levels
from a mixture (model.forcing). A row far from every draw is a state that the model meets for the first time in a film; FoPP alone
leaves synchronous sampling there, and synchronous draws alone leave asynchronous sampling there.

Shapes: R rows of the step matrix, K draws, F latent frames. Noise levels are sigmas in 0..1, 1 is noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model.schedule import flow_sigmas, step_matrix

TOLERANCE = 0.05
"""Largest difference in sigma, over all frames, at which a draw counts as training a row (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How well K draws cover R rows."""

    share_R: torch.Tensor
    """float64: share of draws within the tolerance of the row in every frame."""
    nearest_R: torch.Tensor
    """float32: distance of the nearest draw, the largest difference over frames."""

    def summary(self) -> dict[str, float | int]:
        """Plain numbers for metadata and captions."""
        return {
            "rows": len(self.share_R), "rows_never_trained": int((self.share_R == 0).sum()),
            "least_share": self.share_R.min().item(), "median_share": self.share_R.median().item(),
            "farthest_row": int(self.nearest_R.argmax()), "farthest_distance": self.nearest_R.max().item(),
        }  # fmt: skip


def sampled_levels(
    partition: Sequence[int], num_steps: int, ar_step: int, shift: float, num_ready: int = 0, history_level: float = 0.0
) -> torch.Tensor:
    """Sigmas that the model is shown in each row of a window, float32 (R, F); arguments as for `step_matrix`.

    history_level: sigma of the `num_ready` frames that are given, the sampler's addnoise_condition / 1000.
    """
    levels_RF = flow_sigmas(num_steps, shift)[step_matrix(partition, num_steps, ar_step, num_ready).index]
    levels_RF[:, :num_ready] = history_level
    return levels_RF


def row_coverage(rows_RF: torch.Tensor, drawn_KF: torch.Tensor, tolerance: float = TOLERANCE) -> Coverage:
    """Compare every row with every draw; one row at a time, so memory is one copy of the draws.

    Raises ValueError if the two speak of different numbers of frames.
    """
    if rows_RF.shape[1:] != drawn_KF.shape[1:] or rows_RF.dim() != 2:
        raise ValueError(f"rows have shape {tuple(rows_RF.shape)} and draws {tuple(drawn_KF.shape)}; frames must agree")
    if not len(rows_RF) or not len(drawn_KF):
        raise ValueError(f"{len(rows_RF)} rows and {len(drawn_KF)} draws: nothing to compare")
    share, nearest = [], []
    for row_F in rows_RF.to(drawn_KF):
        distance_K = (drawn_KF - row_F).abs_().amax(1)
        share.append((distance_K <= tolerance).double().mean())
        nearest.append(distance_K.min())
    return Coverage(share_R=torch.stack(share), nearest_R=torch.stack(nearest))
