"""Sample films: edited footage with known truth, drawn from a seed. The test bench of curation and the demo's footage.

A film is a list of scenes (see `sample_scene`). Transitions do not change a film's length: a shot owns [start, end), and a
dissolve borrows frames before and after that span from the scenes on both sides. `FilmTruth` says what was drawn; its JSON has
the fields of hand-annotated footage (`cuts`, `gradual`, `black`, `shots`), so that one scorer reads both, and `scenes` with the
rest.

`sample_library` writes the footage of the demo: mostly clean shots of one subject that crosses the frame once, without a bounce,
so that one sentence is true of every clip cut from the shot; and a minority of everything that curation has to find or reject.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from skyreels_platform.media.sample_scene import (
    COLOURS,
    STILL,
    Background,
    Camera,
    ScenePainter,
    SceneSpec,
    Subject,
    heading,
    seeded,
)

BLACK_LUMA = 1.0
"""A frame is black when its mean luma (0 to 255) is lower."""

_CONVENTION = (
    "cuts[] = index of first frame of the new shot (0-based, decode order = display order). gradual[] frames are inclusive "
    "start/end of visible mix. shots[] = [start,end) ; black gaps listed in black[]. Black threshold: mean luma<1."
)
_CAMERA_WORDS = {
    "pan_left": "pans left", "pan_right": "pans right", "tilt_up": "tilts up", "tilt_down": "tilts down",
    "zoom_in": "zooms in", "zoom_out": "zooms out", "roll_clockwise": "rolls clockwise",
    "roll_anticlockwise": "rolls anticlockwise", "handheld": "shakes",
}


@dataclass(frozen=True, kw_only=True)
class FilmSpec:
    """A film: its format and its scenes in order."""

    name: str
    width: int
    height: int
    fps: int | Fraction
    scenes: tuple[SceneSpec, ...]
    fade_out_frames: int = 0
    """The film's last frames fade to black; the last one is black. 0: the film ends with the picture."""

    def __post_init__(self) -> None:
        if not self.scenes:
            raise ValueError(f"film {self.name!r} has no scenes; give at least one")
        if self.scenes[0].transition_in not in ("cut", "fade"):
            raise ValueError(f"film {self.name!r} begins with a {self.scenes[0].transition_in}; begin with a cut or a fade")
        for number, scene in enumerate(self.scenes):
            head, tail = self._head(number), self._tail(number)
            if head + tail > scene.num_frames:
                raise ValueError(
                    f"film {self.name!r}, scene {number}: its transitions take {head} + {tail} frames of {scene.num_frames}; "
                    "lengthen the scene or shorten a transition"
                )

    def _head(self, number: int) -> int:
        """Frames at the start of scene `number` that belong to the transition into it."""
        scene = self.scenes[number]
        return scene.transition_frames if number == 0 else scene.transition_frames - scene.transition_frames // 2

    def _tail(self, number: int) -> int:
        """Frames at the end of scene `number` that belong to the transition out of it."""
        if number + 1 == len(self.scenes):
            return self.fade_out_frames
        following = self.scenes[number + 1]
        return following.transition_frames // 2 + following.black_hold


@dataclass(frozen=True, kw_only=True)
class GradualTruth:
    """One visible mix, first and last frame inclusive."""

    type: str
    """dissolve | wipe | fade_out_to_black | fade_from_black."""
    start: int
    end: int
    boundary: int | None
    """First frame of the new shot; None when no new shot begins here."""


@dataclass(frozen=True, kw_only=True)
class ShotTruth:
    """One shot, frames [start, end) of the film."""

    start: int
    end: int
    transition_in: str
    """start | cut | dissolve | wipe | fade."""
    colour: str | None
    shape: str | None
    size: float | None
    """Subject's size at the shot's start, pixels."""
    speed: float
    """Subject's speed, frame heights per second; 0 when frozen."""
    directions: tuple[tuple[int, int, str], ...]
    """Film frames [start, end) and where the subject goes in them; empty without a subject."""
    centres: tuple[tuple[float, float], ...]
    """Subject's centroid on screen per frame, pixels with pixel centres at whole numbers; empty without a subject."""
    camera: str
    camera_speed: float
    background: str
    flaws: tuple[str, ...]
    copy_of: str
    caption: str

    @property
    def direction(self) -> str | None:
        """The direction that holds longest; None without a subject."""
        if not self.directions:
            return None
        return max(self.directions, key=lambda span: span[1] - span[0])[2]


@dataclass(frozen=True, kw_only=True)
class FilmTruth:
    """What was drawn into one film."""

    file: str
    fps: float
    num_frames: int
    width: int
    height: int
    cuts: tuple[int, ...]
    """First frames of the shots that begin with a hard cut."""
    gradual: tuple[GradualTruth, ...]
    black: tuple[tuple[int, int], ...]
    """Spans [start, end) whose mean luma is below BLACK_LUMA, measured on the drawn frames."""
    flashes: tuple[int, ...]
    """Frames that are nearly white for one frame within a shot."""
    shots: tuple[ShotTruth, ...]

    def to_json(self) -> str:
        """JSON text in the fields of annotated footage (`shots` as pairs), the shots' full truth under `scenes`."""
        return json.dumps({
            "file": self.file, "frames": self.num_frames, "fps": self.fps, "width": self.width, "height": self.height,
            "convention": _CONVENTION, "cuts": self.cuts, "gradual": [asdict(mix) for mix in self.gradual], "black": self.black,
            "flashes": self.flashes, "annotated_by": "drawn", "all_boundaries": [shot.start for shot in self.shots[1:]],
            "shots": [(shot.start, shot.end) for shot in self.shots], "scenes": [asdict(shot) for shot in self.shots],
        }, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(
            file=values["file"], fps=values["fps"], num_frames=values["frames"], width=values["width"], height=values["height"],
            cuts=_tuples(values["cuts"]), gradual=tuple(GradualTruth(**mix) for mix in values["gradual"]),
            black=_tuples(values["black"]), flashes=_tuples(values["flashes"]),
            shots=tuple(ShotTruth(**{key: _tuples(value) for key, value in shot.items()}) for shot in values["scenes"]),
        )


def caption_of(subject: Subject | None, camera: Camera) -> str:
    """One sentence: `a red circle moves right`, `a blue square stands still, the camera pans left`, `an empty scene`."""
    return _sentence(subject, (heading(subject.velocity),) if subject else (), camera)


def film_frames(spec: FilmSpec, *, seed: int) -> Iterator[np.ndarray]:
    """Every frame of the film before encoding: uint8 RGB (height, width, 3)."""
    before, here = None, _painter(spec, spec.scenes[0], seed)
    for number, scene in enumerate(spec.scenes):
        after = _painter(spec, spec.scenes[number + 1], seed) if number + 1 < len(spec.scenes) else None
        for index in range(scene.num_frames):
            frame = _enter(here.frame(index), scene, index, before)
            yield _leave(frame, scene.num_frames - index, after, spec.fade_out_frames)
        before, here = here, after or here


def render_film(path: Path | str, spec: FilmSpec, *, seed: int) -> FilmTruth:
    """Draw and encode one film to `path` (H.264 mp4) and say what was drawn."""
    from skyreels_platform.media.encode import write_video

    lumas: list[float] = []
    write_video(Path(path), _watched(film_frames(spec, seed=seed), lumas), spec.fps, preset="veryfast")
    return _truth(Path(path).name, spec, seed, [luma < BLACK_LUMA for luma in lumas])


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


# ---- transitions ---------------------------------------------------------------------------------------------------------------


def _painter(spec: FilmSpec, scene: SceneSpec, seed: int) -> ScenePainter:
    return ScenePainter(scene, width=spec.width, height=spec.height, fps=spec.fps, seed=seed)


def _enter(frame: np.ndarray, scene: SceneSpec, index: int, before: ScenePainter | None) -> np.ndarray:
    """Frame `index` of `scene` under the second half of the transition into it (the whole of it in the first scene)."""
    first_half = scene.transition_frames // 2 if before else 0
    if first_half + index >= scene.transition_frames:
        return frame
    if before is None or scene.transition_in == "fade":
        return _dim(frame, (index + 1) / (scene.transition_frames - first_half + 1))
    return _mix(before.frame(before.scene.num_frames + index), frame, scene, first_half + index)


def _leave(frame: np.ndarray, remaining: int, after: ScenePainter | None, fade_out_frames: int) -> np.ndarray:
    """A frame under the first half of the transition out of its scene; `remaining` counts the scene's frames from this one on."""
    ramp, hold = fade_out_frames, 0
    if after is not None:
        ramp, hold = after.scene.transition_frames // 2, after.scene.black_hold
        if after.scene.transition_in != "fade" and remaining <= ramp:
            return _mix(frame, after.frame(-remaining), after.scene, ramp - remaining)
    return _dim(frame, max(0.0, (remaining - hold - 1) / ramp)) if remaining <= ramp + hold else frame


def _mix(old: np.ndarray, new: np.ndarray, scene: SceneSpec, position: int) -> np.ndarray:
    share = (position + 1) / (scene.transition_frames + 1)
    if scene.transition_in == "dissolve":
        return cv2.addWeighted(old, 1 - share, new, share, 0)
    edge = round(share * old.shape[1])  # a wipe from the left
    return np.concatenate([new[:, :edge], old[:, edge:]], axis=1)


def _dim(frame: np.ndarray, gain: float) -> np.ndarray:
    return cv2.convertScaleAbs(frame, alpha=gain)


# ---- truth ---------------------------------------------------------------------------------------------------------------------


def _watched(frames: Iterable[np.ndarray], lumas: list[float]) -> Iterator[np.ndarray]:
    """The frames, while their mean luma (BT.601, 0 to 255) is noted."""
    for frame in frames:
        lumas.append(float(frame.mean(axis=(0, 1)) @ (0.299, 0.587, 0.114)))
        yield frame


def _truth(file: str, spec: FilmSpec, seed: int, is_black: list[bool]) -> FilmTruth:
    starts = [0, *itertools.accumulate(scene.num_frames for scene in spec.scenes)]
    shots = tuple(_shot_truth(_painter(spec, scene, seed), starts[k], k == 0) for k, scene in enumerate(spec.scenes))
    return FilmTruth(
        file=file, fps=float(spec.fps), num_frames=starts[-1], width=spec.width, height=spec.height,
        cuts=tuple(shot.start for shot in shots if shot.transition_in == "cut"),
        gradual=tuple(_gradual(spec, starts)), black=tuple(_spans(is_black)),
        flashes=tuple(shot.start + (shot.end - shot.start) // 2 for shot in shots if "flash" in shot.flaws), shots=shots,
    )


def _gradual(spec: FilmSpec, starts: list[int]) -> Iterator[GradualTruth]:
    """The mixes in order. A fade out has no boundary: the black after it belongs to its shot, the rise begins the next."""
    for number, scene in enumerate(spec.scenes):
        length, start = scene.transition_frames, starts[number]
        if scene.transition_in == "fade":
            half = length // 2 if number else 0
            if number and spec.scenes[number - 1].background.kind != "black":
                dark = start - scene.black_hold
                yield GradualTruth(type="fade_out_to_black", start=dark - half, end=dark - 1, boundary=None)
            boundary = start if number else None
            yield GradualTruth(type="fade_from_black", start=start, end=start + length - half - 1, boundary=boundary)
        elif scene.transition_in != "cut":
            first = start - length // 2
            yield GradualTruth(type=scene.transition_in, start=first, end=first + length - 1, boundary=start)
    if spec.fade_out_frames:
        yield GradualTruth(type="fade_out_to_black", start=starts[-1] - spec.fade_out_frames, end=starts[-1] - 1, boundary=None)


def _shot_truth(painter: ScenePainter, start: int, is_first: bool) -> ShotTruth:
    scene, frames = painter.scene, range(painter.scene.num_frames)
    subject, camera = scene.subject, scene.camera if "freeze" not in scene.flaws else Camera()
    words = [painter.direction(index) for index in frames] if subject else []
    directions = tuple(_runs(words, start))
    moved = subject is not None and any(word != STILL for word in words)
    black = scene.background.kind == "black" and subject is None
    return ShotTruth(
        start=start, end=start + scene.num_frames, transition_in="start" if is_first else scene.transition_in,
        colour=subject.colour if subject else None, shape=subject.shape if subject else None,
        size=subject.size * painter.height if subject else None,
        speed=float(np.hypot(*subject.velocity)) if subject and moved else 0.0, directions=directions,
        centres=tuple((round(x, 2), round(y, 2)) for x, y in map(painter.centre, frames)) if subject else (),
        camera=camera.motion, camera_speed=camera.speed, background=scene.background.kind, flaws=scene.flaws,
        copy_of=scene.copy_of,
        caption="a black screen" if black else _sentence(subject, tuple(word for *_, word in directions), camera),
    )


def _sentence(subject: Subject | None, directions: tuple[str, ...], camera: Camera) -> str:
    sentence = "an empty scene"
    if subject is not None:
        verbs = ["stands still" if word == STILL else f"moves {word}" for word in directions]
        sentence = f"a {subject.colour} {subject.shape} {', then '.join(verbs)}"
    return f"{sentence}, the camera {_CAMERA_WORDS[camera.motion]}" if camera.motion != "static" else sentence


def _runs(words: list[str], start: int) -> Iterator[tuple[int, int, str]]:
    for word, run in itertools.groupby(words):
        length = sum(1 for _ in run)
        yield start, start + length, word
        start += length


def _spans(flags: list[bool]) -> Iterator[tuple[int, int]]:
    start = 0
    for flag, run in itertools.groupby(flags):
        length = sum(1 for _ in run)
        if flag:
            yield start, start + length
        start += length


def _tuples(value: Any) -> Any:
    """Lists as JSON gives them, turned into tuples at every depth."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


# ---- the demo's footage --------------------------------------------------------------------------------------------------------

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
