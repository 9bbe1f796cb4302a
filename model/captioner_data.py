"""Clips to caption as a Qwen2.5-VL sees them: pictures cut into patches, the task, and the answer to learn.

    <data>/clips.jsonl          {"id", "answer", "shard", "lengths"} one line per clip
    <data>/clips-00000.safetensors    id -> its JPEGs one after the other (uint8); `lengths` says where each ends

No torchvision: pictures are scaled by Pillow and cut into patches here, as transformers' processor does it.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

INDEX = "clips.jsonl"
PATCH, MERGE, TEMPORAL = 14, 2, 2  # Qwen2.5-VL: 28 x 28 pixels and two frames become one token
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_PIXELS = 455 * 256  # of one frame at most: what is kept of a 16:9 shot
_FPS = 2.0  # nominal, as served
_SECONDS_PER_GRID = TEMPORAL / _FPS


@dataclass(frozen=True)
class Clip:
    """One line of the index."""

    id: str
    answer: str
    shard: str
    lengths: tuple[int, ...]


class CaptionSet:
    """The clips of a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        lines = (self.folder / INDEX).read_text(encoding="utf-8").splitlines()
        self.clips = [Clip(**{**json.loads(line), "lengths": tuple(json.loads(line)["lengths"])}) for line in lines]
        if not self.clips:
            raise ValueError(f"{self.folder} holds no clips")

    def pictures(self, clip: Clip) -> list[bytes]:
        """The clip's JPEGs."""
        with safe_open(self.folder / clip.shard, framework="np") as shard:
            data = shard.get_tensor(clip.id).tobytes()
        ends = np.cumsum(clip.lengths).tolist()
        return [data[end - length : end] for length, end in zip(clip.lengths, ends, strict=True)]

    def order(self, num_epochs: int, seed: int) -> list[int]:
        """Places of all clips, once per epoch, each epoch in an order of its own by hashing (seed, epoch, id)."""
        found: list[int] = []
        for epoch in range(num_epochs):
            key = lambda place, epoch=epoch: hashlib.sha256(f"{seed} {epoch} {self.clips[place].id}".encode()).digest()  # noqa: E731
            found += sorted(range(len(self.clips)), key=key)
        return found


def patches(pictures: Sequence[bytes]) -> tuple[Tensor, Tensor]:
    """(patches (T H W, 3 * 2 * 14 * 14), grid (1, 3) of T, H, W) of one video, in the order that the model reads them.

    T: pairs of frames, an odd last one repeated; H, W: patches after scaling to a multiple of 28 pixels, aspect ratio kept.
    """
    from PIL import Image

    frames = []
    for data in pictures:
        with Image.open(io.BytesIO(data)) as opened:
            width, height = _size(*opened.size)
            frames.append(np.asarray(opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)))
    if len(frames) % TEMPORAL:
        frames.append(frames[-1])
    video = torch.from_numpy(np.stack(frames)).float().div_(255).sub_(torch.tensor(_MEAN)).div_(torch.tensor(_STD))
    grid = video.shape[0] // TEMPORAL, video.shape[1] // PATCH, video.shape[2] // PATCH
    t, h, w = grid
    cut = video.permute(0, 3, 1, 2).reshape(t, TEMPORAL, 3, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH)
    ordered = cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)  # the four patches of one token stay together
    return ordered.reshape(t * h * w, 3 * TEMPORAL * PATCH * PATCH), torch.tensor([grid])


def _size(width: int, height: int) -> tuple[int, int]:
    """The nearest size in whole tokens, within the bound on pixels."""
    scale = min(1.0, (_PIXELS / (width * height)) ** 0.5)
    side = PATCH * MERGE
    return max(side, round(width * scale / side) * side), max(side, round(height * scale / side) * side)


def example(tokenizer: Any, pictures: Sequence[bytes], instruction: str, answer: str, video_token: int) -> dict[str, Tensor]:
    """What the model's forward takes for one clip, batch of one; labels cover the answer and its end alone."""
    values, grid = patches(pictures)
    num_tokens = len(values) // MERGE**2
    message = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": instruction}]}]
    prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    place = before.index(video_token)
    before = before[:place] + [video_token] * num_tokens + before[place + 1 :]
    after = tokenizer(f"{answer}<|im_end|>\n", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([before + after])
    return {
        "input_ids": ids, "labels": torch.tensor([[-100] * len(before) + after]), "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": values, "video_grid_thw": grid, "second_per_grid_ts": torch.tensor([_SECONDS_PER_GRID]),
        "mm_token_type_ids": torch.where(ids == video_token, 2, 0),
    }  # fmt: skip
