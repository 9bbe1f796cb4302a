"""Starting from a parent: all weights, the same function at 24 frames per second, and a word on anything that does not fit."""

from pathlib import Path

import pytest
import torch

from model.growth import grow, removed_parameters
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import TRANSFORMER

WITHOUT = {**TRANSFORMER, "inject_sample_info": False}


def save(folder: Path, config: dict[str, object]) -> SkyReelsTransformer:
    """A model with every parameter away from its initialization: the FPS projection begins at zero and would prove nothing."""
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def velocity(model: SkyReelsTransformer, fps: int | None, size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 3, *size, generator=generator)
    timestep = torch.tensor([[0.0, 200.0, 900.0], [500.0, 500.0, 500.0]])
    text = torch.randn(2, 5, 8, generator=generator)
    return model(latents, timestep, text, None if fps is None else torch.full((2,), fps))


def test_a_stage_without_the_fps_embedding_is_its_parent_at_24(tmp_path: Path):
    parent = save(tmp_path, TRANSFORMER)
    child = grow(tmp_path, WITHOUT)
    assert not child.config.inject_sample_info
    assert (velocity(child, None) - velocity(parent, 24)).abs().max() <= 2e-6
    assert (velocity(child, None) - velocity(parent, 16)).abs().max() > 1e-3, "the two rates must differ for this test to tell"
    gone = set(parent.state_dict()) - set(child.state_dict())
    assert sorted(gone) == removed_parameters(tmp_path, WITHOUT)
    assert len(gone) == 5


def test_a_stage_of_the_same_model_takes_every_weight(tmp_path: Path):
    parent = save(tmp_path, TRANSFORMER)
    child = grow(tmp_path, TRANSFORMER)
    assert all(torch.equal(value, child.state_dict()[key]) for key, value in parent.state_dict().items())
    assert removed_parameters(tmp_path, TRANSFORMER) == []


def test_another_resolution_needs_nothing(tmp_path: Path):
    save(tmp_path, TRANSFORMER)
    assert velocity(grow(tmp_path, TRANSFORMER), 24, (8, 8)).shape == (2, 4, 3, 8, 8)


@pytest.mark.parametrize(
    ("parent", "child", "message"),
    [
        (TRANSFORMER, {**TRANSFORMER, "num_layers": 2}, "num_layers 1, not 2"),
        (WITHOUT, TRANSFORMER, "inject_sample_info False, not True"),
        (TRANSFORMER, {**WITHOUT, "ffn_dim": 16}, "ffn_dim 32, not 16"),
    ],
)
def test_a_parent_of_another_shape_is_refused(parent: dict[str, object], child: dict[str, object], message: str, tmp_path: Path):
    save(tmp_path, parent)
    with pytest.raises(ValueError, match=message):
        grow(tmp_path, child)
