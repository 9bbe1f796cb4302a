"""A test bench of flawed shots: rendered from a seed, encoded with h264, decoded, shown to signals as the platform shows them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.meter import Lens
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_flaws import KINDS, VISIBLE, FlawTruth, draw_flaw
from skyreels_platform.media.sample_grounds import detailed_scene
from skyreels_platform.media.sample_scene import seeded

SIZES = {(640, 360): 7, (854, 480): 5, (480, 360): 3, (360, 640): 2, (720, 480): 3, (1280, 720): 2, (1920, 1080): 1}
"""Width and height, and how often; small ones are drawn faster."""


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
        clip, centres = detailed_scene(generator, width, height, fps, count, f"{seed}/{attempt}")
        if kind is None:
            break
        other = None
        if kind in ("split_screen", "picture_in_picture"):
            other = detailed_scene(generator, width, height, fps, count, f"{seed}/{attempt}/other")[0]
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


def read_samples(path: Path) -> Iterator[Sample]:
    """A file's frames as signals see them."""
    lens = Lens(())
    for frame in pyramid(path):
        yield lens.sample(frame)


@cache
def quick_shots() -> tuple[FlawedShot, ...]:
    """One small shot of every kind and three without a flaw."""
    kinds = (*KINDS, None, None, None)
    with TemporaryDirectory() as folder:
        return tuple(rendered_shot(1000 + n, Path(folder), kind, (480, 270), 1.0) for n, kind in enumerate(kinds))
