"""Rendered shots with and without things laid over the picture, as signals see them after a codec has been at them.

Grounds are drawn scenes and high-contrast textures (bricks, leaves, stripes, blots) under a camera that pans, tilts, zooms,
shakes or stands still; a quarter of the shots have letterbox bars.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion, Sample, ShotInfo, Signal
from skyreels_platform.curation.signals.flow import FlowMeter
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.pyramid import Levels, from_rgb, pyramid
from skyreels_platform.media.sample_overlays import Kind, OverlayTruth, draw_overlays
from skyreels_platform.media.sample_scene import COLOURS, SHAPES, Background, Camera, ScenePainter, SceneSpec, Subject

FPS = 16
SIZES = ((640, 360), (640, 360), (640, 360), (854, 480), (480, 480), (360, 640))
_SPEEDS = {
    "pan_left": 0.12, "pan_right": 0.12, "tilt_up": 0.12, "tilt_down": 0.12, "zoom_in": 0.15, "zoom_out": 0.15,
    "roll_clockwise": 8.0, "handheld": 0.05,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RenderedShot:
    """One shot after encoding and decoding, and what was drawn into it."""

    name: str
    info: ShotInfo
    samples: list[Sample]
    truths: list[OverlayTruth]
    camera: str
    crf: int

    def has(self, *kinds: str) -> bool:
        return any(truth.kind in kinds for truth in self.truths)


def rendered_shot(number: int, kinds: tuple[Kind, ...], folder: Path, *, camera: str | None = None) -> RenderedShot:
    """Shot `number` of the test set, with overlays of these kinds, encoded at crf 18 to 30 and decoded again."""
    generator = np.random.default_rng([number, 77])
    width, height = SIZES[int(generator.integers(len(SIZES)))]
    num_frames = int(generator.integers(2 * FPS, 5 * FPS))
    motion = camera or str(generator.choice(["static", *_SPEEDS]))
    busy = generator.random() < 0.5
    if busy:
        clip = np.stack(list(_busy_frames(width, height, num_frames, motion, generator)))
    else:
        clip = np.stack(list(_scene_frames(width, height, num_frames, motion, number, generator)))
    if generator.random() < 0.25:
        bar = round(float(generator.uniform(0.08, 0.14)) * height)
        clip[:, :bar], clip[:, height - bar :] = 0, 0
    truths = draw_overlays(clip, kinds, seed=number, fps=FPS)
    crf = int(generator.integers(18, 31))
    path = folder / f"{number}.mp4"
    write_video(path, clip, FPS, crf=crf, preset="veryfast")
    info = ShotInfo(media="video", num_frames=num_frames, duration_s=num_frames / FPS, fps=FPS, width=width, height=height)
    samples = list(samples_of(pyramid(path)))
    path.unlink()
    name = f"{number} {width}x{height} {'busy' if busy else 'scene'} {motion} crf {crf} {'+'.join(kinds)}"
    return RenderedShot(name=name, info=info, samples=samples, truths=truths, camera=motion, crf=crf)


def random_kinds(number: int) -> tuple[Kind, ...]:
    """What shot `number` of the large test carries: subtitle and mark in half of the shots each, independent of one another."""
    generator = np.random.default_rng([number, 78])
    subtitle, mark, small, sticker, sign = generator.random(5)
    chosen: list[Kind] = ["subtitle"] if subtitle < 0.5 else []
    if mark < 0.5:
        chosen.append("watermark" if small < 0.3 else "logo")
    if sticker < 0.2:
        chosen.append("sticker")
    if sign < 0.4:
        chosen.append("scene_text")
    return tuple(chosen)


def drawn_shot(clip: np.ndarray, fps: float = FPS) -> tuple[ShotInfo, list[Sample]]:
    """(F, H, W, 3) uint8 as signals see it, without a codec."""
    height, width = clip.shape[1:3]
    every = max(1, round(fps / 8))
    levels = (
        from_rgb(frame, index=k, time_s=k / fps, is_picture=k % every == 0, is_still=k % (4 * every) == 0)
        for k, frame in enumerate(clip)
    )
    info = ShotInfo(media="video", num_frames=len(clip), duration_s=len(clip) / fps, fps=fps, width=width, height=height)
    return info, list(samples_of(levels))


def texture_clip(num_frames: int = 40, *, pan: float = 6.0, seed: int = 0, size: tuple[int, int] = (480, 270)) -> np.ndarray:
    """(F, H, W, 3) uint8: smooth texture that slides to the left by `pan` pixels a frame; 0 for a camera at rest."""
    width, height = size
    generator = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(generator.standard_normal((height, width + round(num_frames * abs(pan)))), (0, 0), 4)
    levels = np.clip(110 + 40 * wide / wide.std(), 0, 255).astype(np.uint8)
    starts = [round(k * pan) for k in range(num_frames)]
    return np.stack([np.repeat(levels[:, x : x + width, None], 3, axis=2) for x in starts])


def measure(kind: type[Signal], info: ShotInfo, samples: Iterable[Sample]) -> Signal:
    """A signal that has seen the shot, with what it shares with others."""
    signal = kind(info)
    if kind.shared is not None:
        signal.shared_state = kind.shared(info)
    for sample in samples:
        if signal.shared_state is not None:
            signal.shared_state.add(sample)
        signal.add(sample)
    return signal


def samples_of(levels: Iterator[Levels]) -> Iterator[Sample]:
    """Frames as the shot's meter shows them to signals."""
    flow, before = FlowMeter(), None
    for level in levels:
        grey = cv2.cvtColor(level.small, cv2.COLOR_RGB2GRAY)
        motion: Motion | None = None
        if level.picture is not None:
            if before is not None:
                motion = flow.measure(before[0], grey, level.time_s - before[1])
            before = grey, level.time_s
        yield Sample(
            rgb=level.small, grey=grey, luma=float(grey.mean()) / 255, contrast=float(grey.std()) / 255, time_s=level.time_s,
            picture=level.picture, plane=None if level.picture is None else cv2.cvtColor(level.picture, cv2.COLOR_RGB2GRAY),
            motion=motion, still=level.still,
        )  # fmt: skip


def _scene_frames(
    width: int, height: int, num_frames: int, motion: str, number: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:  # fmt: skip
    level = float(generator.uniform(0.25, 0.75))
    subject = None
    if generator.random() < 0.7:
        x, y = generator.uniform(0.2, 0.8, 2)
        right, down = generator.uniform(-0.5, 0.5, 2)
        subject = Subject(
            colour=str(generator.choice(list(COLOURS))), shape=str(generator.choice(SHAPES)),
            size=float(generator.uniform(0.15, 0.4)), position=(float(x), float(y)), velocity=(float(right), float(down)),
        )  # fmt: skip
    speed = _SPEEDS.get(motion, 0.0) * float(generator.uniform(0.6, 2.0))
    scene = SceneSpec(
        num_frames=num_frames, subject=subject, camera=Camera(motion=motion, speed=speed), look=number,
        background=Background(kind=str(generator.choice(["texture", "texture", "gradient", "plain"])), level=level),
    )  # fmt: skip
    painter = ScenePainter(scene, width=width, height=height, fps=FPS, seed=5)
    for index in range(num_frames):
        yield painter.frame(index)


def _busy_frames(width: int, height: int, num_frames: int, motion: str, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """A high-contrast texture seen by a moving camera, grained like a film."""
    canvas = _busy_canvas(2 * width, 2 * height, generator)
    speed = float(generator.uniform(0.6, 2.0)) * _SPEEDS.get(motion, 0.0)
    phases = generator.uniform(0, 2 * np.pi, 2)
    for index in range(num_frames):
        time_s = index / FPS
        sign = -1.0 if motion in ("pan_right", "tilt_down", "zoom_out") else 1.0
        scale, angle, right, down = 1.0, 0.0, 0.0, 0.0
        if motion.startswith("pan"):
            right = sign * speed * width * time_s
        elif motion.startswith("tilt"):
            down = sign * speed * height * time_s
        elif motion.startswith("zoom"):
            scale = (1 + speed) ** (sign * time_s)
        elif motion.startswith("roll"):
            angle = speed * time_s
        elif motion == "handheld":
            right, down = speed * height * np.sin(2 * np.pi * np.array([0.9, 1.3]) * time_s + phases)
        view = cv2.getRotationMatrix2D((width, height), angle, scale)
        view[:, 2] += np.array([right - width / 2, down - height / 2])
        frame = cv2.warpAffine(canvas, view, (width, height), borderMode=cv2.BORDER_WRAP)
        grain = generator.normal(0, 3, (height, width, 1))
        yield np.clip(frame + grain, 0, 255).astype(np.uint8)


def _busy_canvas(width: int, height: int, generator: np.random.Generator) -> np.ndarray:
    dark, light = (generator.uniform(low, high, 3) for low, high in ((10, 110), (120, 250)))
    kind = str(generator.choice(["bricks", "leaves", "stripes", "blots", "windows"]))
    cell = int(generator.integers(10, 40))
    rows, columns = np.mgrid[:height, :width]
    if kind == "bricks":
        shift = (rows // cell % 2) * cell
        share = (((rows % cell) > cell // 6) & (((columns + shift) % (2 * cell)) > cell // 6)).astype(np.float32)
    elif kind == "stripes":
        share = 0.5 + 0.5 * np.sign(np.sin((rows * np.sin(cell) + columns * np.cos(cell)) * 2 * np.pi / cell))
    elif kind == "windows":
        wall = ((rows % (2 * cell)) > cell // 2) & ((columns % (2 * cell)) > cell)
        lit = np.kron(generator.random((height // 2 // cell + 1, width // 2 // cell + 1)), np.ones((2 * cell, 2 * cell)))
        share = np.where(wall, lit[:height, :width], 0.2)
    else:
        noise = cv2.GaussianBlur(generator.standard_normal((height, width)), (0, 0), cell / (8 if kind == "leaves" else 3))
        share = np.clip(0.5 + noise / noise.std(), 0, 1) if kind == "leaves" else (noise > 0).astype(np.float64)
    share = cv2.GaussianBlur(np.asarray(share, np.float32), (0, 0), 0.7)[..., None]
    return (dark * (1 - share) + light * share).astype(np.float32)
