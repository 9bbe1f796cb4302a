"""How a sample film is cut: its scenes in order (see `sample_scene`) and the transitions between them.

Transitions do not change a film's length: a shot owns [start, end), and a dissolve borrows frames before and after that span from the
scenes on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from skyreels_platform.media.sample_scene import ScenePainter, SceneSpec


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


def film_frames(spec: FilmSpec, *, seed: int) -> Iterator[np.ndarray]:
    """Every frame of the film before encoding: uint8 RGB (height, width, 3)."""
    before, here = None, painter_of(spec, spec.scenes[0], seed)
    for number, scene in enumerate(spec.scenes):
        after = painter_of(spec, spec.scenes[number + 1], seed) if number + 1 < len(spec.scenes) else None
        for index in range(scene.num_frames):
            frame = _enter(here.frame(index), scene, index, before)
            yield _leave(frame, scene.num_frames - index, after, spec.fade_out_frames)
        before, here = here, after or here


def painter_of(spec: FilmSpec, scene: SceneSpec, seed: int) -> ScenePainter:
    """Who draws a scene of this film."""
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
