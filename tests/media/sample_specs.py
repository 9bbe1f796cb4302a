"""Specifications of small sample films, and what is measured on their pictures."""

import itertools
from pathlib import Path

import numpy as np

from skyreels_platform.media.decode import frames
from skyreels_platform.media.sample_edit import FilmSpec, film_frames
from skyreels_platform.media.sample_scene import COLOURS, Background, Camera, SceneSpec, Subject

TEXTURE = Background(kind="texture", level=0.5)


def subject(colour: str = "red", shape: str = "circle", **values) -> Subject:
    return Subject(**{"colour": colour, "shape": shape, "size": 0.35, "velocity": (0.2, 0.0)} | values)


def scene(num_frames: int, level: float, **values) -> SceneSpec:
    defaults = {"num_frames": num_frames, "background": Background(level=level), "subject": subject(), "look": num_frames}
    return SceneSpec(**defaults | values)


EDITED = FilmSpec(
    name="edited", width=192, height=108, fps=24, fade_out_frames=8,
    scenes=(
        scene(30, 0.5, transition_in="fade", transition_frames=8),
        scene(31, 0.3, subject=subject("green", "square")),
        scene(32, 0.7, subject=subject("blue", "triangle"), transition_in="dissolve", transition_frames=9),
        SceneSpec(num_frames=10, background=Background(kind="black")),
        scene(33, 0.4, subject=subject("yellow"), flaws=("flash",)),
        scene(34, 0.6, flaws=("freeze",), transition_in="fade", transition_frames=16, black_hold=3),
        scene(35, 0.5, subject=None, background=TEXTURE, camera=Camera(motion="pan_right", speed=0.1), transition_in="wipe",
              transition_frames=8),
        scene(36, 0.3, subject=subject("green"), flaws=("freeze_tail",)),
    ),
)  # fmt: skip
STARTS = [0, 30, 61, 93, 103, 136, 170, 205, 241]


def decoded(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in frames(path)])


def drawn(spec: FilmSpec, seed: int = 0) -> np.ndarray:
    return np.stack(list(film_frames(spec, seed=seed)))


def one_scene(values: SceneSpec, *, width: int = 160, height: int = 120, fps: int = 16) -> FilmSpec:
    return FilmSpec(name="one", width=width, height=height, fps=fps, scenes=(values,))


def changes(film: np.ndarray) -> np.ndarray:
    """(F,) mean absolute difference of each frame to the one before; 0 for the first."""
    return np.array([0.0, *(np.abs(a.astype(np.int16) - b).mean() for a, b in itertools.pairwise(film))])


def hard_changes(film: np.ndarray) -> list[int]:
    """Frames that change far more than the frame before and the frame after do."""
    change = np.append(changes(film), 0.0)
    return [i for i in range(1, len(film)) if change[i] > 5 + 3 * max(change[i - 1], change[i + 1])]


def subject_centre(image: np.ndarray, colour: str) -> tuple[float, float]:
    """Centroid of the pixels near the colour, in pixels (x, y)."""
    distance = np.linalg.norm(image.astype(np.float32) - COLOURS[colour], axis=-1)
    rows, columns = np.nonzero(distance < 70)
    return float(columns.mean()), float(rows.mean())
