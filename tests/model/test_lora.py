"""LoRA: peft's own arithmetic and files, and a run that resumes to the bit."""

import json
from pathlib import Path

import pytest
import torch

from model.build import build_model
from model.checkpoint import find_checkpoints
from model.lora import add_lora, merge, read_adapter, save_adapter
from model.training_state import build_plain
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import TRANSFORMER, free_port, make_latents, make_spec, outcome, train

LORA = {"rank": 3, "alpha": 6, "targets": ["to_q", "to_v", "to_out.0", "net.2"]}


@pytest.fixture
def model() -> SkyReelsTransformer:
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(TRANSFORMER)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    return model


def velocity(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    return model(torch.randn(1, 4, 3, 4, 6), torch.rand(1, 3) * 1000, torch.randn(1, 5, 8), torch.tensor([16])).detach()


def randomize(model: torch.nn.Module) -> None:
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)


def test_it_starts_as_the_base_and_trains_factors_alone(model: SkyReelsTransformer) -> None:
    before = velocity(model)
    add_lora(model, LORA, seed=0)
    # not to the bit: with factors in the layer after it, GELU is torch's own
    torch.testing.assert_close(velocity(model), before, rtol=0, atol=1e-6)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert len(trained) == 2 * (6 + 2), "q, v and out of two attentions, and the last layer of the feed-forward and of the FPS projection"


def test_merged_weights_give_the_same_velocity(model: SkyReelsTransformer) -> None:
    add_lora(model, LORA, seed=0)
    randomize(model)
    plain = build_plain(model.config, merge(model.state_dict(), LORA))
    torch.testing.assert_close(velocity(plain), velocity(model), rtol=1e-5, atol=1e-5)


def test_peft_loads_the_adapter(model: SkyReelsTransformer, tmp_path: Path) -> None:
    from peft import PeftModel

    base = build_plain(model.config, {name: value.clone() for name, value in model.state_dict().items()})
    add_lora(model, LORA, seed=0)
    randomize(model)
    factors = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    save_adapter(factors, LORA, tmp_path / "adapter")
    assert {name: value.tolist() for name, value in read_adapter(tmp_path / "adapter")} == {n: v.tolist() for n, v in factors.items()}
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    inner = loaded.base_model.model
    assert isinstance(inner, torch.nn.Module)
    assert torch.equal(velocity(inner), velocity(model))


def test_a_target_that_names_no_layer_is_refused(model: SkyReelsTransformer) -> None:
    with pytest.raises(ValueError, match=r"lora target 'qkv' names no linear layer of the model; its layers end in .*to_k"):
        add_lora(model, {**LORA, "targets": ["to_q", "qkv"]}, seed=0)


def test_a_run_resumes_to_the_bit_and_leaves_adapter_and_merged_weights(model: SkyReelsTransformer, tmp_path: Path) -> None:
    latents = make_latents(tmp_path / "latents")
    model.save_pretrained(tmp_path / "base")
    for name, limit in (("whole", None), ("halves", 6)):
        spec = make_spec(tmp_path / name, latents, parent_dir=str(tmp_path / "base"), lora=LORA, max_steps_this_run=limit, zero_stage=2)
        train(tmp_path / name, 1, free_port())
    train(tmp_path / "halves", 1, free_port())
    assert outcome(tmp_path / "halves") == outcome(tmp_path / "whole")
    last = find_checkpoints(tmp_path / "whole")[-1]
    resumed = build_model(spec, last)
    merged = SkyReelsTransformer.from_pretrained(last.path / "transformer")
    torch.testing.assert_close(velocity(merged), velocity(resumed), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(velocity(merged), velocity(model)), "it learned something"
    assert torch.equal(merged.patch_embedding.weight, model.patch_embedding.weight), "what is no target stays"
    assert json.loads((last.path / "adapter_ema" / "adapter_config.json").read_text())["r"] == 3


def test_lora_without_a_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set a parent"):
        make_spec(tmp_path / "run", tmp_path, lora=LORA)
