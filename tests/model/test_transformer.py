"""The transformer against diffusers' own class, and the properties that diffusers lacks."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.attention import block_causal_attention
from model.transformer import WEIGHTS_NAME, SkyReelsTransformer, TransformerConfig

TINY = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16, "out_channels": 16,
    "text_dim": 32, "freq_dim": 32, "ffn_dim": 48, "num_layers": 2,
}  # fmt: skip
KINDS = {
    "t2v": {}, "diffusion forcing with fps": {"inject_sample_info": True},
    "i2v": {"image_dim": 20, "added_kv_proj_dim": 24, "in_channels": 36},
}  # fmt: skip


def inputs(config: dict, batch: int = 1) -> dict:
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "hidden_states": randn(batch, config["in_channels"], 5, 4, 6), "encoder_hidden_states": randn(batch, 512, 32),
        "encoder_hidden_states_image": randn(batch, 7, 20) if "image_dim" in config else None,
    }  # fmt: skip


def trained(config: dict) -> SkyReelsTransformer:
    """A model whose zero-initialized layers carry weights, so that every path counts."""
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timestep", [[500], [[0, 100, 500, 700, 999]]], ids=["one timestep", "per frame"])
@pytest.mark.filterwarnings("ignore")
def test_it_equals_diffusers_on_the_same_weights(kind: str, timestep: list, tmp_path: Path):
    from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel

    config = TINY | KINDS[kind]
    model = trained(config)
    model.save_pretrained(tmp_path)
    reference = SkyReelsV2Transformer3DModel(**config).eval()
    reference.load_state_dict(load_file(tmp_path / WEIGHTS_NAME), strict=True)
    arguments, time = inputs(config), torch.tensor(timestep)
    with torch.no_grad():
        ours = model(**arguments, timestep=time, fps=torch.tensor([24]) if "inject_sample_info" in config else None)
        theirs = reference(
            arguments["hidden_states"], time, arguments["encoder_hidden_states"], arguments["encoder_hidden_states_image"],
            enable_diffusion_forcing=time.dim() == 2, fps=torch.tensor([1]), return_dict=False,
        )[0]  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_folder_that_diffusers_wrote_loads(tmp_path: Path):
    model = trained(TINY)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {
        "_diffusers_version": "0.42.1", "rope_max_seq_len": 1024, "num_frame_per_block": 1, "pos_embed_seq_len": None,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = SkyReelsTransformer.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_missing_and_unknown_keys_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    model = trained(TINY)
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS_NAME)
    state.pop("proj_out.bias")
    save_file(state, tmp_path / WEIGHTS_NAME)
    with pytest.raises(RuntimeError, match=r"proj_out\.bias"):
        SkyReelsTransformer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="num_layer'"):
        SkyReelsTransformer.from_config(TINY | {"num_layer": 2})


def test_equal_timesteps_per_frame_equal_one_timestep():
    model, arguments = trained(TINY), inputs(TINY)
    with torch.no_grad():
        one = model(**arguments, timestep=torch.tensor([300]))
        each = model(**arguments, timestep=torch.full((1, 5), 300))
    torch.testing.assert_close(one, each, rtol=0, atol=1e-6)


def test_mixed_frame_rates_in_one_batch_equal_single_clips():
    config = TINY | {"inject_sample_info": True}
    model, arguments = trained(config), inputs(config, batch=2)
    time, fps = torch.tensor([[0, 100, 200, 300, 400], [500, 600, 700, 800, 900]]), torch.tensor([16, 24])
    with torch.no_grad():
        both = model(**arguments, timestep=time, fps=fps)
        for row in range(2):
            single = {key: value[row : row + 1] for key, value in arguments.items() if value is not None}
            alone = model(**single, timestep=time[row : row + 1], fps=fps[row : row + 1])
            torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-5)
        swapped = model(**arguments, timestep=time, fps=fps.flip(0))
    assert (both - swapped).abs().max() > 1e-3
    with pytest.raises(ValueError, match="FPS embedding"):
        model(**arguments, timestep=time)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_block_causal_attention_equals_the_dense_mask(block: int):
    frames, tokens = 5, 3
    q, k, v = torch.randn(3, 2, 4, frames * tokens, 8, generator=torch.Generator().manual_seed(0))
    index = torch.arange(frames).div(block, rounding_mode="floor").repeat_interleave(tokens)
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=index[None, :] <= index[:, None])
    torch.testing.assert_close(block_causal_attention(q, k, v, frames, block), dense, rtol=0, atol=1e-5)


def test_with_an_attention_block_earlier_frames_do_not_see_later_ones():
    model, arguments = trained(TINY), inputs(TINY)
    changed = dict(arguments, hidden_states=arguments["hidden_states"].clone())
    changed["hidden_states"][:, :, 4] += 1
    time = torch.full((1, 5), 500)
    with torch.no_grad():
        causal = model(**arguments, timestep=time, attention_block=2), model(**changed, timestep=time, attention_block=2)
        full = model(**arguments, timestep=time), model(**changed, timestep=time)
    assert torch.equal(causal[0][:, :, :4], causal[1][:, :, :4])
    assert not torch.equal(full[0][:, :, :4], full[1][:, :, :4])


def test_training_starts_from_upstreams_initialization():
    config = TINY | {"inject_sample_info": True}
    model = SkyReelsTransformer.from_config(config)
    assert not model.proj_out.weight.any()
    assert not model.state_dict()["fps_projection.net.2.weight"].any()
    with torch.no_grad():
        out = model(**inputs(config), timestep=torch.tensor([500]), fps=torch.tensor([24]))
    assert not out.any()


def test_gradient_checkpointing_changes_nothing_but_memory():
    model, arguments = trained(TINY).train(), inputs(TINY)
    gradients = []
    for model.gradient_checkpointing in (False, True):
        model.zero_grad()
        model(**arguments, timestep=torch.tensor([500])).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_published_sizes_have_the_published_parameter_counts():
    with torch.device("meta"):
        df = SkyReelsTransformer(TransformerConfig(num_attention_heads=12, ffn_dim=8960, num_layers=30, inject_sample_info=True))
        t2v = SkyReelsTransformer(TransformerConfig(num_attention_heads=40, ffn_dim=13824, num_layers=40))
    assert sum(p.numel() for p in df.parameters()) / 1e9 == pytest.approx(1.4355, abs=5e-5)
    assert sum(p.numel() for p in t2v.parameters()) / 1e9 == pytest.approx(14.2885, abs=5e-5)


@pytest.mark.parametrize("timestep", [torch.zeros(2), torch.zeros(1, 4)], ids=["batch", "frames"])
def test_a_timestep_of_the_wrong_shape_is_refused(timestep: torch.Tensor):
    with pytest.raises(ValueError, match="timestep has shape"):
        trained(TINY)(**inputs(TINY), timestep=timestep)
