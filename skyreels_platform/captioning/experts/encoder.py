"""Frozen features of an image encoder in transformers' layout, such as CLIP's or SigLIP's vision tower, for the shot expert's heads.

Pictures are fitted into the encoder's square and padded, not squashed and not cropped: how much of the frame a head fills is what a shot
type is.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from model.checkpoint import file_hash
from skyreels_platform.captioning.experts.shots import Features
from skyreels_platform.errors import CaptionerError, MissingExtraError

_MEAN, _DEVIATION = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)  # code: CLIP's, where a folder says nothing
_BATCH = 32  # pictures at a time


def load_encoder(folder: str) -> tuple[Features, str]:
    """The features of the vision model in a local folder, and a name that changes with its weights. CaptionerError if there is none."""
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise MissingExtraError("transformers", "production", "An image encoder") from error
    path = Path(folder)
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise CaptionerError(f"labelling.features is {folder!r}: no folder with *.safetensors; give a vision model's, or 'pixels'")
    whole = AutoModel.from_pretrained(folder).eval()
    model = getattr(whole, "vision_model", whole)
    settings = path / "preprocessor_config.json"
    said = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    mean, deviation = (np.array(said.get(key, usual), np.float32) for key, usual in (("image_mean", _MEAN), ("image_std", _DEVIATION)))
    side = int(getattr(whole.config, "vision_config", whole.config).image_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)

    def features(frames: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.stack([(_fitted(frame, side) / 255 - mean) / deviation for frame in frames])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            parts = [model(pixel_values=part.to(device)).pooler_output.float().cpu() for part in inputs.float().split(_BATCH)]
        return torch.cat(parts).numpy()

    return features, f"{path.name}-{file_hash(weights[0])[:8]}"


def _fitted(frame: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) float32: the whole picture in the middle, grey around it."""
    scale = side / max(frame.shape[:2])
    height, width = (max(1, round(length * scale)) for length in frame.shape[:2])
    square = np.full((side, side, 3), 127.0, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return square
