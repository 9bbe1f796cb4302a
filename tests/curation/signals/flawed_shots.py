"""A test bench of flawed shots: rendered from a seed, encoded with h264, decoded, shown to signals as the platform shows them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_flaws import KINDS, VISIBLE, FlawTruth, draw_flaw
from skyreels_platform.media.sample_scene import MOTIONS, Background, Camera, ScenePainter, SceneSpec, Subject, seeded

SIZES = {(640, 360): 7, (854, 480): 5, (480, 360): 3, (360, 640): 2, (720, 480): 3, (1280, 720): 2, (1920, 1080): 1}
"""Width and height, and how often; small ones are drawn faster."""
_SPEEDS = {"pan": (0.04, 0.25), "tilt": (0.04, 0.25), "zoom": (0.05, 0.2), "roll": (2.0, 8.0), "handheld": (0.01, 0.03)}


@dataclass(frozen=True, kw_only=True)
class FlawedShot:
    """One rendered shot and what is wrong with it."""

    seed: int
    width: int
    height: int
    fps: int
    crf: int
    truth: FlawTruth | None
    samples: list[Sample]

    @property
    def kind(self) -> str:
        return self.truth.kind if self.truth else "none"

    @property
    def info(self) -> ShotInfo:
        count = len(self.samples)
        return ShotInfo(
            media="video", num_frames=count, duration_s=count / self.fps, fps=self.fps, width=self.width, height=self.height
        )

    def measure(self, kind: type[Signal]) -> tuple[Score, list[Region]]:
        return measure(kind, self.info, self.samples)


def measure(kind: type[Signal], info: ShotInfo, samples: list[Sample]) -> tuple[Score, list[Region]]:
    """One signal of one shot, and where it found what it measures."""
    signal = kind(info)
    if kind.shared is not None:
        signal.shared_state = kind.shared(info)
    for sample in samples:
        if signal.shared_state is not None:
            signal.shared_state.add(sample)
        signal.add(sample)
    return signal.result(), signal.regions()


def rendered_shot(
    seed: int, folder: Path, kind: str | None, size: tuple[int, int] | None = None, num_s: float = 2.0
) -> FlawedShot:
    """Shot `seed`, with one flaw of KINDS or none."""
    generator = seeded("flawed shot", str(seed))
    shapes = [shape for shape, weight in SIZES.items() for _ in range(weight)]
    width, height = size or shapes[generator.integers(len(shapes))]
    fps, crf = int(generator.choice((8, 10))), int(generator.integers(18, 31))
    count = round(num_s * fps)
    truth: FlawTruth | None = None
    for attempt in range(8):
        clip, centres = clean_clip(generator, width, height, fps, count, f"{seed}/{attempt}")
        if kind is None:
            break
        other = None
        if kind in ("split_screen", "picture_in_picture"):
            other = clean_clip(generator, width, height, fps, count, f"{seed}/{attempt}/other")[0]
        followed = centres if generator.random() < 0.6 else None
        flawed, truth = draw_flaw(kind, clip, generator, other=other, centres=followed)
        if truth.visible >= VISIBLE:
            clip = flawed
            break
    else:
        raise AssertionError(f"shot {seed}: no visible {kind} in 8 scenes")
    path = folder / f"shot_{seed}.mp4"
    write_video(path, clip, fps, crf=crf, preset="veryfast")
    samples = list(read_samples(path))
    path.unlink()
    return FlawedShot(seed=seed, width=width, height=height, fps=fps, crf=crf, truth=truth, samples=samples)


def clean_clip(
    generator: np.random.Generator, width: int, height: int, fps: int, count: int, look: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """(F, H, W, 3) uint8 of one moving scene without a flaw, and its subject's centres (F, 2) if it has one.

    Every third scene is dark, every fifth has a black sky above it, so that darkness as such proves nothing.
    """
    motion = str(generator.choice(MOTIONS))
    low, high = _SPEEDS.get(motion.split("_", 1)[0], (0.0, 0.0))
    subject = None
    if generator.random() < 0.8:
        subject = Subject(
            colour=str(generator.choice(("red", "green", "blue", "yellow"))),
            shape=str(generator.choice(("circle", "square", "triangle"))),
            size=generator.uniform(0.15, 0.5), position=(generator.uniform(0.2, 0.8), generator.uniform(0.25, 0.75)),
            velocity=(generator.uniform(-0.3, 0.3), generator.uniform(-0.2, 0.2)),
        )
    scene = SceneSpec(
        num_frames=count, subject=subject, background=Background(kind="texture", level=generator.uniform(0.3, 0.7)),
        camera=Camera(motion=motion, speed=0.0 if motion == "static" else generator.uniform(low, high)),
        look=int(generator.integers(1 << 30)),
    )
    painter = ScenePainter(scene, width=width, height=height, fps=fps, seed=0)
    detail, drift = _detail(int(generator.integers(8)), width, height), generator.uniform(-0.004, 0.004, 2) * height
    strength, gain = np.float32(generator.uniform(0.5, 1.5)), np.float32(0.2 if generator.random() < 0.3 else 1.0)
    sky = generator.uniform(0.1, 0.4) * height if generator.random() < 0.2 else 0.0
    grain = seeded("grain", look).standard_normal((height, width, 1), np.float32) * np.float32(generator.uniform(0, 2.5))
    clip = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        shift = np.array([[1, 0, 40 + drift[0] * index], [0, 1, 40 + drift[1] * index]])
        fine = cv2.warpAffine(detail, shift, (width, height), borderMode=cv2.BORDER_WRAP)
        image = painter.frame(index).astype(np.float32) + strength * fine[..., None]
        if sky:
            roofs = sky + 0.06 * height * np.sin(np.arange(width) / width * 9 + index / 20 + seed_phase(look))
            image *= np.clip(np.arange(height)[:, None] - roofs, 0, 1).astype(np.float32)[..., None]
        clip[index] = np.clip(gain * image + np.roll(grain, 7 * index, axis=(0, 1)), 0, 255)
    centres = np.array([painter.centre(index) for index in range(count)]) if subject is not None else None
    return clip, centres


def seed_phase(look: str) -> float:
    return float(seeded("phase", look).uniform(0, 6))


@cache
def _detail(number: int, width: int, height: int) -> np.ndarray:
    """Fine texture with a natural spectrum (amplitude 1/f), zero mean, 18 levels deep, with some hard-edged patches."""
    generator = seeded("detail", str(number))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    spectrum = np.fft.rfft2(generator.standard_normal((height, width))) / np.maximum(frequency, 4 / height)
    noise = np.fft.irfft2(spectrum, (height, width))
    noise = (18 * noise / noise.std()).astype(np.float32)
    for _ in range(40):
        middle, number = generator.uniform(0, 1, 2) * (width, height), int(generator.integers(3, 6))
        corners = middle + generator.uniform(-0.12, 0.12, (number, 2)) * height
        patch = np.zeros_like(noise)
        cv2.fillPoly(patch, [np.rint(corners).astype(np.int32)], generator.uniform(-50, 50))
        noise += patch
    return noise


def read_samples(path: Path) -> Iterator[Sample]:
    """A file's frames as signals see them, without optical flow."""
    for frame in pyramid(path):
        grey = cv2.cvtColor(frame.small, cv2.COLOR_RGB2GRAY)
        yield Sample(
            rgb=frame.small, grey=grey, luma=float(grey.mean()) / 255, contrast=float(grey.std()) / 255, time_s=frame.time_s,
            picture=frame.picture, still=frame.still,
        )


@cache
def quick_shots() -> tuple[FlawedShot, ...]:
    """One small shot of every kind and three without a flaw."""
    kinds = (*KINDS, None, None, None)
    with TemporaryDirectory() as folder:
        return tuple(rendered_shot(1000 + n, Path(folder), kind, (480, 270), 1.0) for n, kind in enumerate(kinds))


def kind_of(number: int) -> str | None:
    """The flaw of shot `number` in a long bench: of 20, 8 have bars and 8 a mosaic."""
    bars = ("letterbox",) * 3 + ("pillarbox",) * 2 + ("windowbox",) * 2 + ("blurred_fill",)
    others = ("mosaic",) * 4 + ("moving_mosaic",) * 4 + ("blurred_box", "split_screen", "picture_in_picture", None)
    return (bars + others)[number % 20]
