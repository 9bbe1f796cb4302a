"""The captioner's fine-tune on a tiny random Qwen2.5-VL: it learns, resumes exactly, and leaves what transformers loads."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from model.captioner_data import INDEX, CaptionSet, example, patches
from model.captioner_spec import CaptionerSpec
from model.checkpoint import find_checkpoints, write_json
from model.journal import LOSSES, read_lines
from tests.captioning.tiny_qwen import write_tiny_qwen

ROOT = Path(__file__).resolve().parents[2]
LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]}


def jpeg(level: int, size: tuple[int, int] = (84, 56)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, 255 - level, 128)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_qwen(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips, whose answer follows from their colour."""
    folder = tmp_path_factory.mktemp("data")
    lines, tensors = [], {}
    for number in range(6):
        pictures = [jpeg(40 * number + place) for place in range(3)]
        tensors[f"shot_{number}"] = np.frombuffer(b"".join(pictures), np.uint8)
        lines.append({"id": f"shot_{number}", "answer": json.dumps({"lighting": "dim" if number < 3 else "bright"}),
                      "shard": "clips-00000.safetensors", "lengths": [len(picture) for picture in pictures]})  # fmt: skip
    save_file(tensors, folder / "clips-00000.safetensors")
    (folder / INDEX).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def spec_of(run_dir: Path, base: Path, data: Path, **changed: Any) -> CaptionerSpec:
    run_dir.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "run_dir": str(run_dir), "data_dir": str(data), "base_dir": str(base), "instruction": "Describe.", "seed": 0, "num_epochs": 4,
        "batch_size": 4, "learning_rate": 3e-3, "weight_decay": 0.0, "warmup_steps": 0, "grad_clip": 1.0, "checkpoint_every": 3,
        "lora": None, "zero_stage": 1, "offload": "none", "dtype": "float32", "accelerator": "cpu", "threads_per_rank": 1,
        "inputs": {"base": "b"},
    }  # fmt: skip
    return CaptionerSpec(**{**values, **changed})


def train(spec: CaptionerSpec, num_ranks: int = 1) -> list[float]:
    path = Path(spec.run_dir) / "spec.json"
    write_json(path, spec.to_dict())
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_ranks), "-m"] if num_ranks > 1 else ["-m"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASTER_PORT", str(29500 + os.getpid() % 1000))
        done = subprocess.run(
            [sys.executable, *launcher, "model.captioner", "--spec", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [line["loss"] for line in read_lines(Path(spec.run_dir) / LOSSES)]


def weights(spec: CaptionerSpec) -> dict[str, torch.Tensor]:
    from transformers import Qwen2_5_VLForConditionalGeneration

    folder = find_checkpoints(Path(spec.run_dir))[-1].path / "captioner"
    return dict(Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).state_dict())


def test_patches_keep_a_tokens_parts_together() -> None:
    """A picture of four tokens, each of its own grey: 16 patches, four after four alike."""
    picture = np.zeros((56, 56, 3), np.uint8)
    for place, level in enumerate((0, 80, 160, 240)):
        picture[28 * (place // 2) : 28 * (place // 2) + 28, 28 * (place % 2) : 28 * (place % 2) + 28] = level
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    values, grid = patches([buffer.getvalue()])
    assert grid.tolist() == [[1, 4, 4]]
    assert values.shape == (16, 3 * 2 * 14 * 14)
    grey = values.reshape(16, 3, -1)[:, 0].mean(dim=1) * 0.26862954 + 0.48145466
    assert (grey * 255).round().int().tolist() == [level for level in (0, 80, 160, 240) for _ in range(4)]


def test_a_clip_becomes_what_the_model_takes(base: Path, data: Path) -> None:
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    clips = CaptionSet(data)
    values = example(tokenizer, clips.pictures(clips.clips[0]), "Describe.", clips.clips[0].answer, model.config.video_token_id)
    video = values["input_ids"] == model.config.video_token_id
    assert int(video.sum()) == 2 * 2 * 3, "two pairs of frames of 2 x 3 tokens"
    learned = values["labels"][values["labels"] != -100]
    assert tokenizer.decode(learned) == clips.clips[0].answer + "<|im_end|>\n"
    assert not (values["labels"][video] != -100).any()
    with torch.no_grad():
        assert torch.isfinite(model(**values).loss)


def test_every_epoch_sees_every_clip_once(data: Path) -> None:
    clips = CaptionSet(data)
    order = clips.order(2, seed=0)
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert order[:6] != order[6:]
    assert order == clips.order(2, seed=0)
    assert order != clips.order(2, seed=1)


def test_it_learns_and_resumes_exactly(base: Path, data: Path, tmp_path: Path) -> None:
    whole = spec_of(tmp_path / "whole", base, data)
    losses = train(whole)
    assert len(losses) == 6
    assert losses[-1] < 0.75 * losses[0]
    parts = spec_of(tmp_path / "parts", base, data, max_steps_this_run=3)
    train(parts)
    assert train(parts) == losses
    first, second = weights(whole), weights(parts)
    assert all(torch.equal(first[name], second[name]) for name in first)
    served = find_checkpoints(tmp_path / "whole")[-1].path / "captioner"
    assert {"config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.jinja"} <= {path.name for path in served.iterdir()}


@pytest.mark.slow
def test_two_ranks_and_lora(base: Path, data: Path, tmp_path: Path) -> None:
    one = train(spec_of(tmp_path / "one", base, data, num_epochs=2))
    two = train(spec_of(tmp_path / "two", base, data, num_epochs=2), num_ranks=2)
    np.testing.assert_allclose(one, two, rtol=1e-4)
    spec = spec_of(tmp_path / "lora", base, data, num_epochs=2, lora=LORA, max_steps_this_run=1)
    train(spec)
    losses = train(spec_of(tmp_path / "lora", base, data, num_epochs=2, lora=LORA))
    assert len(losses) == 3
    before = weights(spec_of(tmp_path / "one", base, data))
    after = weights(spec)
    assert before.keys() == after.keys(), "merged: no factors left in the names"
