"""Descriptors from pretrained copy-detection networks (SSCD and its like) in place of the weight-free ones.

A network is one ONNX file on disk; nothing is downloaded. Its descriptors only find candidates: whether two shots are copies is
decided by their pictures all the same (see `alignment`), so a network may widen the search and can not merge what merely looks alike.
"""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from skyreels_platform.errors import MissingExtraError, RecipeError

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which SSCD and most others expect
_BATCH = 16  # pictures per call of the network: bounds its memory


class EmbeddingBackend(Protocol):
    """Turns pictures into descriptors whose cosine says how alike they are."""

    @property
    def name(self) -> str:
        """Letters, digits and underscores; part of table names and of provenance: another name for other weights."""
        ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 RGB -> (N, dimensions) float32 of unit length."""
        ...


class OnnxEmbedding:
    """An ONNX network with one input (N, 3, side, side) float32, normalized as ImageNet, and one output (N, D)."""

    def __init__(self, path: str | Path, *, side: int = 288) -> None:
        """Load a network. MissingExtraError without onnxruntime, RecipeError for a file that is no such network."""
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtraError("onnxruntime", "vectors", f"the embedding network {path}") from error
        content = _read(Path(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # sums in one order: equal pictures give equal bytes
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own for every kind of damage
            raise RecipeError(f"{path}: not an ONNX network that can be run ({error}); export it again") from error
        self.side = side
        self.name = f"onnx_{hashlib.sha256(content).hexdigest()[:12]}"
        shape = self.embed_raw(np.zeros((1, 8, 8, 3), np.uint8)).shape
        if len(shape) != 2:
            raise RecipeError(f"{path}: the output has shape {shape}; a descriptor per picture, (N, D), is needed")
        self.dimensions = int(shape[1])

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 RGB -> (N, dimensions) float32 of unit length."""
        parts = [self.embed_raw(pictures[first : first + _BATCH]) for first in range(0, len(pictures), _BATCH)]
        vectors = np.concatenate([np.zeros((0, self.dimensions), np.float32), *parts])
        return vectors / np.maximum(np.sqrt((vectors * vectors).sum(axis=1, keepdims=True)), 1e-6)

    def embed_raw(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 RGB -> the network's output as it is."""
        scaled = [cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA) for picture in pictures]
        values = (np.stack(scaled).astype(np.float32) / 255 - _MEAN) / _DEVIATION
        entry = self._session.get_inputs()[0].name
        return np.asarray(self._session.run(None, {entry: values.transpose(0, 3, 1, 2).astype(np.float32)})[0], np.float32)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: the embedding network cannot be read ({error.strerror}); give the path of an ONNX file") from error
