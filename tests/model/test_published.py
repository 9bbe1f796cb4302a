"""The kind of published weights: stated beside them, refused where it is missing, unknown or against the folder's name."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from model.checkpoint import MANIFEST, verify_folder
from model.configs import CONFIGS
from model.published import label, main, read_kind
from model.transformer import SkyReelsTransformer


def published(folder: Path) -> Path:
    SkyReelsTransformer.from_config(asdict(CONFIGS["tiny"])).save_pretrained(folder / "transformer")
    return folder


def test_a_labelled_folder_says_what_it_is_and_can_be_verified(tmp_path: Path):
    folder = published(tmp_path / "SkyReels-V2-DF-14B-540P-Diffusers")
    main([str(folder), "--kind", "diffusion_forcing"])
    assert read_kind(folder) == "diffusion_forcing"
    assert verify_folder(folder) == []
    (folder / "transformer" / "config.json").write_text("{}")
    assert verify_folder(folder) == ["transformer/config.json"]


def test_a_folder_without_a_label_is_refused_with_the_command(tmp_path: Path):
    with pytest.raises(ValueError, match=r"python -m model\.published .* --kind"):
        read_kind(published(tmp_path))


def test_a_name_that_says_otherwise_is_believed(tmp_path: Path):
    folder = published(tmp_path / "SkyReels-V2-T2V-14B-540P-Diffusers" / "snapshots" / "0")
    with pytest.raises(ValueError, match="named as a full_sequence model"):
        label(folder, "diffusion_forcing")
    label(folder, "full_sequence")
    with pytest.raises(ValueError, match="is there already and states full_sequence"):
        label(folder, "full_sequence")


def test_wrong_folders_and_kinds_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"has no config\.json"):
        label(tmp_path, "full_sequence")
    with pytest.raises(ValueError, match="kind is 'df'"):
        label(tmp_path, "df")
    (tmp_path / MANIFEST).write_text(json.dumps({"step": 1}))
    with pytest.raises(ValueError, match="states model_kind None"):
        read_kind(tmp_path)
