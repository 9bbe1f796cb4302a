"""Backends of quality scores: the pretrained paths run on tiny models with random weights, made on the spot."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from skyreels_platform.curation.quality import GRADED, OnnxScorer, QualitySettings, load_scorer, read_layout, signal_kind
from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo
from skyreels_platform.curation.signals.graded import MOST_PICTURES, KeptPictures
from skyreels_platform.curation.signals.iqa import PictureQuality
from skyreels_platform.errors import SourceError
from skyreels_platform.media.pyramid import Still
from tests.curation.signals.degraded import levels, rendered, scores


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack(rendered(1, size=(96, 64), num_frames=3))


def _clip_folder(folder: Path, widths: tuple[int, ...] = (16, 8, 4, 1)) -> Path:
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=CLIPTextConfig(vocab_size=64, max_position_embeddings=8, **shape).to_dict(),
        vision_config=CLIPVisionConfig(image_size=32, patch_size=16, **shape).to_dict(), projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    layers = {}
    for number, (into, out) in enumerate(pairwise(widths)):
        layers[f"layers.{2 * number}.weight"], layers[f"layers.{2 * number}.bias"] = torch.randn(out, into), torch.randn(out)
    save_file(layers, folder / "head.safetensors")
    return folder


def _network(path: Path, shape: tuple[Any, ...], axes: tuple[int, ...], layout: dict[str, Any]) -> Path:
    """A network whose answer is the mean of its input over some axes."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["pictures", "axes"], ["score"], keepdims=0)], "mean",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [side for axis, side in enumerate(shape) if axis not in axes])],
        [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text(json.dumps(layout), encoding="utf-8")
    return path


def _scored(settings: QualitySettings, **info: Any) -> Score:
    seen = levels(rendered(1, size=(96, 64), num_frames=16), 16)
    return scores([signal_kind(settings)], seen, 16, **info)[settings.name]


def test_clip_with_a_head_gives_what_transformers_gives(tmp_path: Path, pictures: np.ndarray) -> None:
    from safetensors.torch import load_file
    from transformers import CLIPModel

    folder = _clip_folder(tmp_path)
    square = np.ascontiguousarray(pictures[:, :32, :32])
    found = load_scorer(QualitySettings(name="aesthetic", backend="clip_mlp", weights=str(folder))).score(square)
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    inputs = ((torch.from_numpy(square) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        answer: Any = CLIPModel.from_pretrained(folder).get_image_features(pixel_values=inputs)
        features = getattr(answer, "pooler_output", answer)
        features = features / features.norm(dim=-1, keepdim=True)
        head = load_file(folder / "head.safetensors")
        for layer in (0, 2, 4):
            features = features @ head[f"layers.{layer}.weight"].T + head[f"layers.{layer}.bias"]
    assert found == pytest.approx(float(features.mean()), abs=1e-5)


def test_clip_scores_a_shot(tmp_path: Path) -> None:
    settings = QualitySettings(name="aesthetic", backend="clip_mlp", weights=str(_clip_folder(tmp_path)))
    found = _scored(settings)
    assert found.outcome == "measured", found.reason
    assert (found.signal, found.unit) == ("aesthetic", "score")
    assert found.version.startswith("1-clip_mlp-")
    assert found.value == _scored(settings).value


@pytest.mark.parametrize("widths", [(12, 8, 1), (16, 8, 2)])
def test_a_head_for_another_model_is_unknown(tmp_path: Path, widths: tuple[int, ...]) -> None:
    found = _scored(QualitySettings(name="aesthetic", backend="clip_mlp", weights=str(_clip_folder(tmp_path, widths))))
    assert (found.value, found.outcome) == (None, "unknown")
    assert "no chain of linear layers from 16 to 1" in found.reason


@pytest.mark.parametrize("axes", ["NCHW", "NHWC"])
def test_onnx_on_pictures_is_the_mean_over_them(tmp_path: Path, pictures: np.ndarray, axes: str) -> None:
    shape = {"N": 1, "C": 3, "H": 16, "W": 24}
    path = _network(
        tmp_path / "net.onnx", tuple(shape[axis] for axis in axes), (1, 2, 3),
        {"axes": axes, "height": 16, "width": 24, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "low": -2.0, "high": 2.0},
    )
    found = load_scorer(QualitySettings(name="iqa", backend="onnx", weights=str(path))).score(pictures)
    assert found == pytest.approx(pictures.mean() / 255, abs=2e-3)  # (4 (x - 0.5) + 2) / 4


def test_onnx_on_a_video_gets_as_many_frames_as_declared(tmp_path: Path, pictures: np.ndarray) -> None:
    path = _network(
        tmp_path / "net.onnx", (1, 3, 5, 64, 96), (1, 3, 4), {"axes": "NCTHW", "height": 64, "width": 96, "num_frames": 5},
    )
    found = OnnxScorer(path).score(pictures)
    levels = pictures.mean(axis=(1, 2, 3)) / 255
    assert found == pytest.approx(float(levels[[0, 0, 1, 2, 2]].mean()), abs=1e-5)


def test_onnx_scores_a_shot_and_its_version_follows_the_bytes(tmp_path: Path) -> None:
    layout = {"axes": "NCHW", "height": 16, "width": 16}
    settings = QualitySettings(name="vtss", backend="onnx", weights=str(tmp_path / "net.onnx"))
    assert signal_kind(settings).version == "2-onnx-absent"
    missing = _scored(settings)
    assert (missing.outcome, missing.value) == ("unknown", None)
    assert "no file" in missing.reason
    _network(tmp_path / "net.onnx", (1, 3, 16, 16), (1, 2, 3), layout)
    before = signal_kind(settings).version
    found = _scored(settings)
    assert found.outcome == "measured", found.reason
    assert found.value == pytest.approx(0.5, abs=0.3)
    _network(tmp_path / "net.onnx", (1, 3, 16, 16), (1, 2, 3), {**layout, "high": 2.0})
    assert len({before, "1-onnx-absent", signal_kind(settings).version, signal_kind(QualitySettings(name="vtss")).version}) == 4


def test_a_network_that_refuses_its_input_is_unknown(tmp_path: Path) -> None:
    path = _network(tmp_path / "net.onnx", (1, 3, 16, 16), (1, 2, 3), {"axes": "NCHW", "height": 8, "width": 8})
    found = _scored(QualitySettings(name="vqa", backend="onnx", weights=str(path)))
    assert found.outcome == "unknown"
    assert "net.onnx: the network refused its input" in found.reason
    assert found.reason.endswith("correct net.json")


def test_files_that_are_no_model_are_unknown(tmp_path: Path) -> None:
    folder = _clip_folder(tmp_path / "clip")
    (folder / "model.safetensors").write_bytes(b"nothing")
    found = _scored(QualitySettings(name="aesthetic", backend="clip_mlp", weights=str(folder)))
    assert "no CLIP model with a head can be read" in found.reason
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    (tmp_path / "net.json").write_text('{"axes": "NCHW", "height": 8, "width": 8}')
    found = _scored(QualitySettings(name="iqa", backend="onnx", weights=str(tmp_path / "net.onnx")))
    assert "onnxruntime cannot read it" in found.reason


@pytest.mark.parametrize(("backend", "name"), [("clip_mlp", "scorer.pth"), ("onnx", "scorer.ckpt"), ("clip_mlp", "clip.bin")])
def test_pickles_are_refused(tmp_path: Path, backend: Any, name: str) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / name)
    found = _scored(QualitySettings(name="aesthetic", backend=backend, weights=str(tmp_path / name)))
    assert found.outcome == "unknown"
    assert f"{name} is a pickle" in found.reason


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    folder = _clip_folder(tmp_path)
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = _scored(QualitySettings(name="aesthetic", backend="clip_mlp", weights=str(folder)))
    assert "no file" in found.reason
    assert "pytorch_model.bin are not read" in found.reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "iqaa"}, "'iqaa'; known: aesthetic, iqa, vqa, vtss"),
        ({"name": "iqa", "backend": "clip", "weights": "x"}, "'clip'; known: estimator, clip_mlp, onnx"),
        ({"name": "iqa", "backend": "onnx"}, "give the path of the weights"),
        ({"name": "iqa", "weights": "x"}, "leave it empty"),
    ],
)
def test_settings_that_contradict_themselves(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QualitySettings(**settings)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"axes": "NCHH", "height": 8, "width": 8}, "axes is 'NCHH'"), ({"axes": "NCHW", "height": 8}, "width"),
        ({"axes": "NCHW", "height": 8, "width": 8, "scale": 1}, "unknown keys scale; known: axes"),
        ({"axes": "NCHW", "height": 8, "width": 8, "std": [0, 1, 1]}, "std is never 0"),
        ({"axes": "NCHW", "height": 0, "width": 8}, "start at 1"),
    ],
)
def test_a_declaration_that_is_wrong(tmp_path: Path, layout: dict[str, Any], message: str) -> None:
    (tmp_path / "net.json").write_text(json.dumps(layout))
    with pytest.raises(SourceError, match=rf"net\.json: .*{message}"):
        read_layout(tmp_path / "net.json")


def test_the_default_is_the_estimator() -> None:
    assert signal_kind(QualitySettings(name="iqa")) is PictureQuality
    for name, kind in GRADED.items():
        found = _scored(QualitySettings(name=name))
        assert (found.signal, found.outcome, found.version) == (name, "measured", kind.version)
        assert found.value is not None
        assert 0 < found.value < 1


@pytest.mark.parametrize("num_stills", [1, 8, 9, 16, 17, 100, 1000])
def test_kept_pictures_are_few_and_evenly_spread(num_stills: int) -> None:
    small = np.zeros((81, 144, 3), np.uint8)
    kept = KeptPictures(ShotInfo(media="video", num_frames=1, duration_s=1.0, fps=24, width=16, height=16))
    for place in range(num_stills):
        luma = np.full((16, 16), 100, np.uint8)
        luma[0, 0], luma[8, 8] = divmod(place, 200)
        still = Still(large=luma, native=luma, chroma=np.full((8, 8, 2), 128, np.uint8))
        kept.add(Sample(rgb=small, grey=small[..., 0], luma=0.0, contrast=0.0, time_s=float(place), still=still))
    pictures = kept.pictures()
    assert pictures is not None
    places = pictures[:, 0, 0, 0].astype(int) * 200 + pictures[:, 8, 8, 0]
    assert min(num_stills, MOST_PICTURES // 2) <= len(places) <= MOST_PICTURES
    assert places[0] == 0
    assert len(set(np.diff(places))) <= 1
    assert num_stills - places[-1] <= (places[1] if len(places) > 1 else 1)
