"""Sample stills: pictures of the demo's coloured shapes, so that its first stages have images to train on beside the films."""

import itertools
from pathlib import Path

from PIL import Image

from skyreels_platform.media.sample_scene import COLOURS, Background, ScenePainter, SceneSpec, Subject, seeded

SIDE = 128  # pixels, as the films have
_LEVELS = (0.42, 0.62)  # brightness of the backgrounds, as in the films


def sample_stills(folder: Path | str, *, seed: int = 0) -> list[Path]:
    """Write one PNG per colour and shape, named after what it shows; returns the paths in order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (colour, shape) in enumerate(itertools.product(COLOURS, ("circle", "square"))):
        generator = seeded(str(seed), "still", str(number))
        x, y = (float(value) for value in generator.uniform(0.3, 0.7, 2))
        subject = Subject(colour=colour, shape=shape, size=float(generator.uniform(0.40, 0.45)), position=(x, y))
        background = Background(kind="plain", level=_LEVELS[(number + number // 2) % 2])  # circles and squares on either
        scene = SceneSpec(num_frames=1, background=background, look=number, subject=subject)
        paths.append(folder / f"{colour}_{shape}.png")
        Image.fromarray(ScenePainter(scene, width=SIDE, height=SIDE, fps=24, seed=seed).frame(0)).save(paths[-1])
    return paths
