"""Sample films: edited footage with known truth, drawn from a seed. The test bench of curation and the demo's footage.

A film's scenes and transitions: `sample_edit`. What was drawn: `sample_truth`.

`sample_library` writes the footage of the demo: mostly clean shots of one subject that crosses the frame once, without a bounce,
so that one sentence is true of every clip cut from the shot; and a minority of everything that curation has to find or reject.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skyreels_platform.media.sample_edit import FilmSpec, film_frames
from skyreels_platform.media.sample_scene import COLOURS, Background, Camera, SceneSpec, Subject, seeded
from skyreels_platform.media.sample_truth import BLACK_LUMA, FilmTruth, film_truth

SIDE = 128  # pixels: the models of a laptop see 32 of them
_SHORTEST, _LONGEST = 37, 45  # frames per shot: about two training clips of 17
_LEVELS = (0.42, 0.62)  # brightness of successive backgrounds; neighbours differ by 0.2, so that every cut is hard
_DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}

# Film -> frames per second and its shots. A word names a flaw, a camera motion, `leader` (black), `copy` (near-duplicate of
# another film's clean shot) or `clean`, a training shot; what follows the slash is the transition into the shot.
_PROGRAMME: dict[str, tuple[int, str]] = {
    "carnival": (24, "leader clean clean clean clean/dissolve clean clean freeze clean clean clean/fade clean subtitle clean"),
    "toybox": (24, "clean clean clean blur clean clean/dissolve clean clean logo clean clean clean freeze clean"),
    "parade": (16, "clean/fade clean clean flash clean clean dark clean clean/fade clean clean clean freeze_tail clean"),
    "balcony": (16, "pan_left clean clean zoom_in clean roll_clockwise clean tilt_up clean letterbox clean/dissolve clean "
                    "handheld clean"),
    "remix": (24, "clean copy clean pan_right clean subtitle clean mosaic clean logo clean copy clean blur"),
}
_COPIES = {("remix", 1): ("carnival", 2, ("crop", "brighter")), ("remix", 11): ("toybox", 1, ("brighter", "subtitle"))}
_CAMERA_SPEEDS = {"pan_left": 0.15, "pan_right": 0.15, "tilt_up": 0.15, "zoom_in": 0.2, "roll_clockwise": 15.0, "handheld": 0.08}
_SIDECARS = {
    "carnival": {"licence": "CC0-1.0", "source_kind": "film"},
    "toybox": {"licence": "CC-BY-4.0", "source_kind": "open_set"},
    "balcony": {"licence": "CC0-1.0", "source_kind": "art"},
}


def render_film(path: Path | str, spec: FilmSpec, *, seed: int) -> FilmTruth:
    """Draw and encode one film to `path` (H.264 mp4) and say what was drawn."""
    from skyreels_platform.media.encode import write_video

    lumas: list[float] = []
    write_video(Path(path), _watched(film_frames(spec, seed=seed), lumas), spec.fps, preset="veryfast")
    return film_truth(Path(path).name, spec, seed, [luma < BLACK_LUMA for luma in lumas])


def sample_library(folder: Path | str, *, seed: int = 0) -> list[tuple[Path, FilmTruth]]:
    """Write the demo's footage, five square films of 14 shots (see _PROGRAMME), and for three of them a sidecar `name.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    films = []
    for spec in library_specs(seed=seed):
        path = folder / f"{spec.name}.mp4"
        films.append((path, render_film(path, spec, seed=seed)))
        if spec.name in _SIDECARS:
            path.with_suffix(".json").write_text(json.dumps(_SIDECARS[spec.name], indent=1) + "\n", encoding="utf-8")
    return films


def _watched(frames: Iterable[np.ndarray], lumas: list[float]) -> Iterator[np.ndarray]:
    """The frames, while their mean luma (BT.601, 0 to 255) is noted."""
    for frame in frames:
        lumas.append(float(frame.mean(axis=(0, 1)) @ (0.299, 0.587, 0.114)))
        yield frame


def library_specs(*, seed: int = 0) -> list[FilmSpec]:
    """The films of `sample_library`, not yet drawn."""
    casts = _casts(seed)
    films: dict[str, FilmSpec] = {}
    looks = itertools.count()
    for name, (fps, programme) in _PROGRAMME.items():
        scenes: list[SceneSpec] = []
        for position, word in enumerate(programme.split()):
            kind, _, transition = word.partition("/")
            if kind == "copy":
                film, number, flaws = _COPIES[name, position]
                scenes.append(replace(films[film].scenes[number], flaws=flaws, copy_of=f"{film}:{number}"))
            else:
                scenes.append(_library_scene(kind, transition, next(looks), fps, casts, seed))
        fade_out_frames = 8 if name == "toybox" else 0
        films[name] = FilmSpec(
            name=name, width=SIDE, height=SIDE, fps=fps, scenes=tuple(scenes), fade_out_frames=fade_out_frames,
        )
    return list(films.values())


def _casts(seed: int) -> Iterator[tuple[str, str, str]]:
    """Colour, shape, direction without end: each pair of colour and shape once per round, its direction turns with the rounds."""
    pairs = list(itertools.product(COLOURS, ("circle", "square")))
    for turn in itertools.count():
        for number in seeded(str(seed), "casts", str(turn)).permutation(len(pairs)):
            yield *pairs[number], list(_DIRECTIONS)[(int(number) + turn) % len(_DIRECTIONS)]


def _library_scene(
    kind: str, transition: str, look: int, fps: int, casts: Iterator[tuple[str, str, str]], seed: int
) -> SceneSpec:
    generator = seeded(str(seed), "library", str(look))
    num_frames, level = int(generator.integers(_SHORTEST, _LONGEST + 1)), _LEVELS[look % len(_LEVELS)]
    if kind == "leader":
        return SceneSpec(num_frames=24, background=Background(kind="black"), look=look)
    joined: dict[str, Any] = {"transition_in": transition, "transition_frames": 12} if transition else {}
    scene = SceneSpec(num_frames=num_frames, background=Background(kind="plain", level=level), look=look, **joined)
    colour, shape, direction = next(casts)
    if kind in _CAMERA_SPEEDS:
        return replace(
            scene, subject=Subject(colour=colour, shape=shape, size=0.35), background=_textured(level),
            camera=Camera(motion=kind, speed=_CAMERA_SPEEDS[kind]),
        )
    scene = replace(scene, subject=_crossing(colour, shape, _DIRECTIONS[direction], num_frames / fps, generator))
    if kind == "clean":
        return scene
    return replace(scene, flaws=(kind,), background=_textured(level) if kind == "mosaic" else scene.background)


def _textured(level: float) -> Background:
    return Background(kind="texture", level=min(max(level, 0.4), 0.6))  # brighter or darker, its relief would clip


def _crossing(colour: str, shape: str, direction: tuple[int, int], seconds: float, generator: np.random.Generator) -> Subject:
    """A subject that crosses most of a square frame once in `seconds` and touches no edge."""
    size = float(generator.uniform(0.40, 0.45))
    room = 1 - size
    travel = float(generator.uniform(0.86, 0.94)) * room
    offset = float(generator.uniform(-0.12, 0.12)) * room  # sideways, from the middle: a world small enough to learn in minutes
    right, down = direction
    return Subject(
        colour=colour, shape=shape, size=size,
        position=(0.5 - right * travel / 2 + abs(down) * offset, 0.5 - down * travel / 2 + abs(right) * offset),
        velocity=(right * travel / seconds, down * travel / seconds),
    )
