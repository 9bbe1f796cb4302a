"""The original layout and diffusers', both ways, and everything that a strict table refuses."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.configs import CONFIGS, TransformerConfig
from model.layouts import from_original_config, from_original_name, rename, to_original_config, to_original_name
from model.transformer import ORIGINAL_WEIGHTS_NAME, SkyReelsTransformer

PUBLISHED = [name for name in CONFIGS if not name.startswith("tiny")]


def names_of(config: TransformerConfig) -> list[str]:
    with torch.device("meta"):
        return list(SkyReelsTransformer(config).state_dict())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_name_goes_over_and_back_and_none_collides(name: str):
    ours = names_of(CONFIGS[name])
    original = [to_original_name(key) for key in ours]
    assert len(set(original)) == len(original)
    assert [from_original_name(key) for key in original] == ours


def test_the_names_are_those_of_diffusers_conversion():
    pairs = {
        "blocks.3.self_attn.o.weight": "blocks.3.attn1.to_out.0.weight",
        "blocks.3.cross_attn.norm_k_img.weight": "blocks.3.attn2.norm_added_k.weight",
        "blocks.12.modulation": "blocks.12.scale_shift_table",
        "blocks.0.norm3.bias": "blocks.0.norm2.bias",
        "blocks.0.ffn.0.weight": "blocks.0.ffn.net.0.proj.weight",
        "head.modulation": "scale_shift_table",
        "head.head.weight": "proj_out.weight",
        "img_emb.proj.1.bias": "condition_embedder.image_embedder.ff.net.0.proj.bias",
        "time_projection.1.weight": "condition_embedder.time_proj.weight",
        "fps_projection.2.weight": "fps_projection.net.2.weight",
    }
    for original, ours in pairs.items():
        assert from_original_name(original) == ours
        assert to_original_name(ours) == original


@pytest.mark.parametrize(
    "key", ["blocks.0.norm1.weight", "blocks.0.attn1.to_q.weight", "head.head.scale", "rope.freqs", "blocks.0.q"]
)
def test_an_unknown_key_is_refused_by_name(key: str):
    with pytest.raises(ValueError, match=key):
        rename({key: torch.zeros(1)}, from_original_name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_configs_go_over_and_back(name: str):
    assert from_original_config(to_original_config(CONFIGS[name])) == CONFIGS[name]


def test_upstreams_config_file_is_read():
    """config.json of the published 1.3B diffusion-forcing checkpoint in the original layout."""
    values = {
        "_class_name": "WanModel", "_diffusers_version": "0.30.0", "dim": 1536, "eps": 1e-06, "ffn_dim": 8960, "freq_dim": 256,
        "in_dim": 16, "model_type": "t2v", "num_heads": 12, "num_layers": 30, "out_dim": 16, "text_len": 512,
        "inject_sample_info": True,
    }  # fmt: skip
    assert from_original_config(values) == CONFIGS["1.3b_df"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": 3}, r"unknown keys \['dims'\]"),
        ({"model_type": "flf2v"}, "model_type is 'flf2v'"),
        ({"window_size": [3, 3]}, "window_size is"),
        ({"num_heads": 7}, "does not divide"),
    ],
)
def test_a_config_that_upstreams_code_would_ignore_or_misread_is_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        from_original_config(to_original_config(CONFIGS["1.3b"]) | change)


def test_a_config_that_the_original_layout_cannot_say_is_refused():
    with pytest.raises(ValueError, match="fixes patch_size"):
        to_original_config(replace(CONFIGS["tiny"], patch_size=(1, 1, 1)))


def small_i2v() -> SkyReelsTransformer:
    config = replace(CONFIGS["tiny_i2v"], image_dim=1280, inject_sample_info=True)
    torch.manual_seed(0)
    return SkyReelsTransformer.from_config(asdict(config))


def test_a_folder_in_the_original_layout_loads_to_the_same_bits(tmp_path: Path):
    model = small_i2v()
    model.save_pretrained(tmp_path, original=True)
    assert "blocks.1.cross_attn.k_img.weight" in load_file(tmp_path / ORIGINAL_WEIGHTS_NAME)
    again = SkyReelsTransformer.from_pretrained(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in again.parameters())


def test_a_key_missing_in_the_original_layout_is_an_error(tmp_path: Path):
    small_i2v().save_pretrained(tmp_path, original=True)
    state = load_file(tmp_path / ORIGINAL_WEIGHTS_NAME)
    del state["blocks.0.self_attn.q.weight"]
    save_file(state, tmp_path / ORIGINAL_WEIGHTS_NAME)
    with pytest.raises(RuntimeError, match=r"blocks\.0\.attn1\.to_q\.weight"):
        SkyReelsTransformer.from_pretrained(tmp_path)


def test_shards_are_joined_and_repeated_weights_refused(tmp_path: Path):
    model = small_i2v()
    model.save_pretrained(tmp_path, original=True)
    state = load_file(tmp_path / ORIGINAL_WEIGHTS_NAME)
    (tmp_path / ORIGINAL_WEIGHTS_NAME).unlink()
    keys = list(state)
    for number, part in enumerate((keys[::2], keys[1::2]), start=1):
        save_file({key: state[key] for key in part}, tmp_path / f"model-{number:05d}-of-00002.safetensors")
    again = SkyReelsTransformer.from_pretrained(tmp_path, torch.bfloat16)
    assert torch.equal(again.proj_out.bias, model.proj_out.bias.bfloat16())
    save_file({keys[0]: state[keys[0]]}, tmp_path / "model.fp16.safetensors")
    with pytest.raises(ValueError, match="repeats weights"):
        SkyReelsTransformer.from_pretrained(tmp_path)


def test_our_config_files_carry_no_unknown_keys(tmp_path: Path):
    small_i2v().save_pretrained(tmp_path, original=True)
    from_original_config(json.loads((tmp_path / "config.json").read_text()))
