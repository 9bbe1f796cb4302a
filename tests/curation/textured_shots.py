"""Fingerprints of windows that move over soft textures, and their rows in the store."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from skyreels_platform.curation.fingerprint import COLOUR_SIDE, Fingerprint, describe
from skyreels_platform.curation.fingerprint_store import fingerprint_row


def shot(seed: int, *, start: int = 0, count: int = 24, noise: float = 0.0, media: str = "video") -> Fingerprint:
    """A window that moves over a soft texture, eight pictures a second; the same seed is the same texture and path."""
    generator = np.random.default_rng((1, seed))
    world = cv2.GaussianBlur(generator.standard_normal((96, 96)).astype(np.float32), (0, 0), 2.5)
    world = 128 + 45 * world / world.std()
    across, down = generator.uniform(-0.9, 0.9, 2)
    moves = [np.array([[1, 0, -32 - across * step], [0, 1, -32 - down * step]], np.float32) for step in range(start, start + count)]
    pictures = np.stack([cv2.warpAffine(world, move, (32, 32)) for move in moves])
    pictures = np.clip(pictures + np.random.default_rng(seed).normal(0, noise, pictures.shape), 0, 255).astype(np.uint8)
    marks = np.arange(0, count, 4, dtype=np.int32)
    return Fingerprint(
        media=media, duration_s=0.0 if media == "image" else count / 8, times=np.arange(count, dtype=np.float32) / 8, pictures=pictures,
        marks=marks, vectors=describe(pictures[marks]), colours=np.full((len(marks), COLOUR_SIDE, COLOUR_SIDE, 2), 128, np.uint8),
    )  # fmt: skip


def rows(batch: str, shots: Mapping[str, Fingerprint], provenance: str = "p") -> list[dict[str, Any]]:
    return [{**fingerprint_row(name, made, provenance), "batch": batch} for name, made in shots.items()]
