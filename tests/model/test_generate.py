"""The generation process: a published checkpoint in, frames out; a model of the wrong kind is refused before it is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

from model.checkpoint import write_folder
from model.generate import FRAMES, PROGRESS, RESULT, generate
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import TRANSFORMER

PLAN = {
    "num_frames": 29, "height": 16, "width": 32, "base_num_frames": 17, "overlap_history": 5, "num_steps": 2, "shift": 1.0,
    "guidance_scale": 2.0, "ar_step": 0, "block_size": 1, "addnoise_condition": 20, "fps": 16, "seed": 3,
}  # fmt: skip


def spec(tmp_path: Path, kind: str) -> dict[str, Any]:
    torch.manual_seed(0)
    model = SkyReelsTransformer.from_config({**TRANSFORMER, "in_channels": 16, "out_channels": 16})
    checkpoint = tmp_path / "checkpoint"
    write_folder(checkpoint, lambda folder: model.save_pretrained(folder / "transformer"), {"model_kind": kind})
    (tmp_path / "out").mkdir()
    return {
        "checkpoint_dir": str(checkpoint), "prompt": "a red circle", "out_dir": str(tmp_path / "out"), "device": "cpu", "threads": 1,
        "codec": {"backend": "dct", "channels": 16}, "text": {"backend": "hash", "dim": 8, "length": 5}, "plan": PLAN,
    }  # fmt: skip


def test_a_checkpoint_becomes_frames(tmp_path: Path):
    generate(spec(tmp_path, "diffusion_forcing"))
    frames = load_file(tmp_path / "out" / FRAMES)["frames"]
    assert (frames.shape, frames.dtype) == ((29, 16, 32, 3), "uint8")
    assert frames.std() > 0
    assert json.loads((tmp_path / "out" / RESULT).read_text())["num_windows"] == 2
    assert json.loads((tmp_path / "out" / PROGRESS).read_text()) == {"done": 4, "total": 4}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {FRAMES, RESULT, PROGRESS}


def test_a_full_sequence_model_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="is a full_sequence model; films need a diffusion_forcing one"):
        generate(spec(tmp_path, "full_sequence"))
    assert list((tmp_path / "out").iterdir()) == []
