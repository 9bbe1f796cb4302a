"""Ground truth for quality: clips, ladders of known damage to them, and their scores."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Score, ShotInfo, Signal
from skyreels_platform.curation.signals.meter import Lens, ShotMeter
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.pyramid import PICTURES_PER_S, PICTURES_PER_STILL, Levels, from_rgb, pyramid
from skyreels_platform.media.sample_scene import Background, Camera, ScenePainter, SceneSpec, Subject

cv2.setNumThreads(1)


def levels(frames: Iterable[np.ndarray], fps: float) -> list[Levels]:
    """What the pyramid would give of frames (H, W, 3) uint8 that were never encoded."""
    every = max(1, round(fps / PICTURES_PER_S))
    return [
        from_rgb(
            frame, index=index, time_s=index / fps, is_picture=index % every == 0,
            is_still=index % (every * PICTURES_PER_STILL) == 0,
        )
        for index, frame in enumerate(frames)
    ]  # fmt: skip


def encoded(frames: Sequence[np.ndarray], fps: int, folder: Path, crf: int) -> list[Levels]:
    """The same of frames that went through H.264."""
    path = folder / f"crf{crf}.mp4"
    write_video(path, frames, Fraction(fps), crf=crf, preset="veryfast")
    return list(pyramid(path))


def scores(kinds: Iterable[type[Signal]], seen: Sequence[Levels], fps: float, **info: Any) -> dict[str, Score]:
    """Signals of one shot, fed by the shot's meter."""
    height, width = seen[0].still.large.shape if seen[0].still else (180, 320)
    facts = {"media": "video", "num_frames": 0, "duration_s": 0.0, "fps": fps, "width": width, "height": height, **info}
    kinds = list(kinds)
    meter, lens = ShotMeter(ShotInfo(**facts), kinds), Lens(kinds)
    for frame in seen:
        meter.add(lens.sample(frame))
    found, _ = meter.finish(num_frames=len(seen), duration_s=len(seen) / fps if fps else 0.0)
    return {score.signal: score for score in found}


def value(kind: type[Signal], frames: Iterable[np.ndarray], fps: float = 24) -> float:
    """The value of a shot that must be measured."""
    found = scores([kind], levels(frames, fps), fps)[kind.name]
    assert found.value is not None, found.reason
    return found.value


def rendered(number: int, *, size: tuple[int, int] = (320, 180), num_frames: int = 24, fps: int = 24) -> list[np.ndarray]:
    """One drawn clip, different for each number: even ones are a sample film's soft world, odd ones a world of hard edges and
    fine texture."""
    motion = ("static", "pan_left", "tilt_up", "zoom_in", "pan_right", "roll_clockwise")[number % 6]
    subject = Subject(
        colour=("red", "green", "blue", "yellow")[number % 4], shape=("circle", "square", "triangle")[number % 3],
        size=0.25 + 0.05 * (number % 4), position=(0.4, 0.5), velocity=(0.15, 0.05),
    )
    scene = SceneSpec(
        num_frames=num_frames, look=number, subject=subject, background=Background(kind="texture", level=0.4 + 0.05 * (number % 5)),
        camera=Camera(motion=motion, speed={"static": 0.0, "roll_clockwise": 4.0}.get(motion, 0.06)),
    )
    if number % 2 == 0:
        painter = ScenePainter(scene, width=size[0], height=size[1], fps=fps, seed=number)
        return [painter.frame(index) for index in range(num_frames)]
    world, (width, height) = _world(number, size), size
    frames = []
    for index in range(num_frames):
        time_s = index / fps
        view = np.array([[1.0, 0, width / 2 + 0.08 * height * time_s], [0, 1.0, height / 2 + 0.03 * height * time_s]])
        frame = cv2.warpAffine(world, view, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP)
        place = round((0.3 + 0.15 * time_s) * width), round(0.5 * height)
        cv2.circle(frame, place, round(0.14 * height), (190, 60, 60), -1, cv2.LINE_AA)
        frames.append(frame)
    return frames


def _world(number: int, size: tuple[int, int]) -> np.ndarray:
    """(2 h, 2 w, 3) uint8: coloured boxes under noise that falls with frequency, as photographs have it; periodic."""
    generator = np.random.default_rng(number)
    width, height = 2 * size[0], 2 * size[1]
    canvas = np.full((height, width, 3), generator.uniform(90, 150, 3))
    for _ in range(40):
        left, top = generator.integers(0, width - 40), generator.integers(0, height - 30)
        right, bottom = left + generator.integers(15, 90), top + generator.integers(10, 70)
        canvas[top:bottom, left:right] = generator.uniform(30, 225, 3)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(generator.standard_normal((height, width))) / np.maximum(frequency, 0.004) ** 1.2
    texture = np.fft.irfft2(spectrum, (height, width))
    return np.clip(canvas + 14 * (texture / texture.std())[..., None], 4, 251).astype(np.uint8)


# ---- damage: each a ladder from none to heavy ----------------------------------------------------------------------------------

Damage = Callable[[Sequence[np.ndarray], float], list[np.ndarray]]


def blur(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """Gaussian, strength: deviation as a share of the height."""
    return [cv2.GaussianBlur(frame, (0, 0), strength * frame.shape[0]) if strength else frame for frame in frames]


def jpeg(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """strength: 100 minus the quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(100 - strength)]
    if not strength:
        return list(frames)
    return [np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR)) for frame in frames]


def grain(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """Gaussian, new in every frame; strength: levels of 255."""
    generator = np.random.default_rng(0)
    return [np.clip(np.rint(frame + strength * generator.normal(size=frame.shape)), 0, 255).astype(np.uint8) for frame in frames]


def darkened(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """strength: stops of under-exposure, in linear light (2.2)."""
    return [cv2.convertScaleAbs(frame, alpha=2 ** (-strength / 2.2)) for frame in frames]


def brightened(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    return darkened(frames, -strength)


def rescaled(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """Reduced by a factor and enlarged again; strength: the factor."""
    height, width = frames[0].shape[:2]
    small = max(2, round(width / strength)), max(2, round(height / strength))
    return [
        cv2.resize(cv2.resize(frame, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC)
        if strength > 1 else frame
        for frame in frames
    ]


def dropped(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """strength: share of frames that are lost, at random; the one before stays on."""
    generator = np.random.default_rng(1)
    order = generator.permutation(np.arange(1, len(frames)))
    lost = set(order[: round(strength * len(frames))].tolist())
    kept = 0
    shown = []
    for index in range(len(frames)):
        kept = kept if index in lost else index
        shown.append(frames[kept])
    return shown


def shaken(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """strength: deviation of the camera's place from frame to frame, share of the height; smooth over three frames."""
    generator = np.random.default_rng(2)
    height, width = frames[0].shape[:2]
    path = np.apply_along_axis(lambda axis: np.convolve(axis, [0.5, 0.7, 0.5], "same"), 0, generator.normal(size=(len(frames), 2)))
    return [
        cv2.warpAffine(frame, np.array([[1, 0, x], [0, 1, y]]), (width, height), borderMode=cv2.BORDER_REFLECT)
        if strength else frame
        for frame, (x, y) in zip(frames, path * strength * height, strict=True)
    ]


def flickering(frames: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    """strength: levels by which the picture alternates up and down."""
    return [np.clip(frame + strength * (-1.0) ** index, 0, 255).astype(np.uint8) for index, frame in enumerate(frames)]


LADDERS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "blur": (blur, (0, 0.003, 0.006, 0.012, 0.024, 0.05)),
    "jpeg": (jpeg, (0, 30, 60, 80, 90, 95)),
    "noise": (grain, (0, 3, 6, 12, 24, 40)),
    "dark": (darkened, (0, 1, 2, 3, 4, 6)),
    "bright": (brightened, (0, 1, 1.6, 2.2, 3, 4)),
    "rescale": (rescaled, (1, 1.5, 2, 3, 5, 8)),
    "drops": (dropped, (0, 0.15, 0.3, 0.45, 0.6, 0.8)),
    "shake": (shaken, (0, 0.004, 0.008, 0.016, 0.03, 0.06)),
    "flicker": (flickering, (0, 1, 2, 4, 8, 16)),
}
CRFS = (16, 24, 30, 36, 42, 51)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean rank; 0 where one side does not vary."""
    ranks = []
    for values in (np.asarray(first, float), np.asarray(second, float)):
        smaller, equal = (values[None] < values[:, None]).sum(1), (values[None] == values[:, None]).sum(1)
        ranks.append(smaller + (equal - 1) / 2)
    if not np.ptp(ranks[0]) or not np.ptp(ranks[1]):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
