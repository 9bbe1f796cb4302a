"""Films during training: the same prompts and seeds every so many steps, so that one can watch a model learn.

Rank 0 samples them from whole weights, the moving average's if there is one, while the others wait. Nothing that training uses is
touched: the weights are copies and noise comes from the film's own seed, so losses and checkpoints are the same to the bit with and
without. Frames are left as they are; a caller with an encoder makes video files of them.

    <run>/validation/step-00000100/
        film-0.safetensors      frames (F, H, W, 3), uint8
        films.json              prompts, seeds, frame rate; written last
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.checkpoint import write_json
from model.codec import SPATIAL_STRIDE, Codec, build_codec, to_frames
from model.latents import LatentSet
from model.sampler import FilmPlan, sample_film
from model.text import build_text_encoder

FOLDER = "validation"
INDEX = "films.json"


class ValidationFilms:
    """Rank 0's prompts, encoded once, and the codec."""

    def __init__(self, settings: Mapping[str, Any], data: LatentSet, device: torch.device) -> None:
        """settings: every_steps, prompts, seed, num_steps, shift, guidance_scale, and the recipe's codec and text tables.

        A film is one window of the shape that most of the longest training clips have.
        """
        self.settings, self.device = settings, device
        with torch.random.fork_rng(devices=[]):  # a backend may draw from torch's own generator
            *features, empty = build_text_encoder(**settings["text"]).encode([*settings["prompts"], ""])
            self._codec: Codec = build_codec(**settings["codec"], device=str(device))
        self._features, self._empty = features, empty
        longest = max(clip.shape[1] for clip in data.clips)
        (shape, fps), _ = Counter((clip.shape, clip.fps) for clip in data.clips if clip.shape[1] == longest).most_common(1)[0]
        self._shape, self._fps = shape, fps

    def is_due(self, step: int) -> bool:
        """Whether films are made after `step` optimizer steps."""
        return step % self.settings["every_steps"] == 0

    def make(self, model: nn.Module, run_dir: Path, step: int) -> Path:
        """Sample every prompt; the folder of the frames."""
        target = run_dir / FOLDER / f"step-{step:08d}"
        target.mkdir(parents=True, exist_ok=True)
        for number, text_SD in enumerate(self._features):
            frames = to_frames(self._sample(model, text_SD, self.settings["seed"] + number))
            temporary = target / f".film-{number}"
            save_file({"frames": torch.from_numpy(frames)}, temporary)
            temporary.rename(target / f"film-{number}.safetensors")
        write_json(target / INDEX, {
            "step": step, "prompts": list(self.settings["prompts"]), "seed": self.settings["seed"], "fps": self._fps,
        })  # fmt: skip
        return target

    def _sample(self, model: nn.Module, text_SD: Tensor, seed: int) -> Tensor:
        _, frames, rows, columns = self._shape
        num_frames = 4 * (frames - 1) + 1
        plan = FilmPlan(
            num_frames=num_frames, base_num_frames=num_frames, overlap_history=1, height=rows * SPATIAL_STRIDE,
            width=columns * SPATIAL_STRIDE, num_steps=self.settings["num_steps"], shift=self.settings["shift"],
            guidance_scale=self.settings["guidance_scale"], ar_step=0, block_size=1, addnoise_condition=0, fps=self._fps, seed=seed,
        )  # fmt: skip
        return sample_film(model, self._codec, text_SD, self._empty, plan)
