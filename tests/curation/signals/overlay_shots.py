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
from skyreels_platform.media.sample_grounds import SPEEDS, busy_frames, plain_frames
from skyreels_platform.media.sample_overlays import Kind, OverlayTruth, draw_overlays

FPS = 16
SIZES = ((640, 360), (640, 360), (640, 360), (854, 480), (480, 480), (360, 640))


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
    motion = camera or str(generator.choice(["static", *SPEEDS]))
    busy = generator.random() < 0.5
    if busy:
        clip = np.stack(list(busy_frames(width, height, num_frames, FPS, motion, generator)))
    else:
        clip = np.stack(list(plain_frames(width, height, num_frames, FPS, motion, number, generator)))
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
