"""A folder of encoded clips: sharded safetensors and one index line per clip.

    index.jsonl                 {"clip_id", "shot_id", "shard", "shape", "fps", "text"} per clip, in a fixed order
    latents-00000.safetensors   clip id -> (C, F, H, W) float32
    text.safetensors            text key -> (S, D) float32; one entry per distinct caption, "" is the empty prompt
    manifest.json               written last
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

INDEX = "index.jsonl"
TEXT = "text.safetensors"
EMPTY_TEXT = "empty"
"""Text key of the empty prompt, for classifier-free guidance."""


@dataclass(frozen=True, kw_only=True)
class LatentClip:
    """One line of the index."""

    clip_id: str
    shot_id: str
    shard: str
    shape: tuple[int, ...]
    """(C, F, H, W); clips of equal shape may share a batch."""
    fps: int
    text: str
    """Key of the caption's features."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one shape on one device."""

    latents_BCFHW: Tensor
    text_BSD: Tensor
    fps_B: Tensor


class LatentSet:
    """Reads a folder of encoded clips; shards stay memory-mapped."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        lines = (self.folder / INDEX).read_text(encoding="utf-8").splitlines()
        self.clips = [_parse(line) for line in lines]
        if not self.clips:
            raise ValueError(f"{self.folder} holds no clips: the snapshot behind it is empty")
        self._text = load_file(self.folder / TEXT)
        self._shards: dict[str, Any] = {}

    def bucket_keys(self) -> list[str]:
        """The bucket of each clip: clips that share shape and frame rate."""
        return [f"{'x'.join(map(str, clip.shape))}@{clip.fps}" for clip in self.clips]

    def text(self, key: str) -> Tensor:
        """Features (S, D) of a caption key."""
        return self._text[key]

    def latents(self, clip: LatentClip) -> Tensor:
        """(C, F, H, W), float32."""
        if clip.shard not in self._shards:
            self._shards[clip.shard] = safe_open(self.folder / clip.shard, framework="pt")
        return self._shards[clip.shard].get_tensor(clip.clip_id)

    def is_finite(self, clip: LatentClip) -> bool:
        """Whether a clip's latents and text hold ordinary numbers only."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in (self.latents(clip), self._text[clip.text]))

    def batch(self, clips: Sequence[LatentClip], drop_caption: Sequence[bool], device: torch.device) -> Batch:
        """Stack clips of one bucket; a dropped caption becomes the empty prompt."""
        text = [self._text[EMPTY_TEXT if drop else clip.text] for clip, drop in zip(clips, drop_caption, strict=True)]
        return Batch(
            latents_BCFHW=torch.stack([self.latents(clip) for clip in clips]).to(device),
            text_BSD=torch.stack(text).to(device),
            fps_B=torch.tensor([clip.fps for clip in clips], device=device),
        )


def write_latents(folder: Path, clips: Iterable[tuple[LatentClip, Tensor]], text: dict[str, Tensor], shard_clips: int) -> int:
    """Write index, shards and text features into an existing folder; returns the number of clips. The caller makes it atomic."""
    shard: dict[str, Tensor] = {}
    count = 0
    with (folder / INDEX).open("w", encoding="utf-8") as index:
        for clip, latents in clips:
            name = shard_name(count // shard_clips)
            index.write(json.dumps({**asdict(clip), "shard": name, "shape": list(latents.shape)}) + "\n")
            shard[clip.clip_id] = latents.contiguous()
            count += 1
            if count % shard_clips == 0:
                save_file(shard, folder / name)
                shard = {}
    if shard:
        save_file(shard, folder / shard_name(count // shard_clips))
    save_file({key: value.contiguous() for key, value in text.items()}, folder / TEXT)
    return count


def shard_name(number: int) -> str:
    """File name of one shard."""
    return f"latents-{number:05d}.safetensors"


def _parse(line: str) -> LatentClip:
    values = json.loads(line)
    return LatentClip(**{**values, "shape": tuple(values["shape"])})
