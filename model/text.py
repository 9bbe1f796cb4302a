"""Prompts to text features (B, S, D): zero vectors where a prompt is shorter than S tokens, as in the reference.

`HashTextEncoder` needs no weights: every word has one fixed random vector, so a tiny model can learn what words mean, and nothing
else. `Umt5TextEncoder` is the umT5-xxl of the paper.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

_WORD = re.compile(r"[a-z0-9]+")
_STOP_WORDS = frozenset({"a", "an", "the", "and", "of", "in", "on", "at", "is", "it", "with", "to", "its"})


class TextEncoder(Protocol):
    """What the platform asks of a text encoder."""

    dim: int
    length: int
    fingerprint: str
    """Hash of everything that decides the features; part of their provenance."""

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Features (B, S, D), float32."""
        ...


class HashTextEncoder:
    """One fixed unit-variance vector per word, in reading order, articles and prepositions left out. Our choice."""

    def __init__(self, dim: int, length: int) -> None:
        self.dim, self.length = dim, length
        self.fingerprint = hashlib.sha256(f"hash-1 {dim} {length}".encode()).hexdigest()[:16]

    def encode(self, prompts: Sequence[str]) -> Tensor:
        features = torch.zeros(len(prompts), self.length, self.dim)
        for row, prompt in enumerate(prompts):
            words = [word for word in _WORD.findall(prompt.lower()) if word not in _STOP_WORDS]
            for column, word in enumerate(words[: self.length]):
                features[row, column] = self._vector(word)
        return features

    def _vector(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") >> 1
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))


class Umt5TextEncoder:
    """umT5 through transformers; padded positions are zeroed, cross-attention then sees zeros there as upstream's does."""

    def __init__(self, weights: str, length: int, device: str = "cpu") -> None:
        from transformers import AutoTokenizer, UMT5EncoderModel

        self._tokenizer = AutoTokenizer.from_pretrained(weights, subfolder=_subfolder(weights, "tokenizer"))
        model: Any = UMT5EncoderModel.from_pretrained(weights, subfolder=_subfolder(weights, "text_encoder"))
        self._model = model.to(device).eval()
        self.dim, self.length = int(self._model.config.d_model), length
        digest = hashlib.sha256(f"umt5-1 {length}".encode())
        for key, value in sorted(self._model.state_dict().items()):
            digest.update(key.encode() + value.float().cpu().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            list(prompts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(self._model.device)
        hidden = self._model(**tokens).last_hidden_state.float()
        return (hidden * tokens["attention_mask"][..., None]).cpu()


def _subfolder(weights: str, name: str) -> str:
    """A pipeline folder holds its parts in subfolders, a bare model does not."""

    return name if not Path(weights).is_dir() or (Path(weights) / name).is_dir() else ""


def build_text_encoder(backend: str, *, dim: int, length: int, weights: str | None = None, device: str = "cpu") -> TextEncoder:
    """The encoder that a recipe names: `hash` or `umt5`. Raises ValueError where dim and weights contradict each other."""
    if backend == "hash":
        return HashTextEncoder(dim, length)
    if backend == "umt5":
        if weights is None:
            raise ValueError("text backend 'umt5' needs text.weights: a folder or hub id")
        encoder = Umt5TextEncoder(weights, length, device)
        if encoder.dim != dim:
            raise ValueError(f"text.dim is {dim}, but {weights} has {encoder.dim}")
        return encoder
    raise ValueError(f"unknown text backend {backend!r}; known: hash, umt5")
