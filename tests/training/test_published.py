"""Published weights as a start: folders in diffusers' and upstream's layout, written by diffusers' own class; and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resources.home import open_home
from skyreels_platform.errors import RecipeError
from skyreels_platform.home import Home
from skyreels_platform.recipe import Recipe, load_recipe
from skyreels_platform.training.published import published_weights

MODEL: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8, "text_dim": 32, "freq_dim": 64, "ffn_dim": 32, "num_layers": 1}
STAGE = "diffusion_forcing"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's folder with a `transformer/` that diffusers' class has written."""
    from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel

    folder = tmp_path_factory.mktemp("theirs")
    SkyReelsV2Transformer3DModel(**MODEL, inject_sample_info=True).save_pretrained(folder / "transformer")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def recipe(init_from: object, **model: object) -> Recipe:
    values = load_recipe("laptop").model_dump()
    values["model"] |= {**MODEL, **model}
    values["stages"][STAGE]["init_from"] = str(init_from)
    return Recipe.model_validate(values)


def test_a_folder_is_found_and_known_by_its_contents(theirs: Path, home: Home, tmp_path: Path) -> None:
    found = published_weights(home, recipe(theirs), STAGE)
    assert found.folder == theirs / "transformer"
    shutil.copytree(theirs / "transformer", tmp_path / "copy")
    assert published_weights(home, recipe(tmp_path / "copy"), STAGE) == replace(found, folder=tmp_path / "copy")
    weights = next((tmp_path / "copy").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert published_weights(home, recipe(tmp_path / "copy"), STAGE).identity != found.identity


def test_the_original_layout_is_found_too(theirs: Path, home: Home, tmp_path: Path) -> None:
    from model.transformer import SkyReelsTransformer

    SkyReelsTransformer.from_pretrained(theirs / "transformer").save_pretrained(tmp_path / "original", original=True)
    assert published_weights(home, recipe(tmp_path / "original"), STAGE).folder == tmp_path / "original"


def test_another_model_than_the_recipe_s_is_refused_with_what_to_write(theirs: Path, home: Home) -> None:
    with pytest.raises(RecipeError, match=r"stages.diffusion_forcing.init_from = .* write under \[model\] ffn_dim = 32; num_layers = 1"):
        published_weights(home, recipe(theirs, ffn_dim=48, num_layers=2), STAGE)


def test_a_folder_without_weights_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"holds no config\.json with safetensors files"):
        published_weights(home, recipe(tmp_path), STAGE)


def test_what_is_neither_folder_nor_id_is_refused(home: Home) -> None:
    with pytest.raises(RecipeError, match="no such folder, and no Hugging Face id"):
        published_weights(home, recipe("weights/of/mine"), STAGE)


def test_an_id_that_cannot_be_downloaded_says_how_to_go_on(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RecipeError, match=r"run `hf download Skywork/Nothing --local-dir FOLDER`"):
        published_weights(home, recipe("Skywork/Nothing"), STAGE)
