"""Where quality scores come from: the built-in estimators, or pretrained scorers whose weights lie on this machine.

    estimator   a stated formula over cheap statistics; no weights (default). See `curation.signals.graded`.
    clip_mlp    a folder with a CLIP model as transformers saves it (config.json, model.safetensors) and the aesthetic head
                `head.safetensors`: linear layers without activations between them, as LAION published them for CLIP ViT-L/14.
    onnx        any exported scorer (a DOVER-type VQA, Koala-36M's VTSS, an IQA network): NAME.onnx and beside it NAME.json, which
                says how it wants its pictures (see OnnxLayout).

Pretrained scores are whatever range the model has, unless NAME.json rescales it; clip_mlp gives points of 10 as published. Nothing
is downloaded here, and pickle files are refused because they run code when they are read. What is missing makes the score
`unknown`, with the reason and the remedy.

How well the estimators order damaged versions of one clip: Spearman's rank correlation of score and strength of the damage, mean over
6 drawn clips / 12 stretches of real footage, 2026-11-22 (`pytest -m slow tests/curation/signals/test_quality_signals.py -s`). The
formulas were settled on these very clips, so other footage will do somewhat worse.

    damage           iqa            vqa            aesthetic      vtss           blockiness
    Gaussian blur    -1.00 / -0.97  -1.00 / -0.96  -0.98 / -0.98  -1.00 / -0.90  -0.50 / -0.62
    JPEG             -0.99 / -0.97  -0.99 / -0.97  -1.00 / -0.99  -0.99 / -0.91  +1.00 / +1.00
    H.264            -0.81 / -0.81  -0.80 / -0.59  -0.83 / -0.80  -0.80 / -0.71  +0.70 / +0.56
    noise            -0.99 / -1.00  -1.00 / -1.00  -1.00 / -1.00  -0.93 / -0.91  +0.21 / -0.21
    under-exposure   -1.00 / -1.00  -1.00 / -1.00  -1.00 / -1.00  -1.00 / -0.96  -0.78 / -0.75
    over-exposure    -0.79 / -0.71  -0.80 / -0.70  -0.78 / -0.70  -0.80 / -0.60  +0.24 / +0.03
    down and up      -0.98 / -0.98  -0.99 / -0.99  -0.98 / -0.98  -0.96 / -0.95  -0.14 / -0.09
    lost frames      +0.06 / +0.02  -0.68 / -0.88  -0.11 / +0.05  -0.98 / -0.90  -0.21 / -0.02
    shake            -0.10 / -0.21  -1.00 / -0.96  +0.20 / -0.26  -0.90 / -0.78  -0.02 / +0.01
    flicker          +0.02 / +0.41  -1.00 / -1.00  +0.09 / +0.31  -1.00 / -0.92  -0.11 / +0.31

H.264 is the weak one: it hides noise and freezes small motion before it blurs, which looks like an improvement. A clip that is darker
than it should be gains from the first stop of over-exposure. Between different clips the scores say little: they know neither
content nor taste.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import cv2
import numpy as np

from skyreels_platform.curation.signals.aesthetic import Aesthetic
from skyreels_platform.curation.signals.graded import GradedSignal, KeptPictures, Scorer
from skyreels_platform.curation.signals.iqa import PictureQuality
from skyreels_platform.curation.signals.vqa import VideoQuality
from skyreels_platform.curation.signals.vtss import TrainingSuitability
from skyreels_platform.errors import MissingExtraError, SourceError

Backend = Literal["estimator", "clip_mlp", "onnx"]
GRADED: dict[str, type[GradedSignal]] = {
    kind.name: kind for kind in (Aesthetic, PictureQuality, VideoQuality, TrainingSuitability)
}
"""The signals that can have a pretrained scorer, by name."""
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of RGB from 0 to 1, as CLIP was trained."""


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """Where one quality signal gets its scores."""

    name: str
    """aesthetic | iqa | vqa | vtss."""
    backend: Backend = "estimator"
    weights: str = ""
    """Path of the weights: a folder for clip_mlp, a .onnx file for onnx, empty for estimator."""

    def __post_init__(self) -> None:
        if self.name not in GRADED:
            raise ValueError(f"QualitySettings.name is {self.name!r}; known: {', '.join(GRADED)}")
        if self.backend not in get_args(Backend):
            raise ValueError(f"QualitySettings.backend of {self.name} is {self.backend!r}; known: {', '.join(get_args(Backend))}")
        if (self.backend == "estimator") != (not self.weights):
            remedy = "leave it empty" if self.weights else "give the path of the weights"
            raise ValueError(f"QualitySettings.weights of {self.name} is {self.weights!r} for the backend {self.backend}; {remedy}")


@dataclass(frozen=True, kw_only=True)
class OnnxLayout:
    """What a network wants to be given: the keys of NAME.json beside NAME.onnx."""

    axes: str
    """One letter per axis of the input: N picture (or batch), T time, C colour, H row, W column. With T, all pictures go in at once as
    one video, N being 1; without, they are a batch, and their scores are averaged."""
    height: int
    width: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted from RGB, which runs from 0 to 1;"""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """what is left is divided by this."""
    num_frames: int = 0
    """Length of T: the pictures are repeated or thinned evenly to so many; 0 for any."""
    low: float = 0.0
    """Answer of the network that becomes score 0,"""
    high: float = 1.0
    """and the one that becomes 1; not clipped."""

    def __post_init__(self) -> None:
        if sorted(self.axes) not in (sorted("NCHW"), sorted("NTCHW")):
            raise ValueError(f"axes is {self.axes!r}; give each of N, C, H, W once, and T for a video")
        if self.height < 1 or self.width < 1 or self.num_frames < 0 or self.low == self.high:
            raise ValueError("height and width start at 1, num_frames at 0, and low differs from high")
        if len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise ValueError("mean and std have three numbers each, and std is never 0")


def signal_kind(settings: QualitySettings) -> type[GradedSignal]:
    """The signal class that scores as the settings say; its version changes with the backend and with the weights' bytes, so that
    scores of other weights are stale. Missing weights are no error here: the scores are `unknown`, and stale once they arrive."""
    kind = GRADED[settings.name]
    if settings.backend == "estimator":
        return kind
    return type(kind.__name__, (kind,), {
        "__doc__": kind.__doc__, "version": f"{kind.version}-{settings.backend}-{_fingerprint(settings)}",
        "shared": KeptPictures, "scorer": classmethod(lambda cls: load_scorer(settings)),
    })


@lru_cache(maxsize=8)
def load_scorer(settings: QualitySettings) -> Scorer:
    """The scorer of the settings, read once per process. SourceError or MissingExtraError where it cannot be used."""
    if Path(settings.weights).suffix in PICKLES:
        raise SourceError(f"{settings.weights} is a pickle, which runs code when it is read; convert it to safetensors or ONNX")
    if settings.backend == "clip_mlp":
        return ClipMlpScorer(Path(settings.weights))
    if settings.backend == "onnx":
        return OnnxScorer(Path(settings.weights))
    raise ValueError(f"{settings.name} has the backend {settings.backend!r}, which needs no scorer")


class ClipMlpScorer:
    """CLIP's picture embedding, scaled to length 1, through linear layers to one number; mean over the pictures.

    Source: LAION's aesthetic predictor, which the CLIP+MLP filters of published pipelines use.
    """

    head: ClassVar[str] = "head.safetensors"

    def __init__(self, folder: Path) -> None:
        for name, maker in (
            ("config.json", "CLIPModel.save_pretrained"), ("model.safetensors", "CLIPModel.save_pretrained"),
            (self.head, "safetensors.torch.save_file"),
        ):
            _present(folder / name, f"{maker} writes it")
        try:
            import torch
            from safetensors.torch import load_file
            from transformers import CLIPModel
        except ImportError as error:
            raise MissingExtraError(error.name or "transformers", "production", "the quality backend clip_mlp") from error
        try:
            self._clip: Any = CLIPModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True).eval()
            tensors = load_file(folder / self.head)
        except Exception as error:
            raise SourceError(f"{folder}: no CLIP model with a head can be read ({error}); export it again") from error
        self._torch = torch
        self._layers = _linear_layers(folder / self.head, tensors, self._clip.config.projection_dim)
        self._side = self._clip.config.vision_config.image_size

    def score(self, pictures: np.ndarray) -> float:
        inputs = (np.stack([_covering(picture, self._side, self._side) for picture in pictures]) / 255 - CLIP_MEAN) / CLIP_STD
        with self._torch.inference_mode():
            pixels = self._torch.from_numpy(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2), np.float32))
            seen = self._clip.vision_model(pixel_values=pixels).pooler_output
            features = self._clip.visual_projection(seen)
            features = features / features.norm(dim=-1, keepdim=True)
            for weight, bias in self._layers:
                features = self._torch.nn.functional.linear(features, weight, bias)
        return float(features.double().mean())


class OnnxScorer:
    """A network in an ONNX file, run by onnxruntime on the CPU with one thread; the mean of its answers, rescaled."""

    def __init__(self, path: Path) -> None:
        _present(path, "export the network there (torch.onnx.export)")
        declared = path.with_suffix(".json")
        _present(declared, "declare the network's input there, as skyreels_platform.curation.quality.OnnxLayout says")
        self._path, self.layout = path, read_layout(declared)
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "quality", "the quality backend onnx") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SourceError(f"{path}: onnxruntime cannot read it ({error}); export it again") from error
        (self._input, *others) = (node.name for node in self._session.get_inputs())
        if others:
            raise SourceError(f"{path}: the network has {1 + len(others)} inputs; export it with one, the pictures")

    def score(self, pictures: np.ndarray) -> float:
        try:
            answers = np.concatenate([
                np.asarray(self._session.run(None, {self._input: batch})[0], np.float64).ravel() for batch in self._batches(pictures)
            ])
        except Exception as error:
            raise SourceError(f"{self._path}: the network refused its input ({error}); correct {self._path.stem}.json") from error
        if not answers.size or not np.isfinite(answers).all():
            raise SourceError(f"{self._path}: the network answered {answers[:4]}; a score is a finite number")
        return float((answers.mean() - self.layout.low) / (self.layout.high - self.layout.low))

    def _batches(self, pictures: np.ndarray) -> list[np.ndarray]:
        """One video, or one picture at a time, since many exports fix the batch at 1."""
        layout = self.layout
        fitted = np.stack([_covering(picture, layout.height, layout.width) for picture in pictures]) / 255
        values = ((fitted - layout.mean) / layout.std).astype(np.float32)
        if "T" in layout.axes:
            if layout.num_frames:
                values = values[np.linspace(0, len(values) - 1, layout.num_frames).round().astype(int)]
            return [_ordered(values[None], "NTHWC", layout.axes)]
        return [_ordered(value[None], "NHWC", layout.axes) for value in values]


def read_layout(path: Path) -> OnnxLayout:
    """The declared input of a network. SourceError names the file and what is wrong in it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(OnnxLayout)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown keys {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return OnnxLayout(**settings)
    except (ValueError, TypeError, OSError) as error:
        raise SourceError(f"{path}: {error}") from error


def _present(path: Path, remedy: str) -> None:
    if not path.is_file():
        pickles = sorted(file.name for file in path.parent.glob("*") if file.suffix in PICKLES)
        beside = f" (pickles like {pickles[0]} are not read)" if pickles else ""
        raise SourceError(f"no file {path}{beside}; {remedy}")


def _linear_layers(path: Path, tensors: dict[str, Any], width: int) -> list[tuple[Any, Any]]:
    """(weight, bias) in the order of their numbers: `layers.0.weight`, `layers.2.weight`, ..., from `width` to 1."""
    names = sorted(
        (name.removesuffix(".weight") for name in tensors if name.endswith(".weight")),
        key=lambda name: [int(part) if part.isdigit() else -1 for part in name.split(".")],
    )
    layers = [(tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()) for name in names if f"{name}.bias" in tensors]
    widths = [width, *(len(bias) for _, bias in layers)]
    fits = all(tuple(weight.shape) == (into, out) for (weight, _), out, into in zip(layers, widths, widths[1:], strict=False))
    if not layers or len(layers) != len(names) or not fits or widths[-1] != 1:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise SourceError(f"{path}: no chain of linear layers from {width} to 1 ({shapes}); take the head made for this CLIP")
    return layers


def _covering(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture's middle at (height, width): scaled until it covers that, then cropped."""
    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return resized[top : top + height, left : left + width]


def _ordered(values: np.ndarray, axes: str, wanted: str) -> np.ndarray:
    return np.ascontiguousarray(values.transpose([axes.index(axis) for axis in wanted]))


def _fingerprint(settings: QualitySettings) -> str:
    """Of every byte that decides about the score; `absent` while nothing is there."""
    path = Path(settings.weights)
    if path.is_dir():
        files = [path / name for name in ("config.json", "model.safetensors", ClipMlpScorer.head)]
    else:
        files = [path, path.with_suffix(".json")]
    if not all(file.is_file() for file in files):
        return "absent"
    return _digest(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=32)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """Of the files' bytes; sizes and times only tell when they must be read again."""
    digest = hashlib.sha256()
    for name, _, _ in files:
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
