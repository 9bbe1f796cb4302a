"""Shot type, angle, position and emotion from frozen features and one small trainable head per field (paper 3.2: shot captioner).

Two stages, as in the paper: coarse labels in number (web images there), then few careful ones. The head is a linear classifier over the
mean and the spread of the features of a shot's frames; it trains in seconds on a CPU, which is what makes rounds of labelling practical.

The features are whatever turns pictures into vectors: an image encoder in production (`experts.encoder`), or `pixels`, built in and
without weights: gradients by direction and place, and where skin-like and dark parts lie. Those tell large from small and
high from low in drawn scenes; do not expect the paper's 82, 79 and 93 % of them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from skyreels_platform.captioning.experts import Said
from skyreels_platform.captioning.experts.expression import EMOTIONS, UNSEEN
from skyreels_platform.captioning.schema import OPTIONS
from skyreels_platform.ledger.provenance import hash_json

Features = Callable[[np.ndarray], np.ndarray]
"""Frames (F, H, W, 3) uint8 RGB -> vectors (F, D)."""

_OPTIONS = {**OPTIONS, "emotion": (*EMOTIONS, UNSEEN)}
SURE = 0.6  # our choice: below, the captioner's word stays
_GRID, _DIRECTIONS, _SIDE = 6, 8, 96
_COARSE = {"learning_rate": 0.05, "epochs": 60}
_FINE = {"learning_rate": 0.01, "epochs": 60}  # our choices


def pixels(frames: np.ndarray) -> np.ndarray:
    """(F, 432) features without weights: per cell of a 6 x 6 grid 8 gradient directions, mean luma, its deviation, and two chroma means."""
    found = []
    for frame in frames:
        small = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        luma, red, blue = (plane.astype(np.float32) / 255 for plane in cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)))
        across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
        size, angle = cv2.cartToPolar(across, down)
        places = (angle / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS
        planes = [np.where(places == place, size, 0) for place in range(_DIRECTIONS)] + [luma, luma**2, red, blue]
        cells = np.stack([cv2.resize(plane, (_GRID, _GRID), interpolation=cv2.INTER_AREA) for plane in planes])
        cells[_DIRECTIONS + 1] = np.sqrt(np.maximum(cells[_DIRECTIONS + 1] - cells[_DIRECTIONS] ** 2, 0))
        found.append(cells.ravel())
    return np.stack(found).astype(np.float32)


class ShotExpert:
    """An Expert for shot_type, shot_angle and shot_position, which also names an emotion. Untrained fields stay unsaid."""

    def __init__(self, features: Features = pixels, features_name: str = "pixels-1", *, source: str = "pixels") -> None:
        """features_name: id of the encoder; part of the version. source: what `features_by_name` makes the features of."""
        self._features, self._features_name, self._source = features, features_name, source
        self.heads: dict[str, nn.Linear] = {}
        self._scale: dict[str, torch.Tensor] = {}

    @property
    def version(self) -> str:
        """Features and a hash of the heads' weights."""
        weights = {name: hash_json(tensor.double().tolist()) for name, tensor in self._tensors().items()}
        return f"shots-{self._features_name}-{hash_json(weights)}"

    def vector(self, frames: np.ndarray) -> np.ndarray:
        """(2 D,): mean and deviation over a shot's frames."""
        values = self._features(frames)
        return np.concatenate([values.mean(axis=0), values.std(axis=0)]).astype(np.float32)

    def train(self, field: str, vectors: np.ndarray, labels: Sequence[str], *, seed: int, fine: bool = False) -> float:
        """Fit the head of one field to vectors (N, 2 D) and their options; a fine stage goes on from the coarse one. Returns the last loss.

        ValueError for a field or label that the schema does not have. Classes weigh the same however many labels they have.
        """
        options = options_of(field)
        if wrong := sorted(set(labels) - set(options)):
            raise ValueError(f"{field}: label {wrong[0]!r}; allowed: {', '.join(options)}")
        torch.manual_seed(seed)
        inputs = torch.from_numpy(np.asarray(vectors, np.float32))
        targets = torch.tensor([options.index(label) for label in labels])
        if field not in self.heads:
            self._scale[field] = torch.stack([inputs.mean(dim=0), inputs.std(dim=0, correction=0).clamp_min(1e-3)])
            self.heads[field] = nn.Linear(inputs.shape[1], len(options))
        head, settings = self.heads[field], _FINE if fine else _COARSE
        counts = torch.bincount(targets, minlength=len(options)).clamp_min(1)
        measure = nn.CrossEntropyLoss(weight=len(targets) / (len(options) * counts.float()), label_smoothing=0.05)
        optimizer = torch.optim.AdamW(head.parameters(), lr=settings["learning_rate"], weight_decay=0.1)
        loss = torch.zeros(())
        for _ in range(int(settings["epochs"])):
            optimizer.zero_grad()
            loss = measure(head(self._scaled(field, inputs)), targets)
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    def probabilities(self, field: str, vectors: np.ndarray) -> np.ndarray:
        """(N, options) of one field, in the schema's order."""
        with torch.no_grad():
            return self.heads[field](self._scaled(field, torch.from_numpy(np.asarray(vectors, np.float32)))).softmax(dim=1).numpy()

    def look(self, frames: np.ndarray) -> Mapping[str, Said]:
        """See Expert."""
        return {field: entry for field, entry in self.all_said(frames).items() if field in OPTIONS}

    def all_said(self, frames: np.ndarray) -> dict[str, Said]:
        """Of every head that is sure, `emotion` among them, which is a subject's and no field of the shot."""
        vector = self.vector(frames)[None]
        said = {}
        for field in self.heads:
            found = self.probabilities(field, vector)[0]
            if found.max() >= SURE:
                said[field] = Said(value=options_of(field)[int(found.argmax())], confidence=float(found.max()))
        return said

    def save(self, folder: Path) -> None:
        """Weights (safetensors) and what they belong to."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in self._tensors().items()}, folder / "heads.safetensors")
        about = {"features": self._features_name, "source": self._source, "options": {field: options_of(field) for field in self.heads}}
        (folder / "heads.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "ShotExpert":
        """Read what `save` wrote. ValueError if the heads were trained for other options or on other features."""
        about = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
        features, name = features_by_name(about["source"])
        if name != about["features"]:
            raise ValueError(f"{folder}: trained on {about['features']}, but {about['source']} now is {name}; train it again")
        expert = cls(features, name, source=about["source"])
        tensors = load_file(folder / "heads.safetensors")
        for field, options in about["options"].items():
            if tuple(options) != tuple(options_of(field)):
                raise ValueError(f"{folder}: {field} was trained for {options}; train it again")
            weight = tensors[f"{field}.weight"]
            expert.heads[field] = nn.Linear(weight.shape[1], weight.shape[0])
            expert.heads[field].load_state_dict({"weight": weight, "bias": tensors[f"{field}.bias"]})
            expert._scale[field] = tensors[f"{field}.scale"]
        return expert

    def _scaled(self, field: str, inputs: torch.Tensor) -> torch.Tensor:
        mean, deviation = self._scale[field]
        return (inputs - mean) / deviation

    def _tensors(self) -> dict[str, torch.Tensor]:
        found = {}
        for field, head in self.heads.items():
            found |= {f"{field}.weight": head.weight.detach(), f"{field}.bias": head.bias.detach(), f"{field}.scale": self._scale[field]}
        return found


@cache
def load_expert(folder: str) -> ShotExpert:
    """The expert of a folder, read once per process."""
    return ShotExpert.load(Path(folder))


@cache
def features_by_name(source: str) -> tuple[Features, str]:
    """Features and their id: `pixels`, or the folder of an image encoder."""
    if source == "pixels":
        return pixels, "pixels-1"
    from skyreels_platform.captioning.experts.encoder import load_encoder  # loads a model

    return load_encoder(source)


def options_of(field: str) -> tuple[str, ...]:
    """What a head of this field may say, in its order. ValueError for a field that no head learns."""
    if field not in _OPTIONS:
        raise ValueError(f"no field {field!r}; known: {', '.join(_OPTIONS)}")
    return _OPTIONS[field]
