"""Draws shots for the signals' bench: a scene from a seed, the flaws laid over it, and which signals must find something.

A shot may carry several flaws, and is a clean example for every signal whose flaw it lacks. Where two flaws blur one another's truth
(a picture before its own blurred copy is composed, too) the shot is left out of that signal's count. Every number is drawn from the
seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

import cv2
import numpy as np

from skyreels_platform.media.sample_flaws import draw_flaw
from skyreels_platform.media.sample_grounds import PATTERNS, REPEATING, SPEEDS, busy_frames, deep_frames, plain_frames
from skyreels_platform.media.sample_overlays import Kind, draw_overlays

_Choice = TypeVar("_Choice")
SIZES = {(640, 360): 8, (480, 270): 4, (480, 360): 2, (360, 640): 2, (854, 480): 2, (1280, 720): 1}
"""Width and height, and how often; small ones are drawn faster."""
COURSES = {"plain": 46, "black": 10, "static": 14, "slideshow": 8, "still_pan": 8, "split_screen": 7, "picture_in_picture": 7}
"""What becomes of the scene in the course of the shot, and how often."""
SIGNALS = (
    "black", "static", "slideshow", "still_pan", "letterbox", "blurred_fill", "mosaic", "blurred_region", "split_screen", "subtitle",
    "logo", "sticker",
)
"""Signals that the shots can be truth for; `blurred_fill`, a picture before its own blurred copy, is told by `letterbox`, too."""
SHARP = 0.8
"""`_detail` of an area from which a blur laid over it shows; soft grounds have about 0.1, textures 1 and more."""
_BARS = {"letterbox": 3, "pillarbox": 2, "windowbox": 1, "blurred_fill": 1}
_LEFT = 0.5
"""Share of a mosaic or blur that bars must leave for the shot to count as an example of it; under bars altogether it is no flaw."""
_OFTEN = 0.55
"""Share of the shots that get a flaw of which many are wanted; some come out too faint to count."""


@dataclass(frozen=True, kw_only=True)
class Odds:
    """How often shots take a course or carry a flaw: weights, and shares of the shots."""

    courses: Mapping[str, float] = field(default_factory=lambda: COURSES)
    mosaic: float = 0.25
    blurred_region: float = 0.2
    bars: float = 0.3
    bar_kinds: Mapping[str, float] = field(default_factory=lambda: _BARS)
    subtitle: float = 0.3
    logo: float = 0.3
    sticker: float = 0.1

    @classmethod
    def balanced(cls) -> Self:
        """Of each of black, static, letterbox, subtitle, logo and mosaic about one shot in six, and some of every other flaw."""
        rest = dict.fromkeys(("slideshow", "still_pan", "split_screen", "picture_in_picture"), 3)
        return cls(courses={"plain": 54, "black": 16, "static": 18} | rest, mosaic=0.5, blurred_region=0.1)

    def with_more(self, flaw: str) -> Self:
        """The same with about half of the shots carrying this flaw. ValueError for a flaw that no shot has."""
        courses = ("split_screen", "picture_in_picture") if flaw == "split_screen" else (flaw,)
        if courses[0] in self.courses and flaw != "plain":
            rest = sum(weight for name, weight in self.courses.items() if name not in courses)
            return replace(self, courses={**self.courses, **{name: rest / len(courses) for name in courses}})
        if flaw in ("mosaic", "blurred_region"):  # laid over shots of these courses alone
            others = {"mosaic": 0.1, "blurred_region": 0.1} | {flaw: _OFTEN}
            return replace(self, courses={name: self.courses[name] for name in ("plain", "static")}, **others)
        if flaw in ("letterbox", "blurred_fill"):
            kinds = {name: weight for name, weight in self.bar_kinds.items() if (name == flaw) == (flaw == "blurred_fill")}
            return replace(self, bars=_OFTEN, bar_kinds=kinds)
        if flaw in ("subtitle", "logo", "sticker"):
            return replace(self, **{flaw: _OFTEN})
        raise ValueError(f"flaw {flaw!r} is not drawn; drawn are: {', '.join(SIGNALS)}")


@dataclass(kw_only=True)
class SampleShot:
    """One drawn shot."""

    seed: int
    clip: np.ndarray
    """(F, H, W, 3) uint8 RGB."""
    fps: int
    crf: int
    """To encode it with."""
    flaws: set[str] = field(default_factory=set)
    """Names of the signals that must find something."""
    unsure: set[str] = field(default_factory=set)
    """Names of the signals for which the shot counts neither way."""
    detail: str = ""
    """What was drawn, for reading."""
    areas: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), int))
    """(F, 4) or (0, 4): where a mosaic or a blurred area lies in each frame, x0, y0, x1, y1 in pixels."""


def draw_shot(seed: int, odds: Odds | None = None) -> SampleShot:
    """Shot `seed` of the bench: 1.5 to 3.5 seconds. The same seed under other odds is another shot."""
    odds = odds or Odds()
    generator = np.random.default_rng([seed, 31])
    width, height = _weighted(SIZES, generator)
    fps = int(generator.choice((12, 16, 24)))
    count = round(float(generator.uniform(1.5, 3.5)) * fps)
    course = _weighted(odds.courses, generator)
    clip, ground, is_flat = _scene(width, height, count, fps, generator)
    shot = SampleShot(seed=seed, clip=clip, fps=fps, crf=int(generator.integers(18, 31)))
    details = [f"{width}x{height} {fps} fps {count} frames crf {shot.crf}", ground, course]
    _COURSES[course](shot, generator, is_flat)
    details += [shot.detail] if shot.detail else []
    if course in ("plain", "static"):
        details += _areas(shot, generator, odds)
        if "mosaic" in shot.flaws and ground.split()[0] in REPEATING:
            shot.unsure.add("mosaic")  # of a pattern that repeats it is a chess board, which is none by definition
    if course != "black":
        details += _bars(shot, generator, odds)
        details += _overlays(shot, generator, odds)
    shot.detail = ", ".join(details)
    return shot


def _weighted(choices: Mapping[_Choice, float], generator: np.random.Generator) -> _Choice:
    """One of the keys, as often as its value says."""
    weights = np.array(list(choices.values()), float)
    return list(choices)[int(generator.choice(len(weights), p=weights / weights.sum()))]


def _scene(width: int, height: int, count: int, fps: int, generator: np.random.Generator) -> tuple[np.ndarray, str, bool]:
    """A moving scene, its name, and whether nothing in it would tell it from a still picture under a moving camera."""
    motion = str(generator.choice(["static", "static", *SPEEDS]))
    kind = str(generator.choice(["deep", "deep", "deep", "busy", "plain"]))
    if kind == "deep":
        frames = deep_frames(width, height, count, fps, motion, generator)
    elif kind == "busy":
        pattern = str(generator.choice(PATTERNS))
        frames = busy_frames(width, height, count, fps, motion, generator, pattern)
        return np.stack(list(frames)), f"{pattern} {motion}", True
    else:
        frames = plain_frames(width, height, count, fps, motion, int(generator.integers(1 << 30)), generator)
    return np.stack(list(frames)), f"{kind} {motion}", kind != "deep"


# ---- courses -------------------------------------------------------------------------------------------------------------------


def _plain(shot: SampleShot, generator: np.random.Generator, is_flat: bool) -> None:
    if _is_frozen(shot.clip):
        shot.unsure.add("static")
    if is_flat:
        shot.unsure.add("still_pan")


def _is_frozen(clip: np.ndarray) -> bool:
    """Whether anything moves: a camera at rest before a scene without a subject gives a picture that stands still."""
    small = [cv2.resize(clip[place], (96, 54), interpolation=cv2.INTER_AREA).astype(float) for place in (0, len(clip) // 2, -1)]
    return max(float(np.abs(one - small[0]).max()) for one in small[1:]) < 8


def _black(shot: SampleShot, generator: np.random.Generator, is_flat: bool) -> None:
    """Black for 40 % of the shot or all of it, at a level up to 5 of 255, with noise; the scene fades into it in part of the shots."""
    count = len(shot.clip)
    share = 1.0 if generator.random() < 0.4 else float(generator.uniform(0.4, 0.9))
    last = round(share * count)
    level, noise = float(generator.uniform(0, 5)), float(generator.uniform(0, 2))
    fade = int(generator.integers(0, max(1, (count - last) // 2 + 1)))
    for index in range(count):
        if index < last:
            grain = generator.normal(0, noise, shot.clip.shape[1:3])[..., None] if noise > 0.3 else 0.0
            shot.clip[index] = np.clip(level + grain, 0, 255)
        elif index < last + fade:
            shot.clip[index] = shot.clip[index] * ((index - last + 1) / (fade + 1))
    if generator.random() < 0.5:
        shot.clip = np.ascontiguousarray(shot.clip[::-1])
    shot.flaws.add("black")
    shot.unsure |= {"static", "slideshow", "still_pan"}


def _static(shot: SampleShot, generator: np.random.Generator, is_flat: bool) -> None:
    """One frame held for at least 45 % of the shot and half a second; the rest, before or after it, moves."""
    count = len(shot.clip)
    share = 1.0 if generator.random() < 0.5 else float(generator.uniform(0.45, 0.95))
    held = max(round(share * count), shot.fps // 2 + 1)
    shot.clip[:held] = shot.clip[held - 1]
    if generator.random() < 0.5:
        shot.clip = np.ascontiguousarray(shot.clip[::-1])
    shot.flaws.add("static")
    shot.unsure |= {"still_pan"}


def _slides(shot: SampleShot, generator: np.random.Generator, is_flat: bool) -> None:
    """Different pictures, each held for 0.5 s or more, cut or dissolved into one another."""
    count, height, width = shot.clip.shape[:3]
    num_slides = max(2, min(4, int(count / shot.fps / 0.7)))
    pictures = [_scene(width, height, 1, shot.fps, generator)[0][0] for _ in range(num_slides)]
    hold = count // num_slides
    join = int(generator.integers(0, max(1, hold // 3))) if generator.random() < 0.5 else 0
    for index in range(count):
        number = min(index // hold, num_slides - 1)
        into = index - (number + 1) * hold + join
        frame = pictures[number]
        if into > 0 and number + 1 < num_slides:
            share = into / (join + 1)
            frame = cv2.addWeighted(frame, 1 - share, pictures[number + 1], share, 0)
        shot.clip[index] = frame
    shot.flaws |= {"slideshow", "static"}
    shot.unsure |= {"still_pan", "static"}


def _pan_over_still(shot: SampleShot, generator: np.random.Generator, is_flat: bool) -> None:
    """A still picture of half as many pixels again, over which a pan, a zoom or both go evenly or with a soft start and end."""
    count, height, width = shot.clip.shape[:3]
    large = cv2.resize(shot.clip[0], None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    zoom = float(generator.uniform(1.02, 1.12)) ** (count / shot.fps) if generator.random() < 0.7 else 1.0
    reach = 0.25 if zoom == 1 else 0.12
    way = generator.uniform(-reach, reach, 2) * (width, height)
    if zoom == 1 and np.hypot(*way) < 0.08 * height:
        way = np.array([0.15 * width, 0.0])
    inwards, soft = bool(generator.random() < 0.5), bool(generator.random() < 0.5)
    for index in range(count):
        share = index / max(1, count - 1)
        share = share * share * (3 - 2 * share) if soft else share
        share = share if inwards else 1 - share
        scale = zoom**share
        middle = np.array([0.75 * width, 0.75 * height]) + (share - 0.5) * way
        view = np.array([[1 / scale, 0, middle[0] - width / 2 / scale], [0, 1 / scale, middle[1] - height / 2 / scale]])
        shot.clip[index] = cv2.warpAffine(large, view, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    shot.flaws.add("still_pan")
    if soft or _is_frozen(shot.clip):
        shot.unsure.add("static")  # a soft start holds the picture


def _split(shot: SampleShot, generator: np.random.Generator, is_flat: bool, kind: str = "split_screen") -> None:
    count, height, width = shot.clip.shape[:3]
    other, ground, _ = _scene(width, height, count, shot.fps, generator)
    frozen = _is_frozen(shot.clip), _is_frozen(other)
    shot.clip, truth = draw_flaw(kind, shot.clip, generator, other=other)
    shot.detail = f"with {ground} {truth.detail}"
    shot.flaws.add("split_screen")
    shot.unsure |= {"still_pan", "sticker"}
    if all(frozen):
        shot.unsure |= {"split_screen", "static"}  # nothing moves: a wall would look the same


def _inset(shot: SampleShot, generator: np.random.Generator, is_flat: bool) -> None:
    _split(shot, generator, is_flat, "picture_in_picture")
    shot.unsure.add("logo")  # the inset stands in a corner, too


_COURSES = {
    "plain": _plain, "black": _black, "static": _static, "slideshow": _slides, "still_pan": _pan_over_still,
    "split_screen": _split, "picture_in_picture": _inset,
}  # fmt: skip


# ---- what is laid over it ------------------------------------------------------------------------------------------------------


def _areas(shot: SampleShot, generator: np.random.Generator, odds: Odds) -> list[str]:
    """A mosaic, a blurred area or neither."""
    choice = generator.random()
    kind = ("mosaic" if generator.random() < 0.5 else "moving_mosaic") if choice < odds.mosaic else ""
    kind = "blurred_box" if odds.mosaic <= choice < odds.mosaic + odds.blurred_region else kind
    if not kind:
        return []
    drawn, truth = draw_flaw(kind, shot.clip, generator)
    if not truth.is_visible:
        return []
    x0, y0, x1, y1 = truth.boxes[0]
    if kind == "blurred_box" and _detail(shot.clip[0, y0:y1, x0:x1]) < SHARP:
        shot.unsure.add("blurred_region")  # soft before it was blurred
    shot.clip = drawn
    shot.flaws.add("blurred_region" if kind == "blurred_box" else "mosaic")
    shot.unsure.add("still_pan")
    if kind == "moving_mosaic" and "static" in shot.flaws:
        shot.unsure.add("static")  # a held frame over which something moves
    shot.areas = truth.boxes
    return [f"{kind} {truth.detail}"]


def _detail(part: np.ndarray) -> float:
    """Levels by which pixels differ from their surroundings, grain apart."""
    soft = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.2)
    return float(np.abs(cv2.Laplacian(soft, cv2.CV_32F)).mean())


def _bars(shot: SampleShot, generator: np.random.Generator, odds: Odds) -> list[str]:
    """Bars of one kind, or none."""
    if generator.random() >= odds.bars:
        return []
    kind = _weighted(odds.bar_kinds, generator)
    shot.clip, truth = draw_flaw(kind, shot.clip, generator, with_text=False)
    shot.flaws.add("blurred_fill" if kind == "blurred_fill" else "letterbox")
    shot.unsure.add("letterbox" if kind == "blurred_fill" else "blurred_fill")
    if kind == "blurred_fill":
        shot.unsure |= {"split_screen", "blurred_region"}
    covered = shot.flaws & {"mosaic", "blurred_region"}
    left = _left(shot.areas, truth.boxes[0]) if covered else 1.0
    if left == 0:
        shot.flaws -= covered
    elif left < _LEFT:
        shot.unsure |= covered
    if kind in ("pillarbox", "windowbox") or "logo" in shot.unsure:
        shot.unsure.add("split_screen")  # bars look like panels, and hide the outer sides of an inset
    return [f"{kind} {truth.detail}"]


def _left(areas: np.ndarray, picture: np.ndarray) -> float:
    """Share of the areas, over all frames, that lies inside the picture; boxes as x0, y0, x1, y1."""
    shown = np.clip(np.minimum(areas[:, 2:], picture[2:]) - np.maximum(areas[:, :2], picture[:2]), 0, None)
    return float(np.prod(shown, axis=1).sum() / np.prod(areas[:, 2:] - areas[:, :2], axis=1).sum())


def _overlays(shot: SampleShot, generator: np.random.Generator, odds: Odds) -> list[str]:
    """A subtitle, a mark, a sticker; and in a fifth of the shots a sign that moves with the scene."""
    subtitle, mark, small, sticker, sign = generator.random(5)
    kinds: list[Kind] = ["subtitle"] if subtitle < odds.subtitle else []
    if mark < odds.logo:
        kinds.append("watermark" if small < 0.3 else "logo")
    if sticker < odds.sticker:
        kinds.append("sticker")
    if sign < 0.2 and not shot.flaws & {"static", "slideshow", "still_pan"}:
        kinds.append("scene_text")
    if not kinds:
        return []
    truths = draw_overlays(shot.clip, kinds, seed=shot.seed, fps=shot.fps)
    shot.flaws |= {"logo" if kind == "watermark" else kind for kind in kinds if kind != "scene_text"}
    if "still_pan" in shot.flaws:
        shot.unsure.add("still_pan")
    return [f"{truth.kind} {truth.text or 'drawing'} opacity {truth.opacity:.2f}" for truth in truths]
