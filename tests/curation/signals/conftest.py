"""Pictures with known properties, and a way to measure them without a file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.observe import measure_frames
from skyreels_platform.curation.signals import Region, Score, Signal
from skyreels_platform.media.probe import Probe
from skyreels_platform.media.pyramid import PICTURES_PER_S, PICTURES_PER_STILL, Levels, from_rgb

cv2.setNumThreads(1)


@dataclass(frozen=True, kw_only=True)
class Span:
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float


class Bench:
    """Ground-truth pictures (uint8 RGB) and their scores."""

    def span(self, start: int, end: int, fps: float = 24) -> Span:
        return Span(start_frame=start, end_frame=end, start_s=start / fps if fps else 0.0, end_s=end / fps if fps else 0.0)

    def frames(self, images: Iterable[np.ndarray], fps: float = 24, start: int = 0) -> Iterator[Levels]:
        """Images (uint8 RGB) as the pyramid would give them: pictures 8 a second, stills 2 a second."""
        every = max(1, round(fps / PICTURES_PER_S))
        for index, image in enumerate(images, start):
            yield from_rgb(
                image, index=index, time_s=index / fps if fps else 0.0, is_picture=index % every == 0,
                is_still=index % (every * PICTURES_PER_STILL) == 0,
            )  # fmt: skip

    def facts(self, width: int, height: int, fps: float = 24, media: str = "video", bitrate: int | None = 1_000_000) -> Probe:
        return Probe(
            media="image" if media == "image" else "video", container="", codec="", pixel_format="yuv420p", width=width, height=height,
            rotation=0, fps_num=round(fps * 1000), fps_den=1000 if fps else 0, is_vfr=False, num_frames=0, duration_s=0.0,
            bitrate=bitrate, has_audio=False,
        )  # fmt: skip

    def measured(
        self, images: list[np.ndarray], fps: float = 24, media: str = "video", kinds: Iterable[type[Signal]] | None = None
    ) -> tuple[dict[str, Score], list[Region]]:
        """Scores and regions of one shot that consists of these images."""
        height, width = images[0].shape[:2]
        facts = self.facts(width, height, fps, media)
        ((row, regions),) = measure_frames(self.frames(images, fps), [self.span(0, len(images), fps)], facts, kinds=kinds)
        return {score.signal: score for score in row}, regions

    def scores(self, images: list[np.ndarray], fps: float = 24, media: str = "video") -> dict[str, Score]:
        """All scores of one shot that consists of these images."""
        return self.measured(images, fps, media)[0]

    def value(self, name: str, images: list[np.ndarray], fps: float = 24) -> float:
        score = self.scores(images, fps)[name]
        assert score.outcome == "measured", score.reason
        assert score.value is not None
        return score.value

    def flat(self, level: float, size: int = 96) -> np.ndarray:
        return np.full((size, size, 3), round(level), np.uint8)

    def noise(self, height: int, width: int, blur: float, seed: int = 0) -> np.ndarray:
        """Smooth grey texture over the whole range, periodic, float (height, width)."""
        spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width)))
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
        texture = np.fft.irfft2(spectrum * np.exp(-2 * (np.pi * frequency * blur) ** 2), (height, width))
        return np.clip(128 + 45 * texture / texture.std(), 0, 255)

    def shifted(self, texture: np.ndarray, right: float, down: float) -> np.ndarray:
        """A periodic texture moved by any fraction of a pixel, exactly (by Fourier's shift theorem); RGB."""
        height, width = texture.shape
        phase = np.fft.fftfreq(height)[:, None] * down + np.fft.rfftfreq(width)[None, :] * right
        moved = np.fft.irfft2(np.fft.rfft2(texture) * np.exp(-2j * np.pi * phase), (height, width))
        return self.rgb(moved)

    def disc(
        self, size: int, x: float, y: float, radius: float, colour: tuple[int, int, int], ground: tuple[int, int, int]
    ) -> np.ndarray:
        """A disc with an anti-aliased edge; x, y and radius are shares of the side."""
        rows, columns = np.mgrid[:size, :size] + 0.5
        cover = np.clip(0.5 + radius * size - np.hypot(columns - x * size, rows - y * size), 0, 1)[..., None]
        return np.rint(np.array(ground) * (1 - cover) + np.array(colour) * cover).astype(np.uint8)

    def rgb(self, grey: np.ndarray) -> np.ndarray:
        return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def textured(bench: Bench) -> Callable[[int], np.ndarray]:
    """Seed -> a still textured picture, for shots whose content does not matter."""
    return lambda seed: bench.rgb(bench.noise(96, 128, 2.0, seed))
