"""What a sample film shows, drawn up with it: `FilmTruth`.

Its JSON has the fields of hand-annotated footage (`cuts`, `gradual`, `black`, `shots`), so that one scorer reads both, and `scenes` with
the rest.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from skyreels_platform.media.sample_edit import FilmSpec, painter_of
from skyreels_platform.media.sample_scene import STILL, Camera, ScenePainter, Subject, heading

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


def film_truth(file: str, spec: FilmSpec, seed: int, is_black: list[bool]) -> FilmTruth:
    """What was drawn of a film; is_black: of every frame, measured."""
    starts = [0, *itertools.accumulate(scene.num_frames for scene in spec.scenes)]
    shots = tuple(_shot_truth(painter_of(spec, scene, seed), starts[k], k == 0) for k, scene in enumerate(spec.scenes))
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
