"""Named sizes against the parameter counts of the published checkpoints."""

import pytest
import torch

from model.configs import CONFIGS, TransformerConfig
from model.transformer import SkyReelsTransformer


@pytest.mark.parametrize(
    ("name", "billions"),
    [("1.3b", 1.4190), ("1.3b_df", 1.4355), ("1.3b_i2v", 1.5644), ("14b", 14.2885), ("14b_i2v", 16.3949), ("5b", 5.0)],
)
def test_published_sizes_have_the_published_parameter_counts(name: str, billions: float):
    with torch.device("meta"):
        model = SkyReelsTransformer(CONFIGS[name])
    tolerance = 0.01 if name == "5b" else 5e-5  # the guess: as large as its name says
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e9 == pytest.approx(billions, abs=tolerance)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_head_dim": 5}, "even number"),
        ({"patch_size": (2, 2, 2)}, "temporal patch of 1"),
        ({"image_dim": 8}, "needs both"),
        ({"image_dim": 8, "added_kv_proj_dim": 7}, "model's width"),
    ],
)
def test_impossible_configs_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**change)
