"""Shots of the copies bench: drawn scenes with other takes of them, real shots, and their fingerprints."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from skyreels_platform.curation.fingerprint import Fingerprint, Fingerprinter
from skyreels_platform.curation.signals.base import ShotInfo
from skyreels_platform.media.decode import frames
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_scene import COLOURS, SHAPES, Background, Camera, ScenePainter, SceneSpec, Subject

FOOTAGE = Path(os.environ.get("SKYREELS_FOOTAGE", Path(__file__).resolve().parents[3] / "shared" / "data"))
HEIGHT, MOST_FRAMES = 144, 100

Film = list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One shot of the bench."""

    name: str
    film: Film
    fps: float


def drawn_clips(count: int, seed: int) -> Iterator[Clip]:
    """Scenes and other takes of them: another subject's path, another camera, another set.

    Every twelfth scene has the same cast, ground and camera: then directions are at least 18 degrees apart, also from the other takes'
    reversed ones. Drawn freely, two of them may differ by a degree and a sixth in size: the one is a crop of the other then, and whoever
    calls them copies is right.
    """
    cameras = {"static": 0.0, "pan_left": 0.12, "tilt_up": 0.12, "zoom_in": 0.12, "roll_clockwise": 6.0, "handheld": 0.06}
    for number in range(count):
        generator = np.random.default_rng((3, number + 1000 * seed))
        motion = list(cameras)[number % 6]
        kind = ("texture", "texture", "gradient", "plain")[number % 4]
        turn = (number // 12 % 4 + generator.uniform(0, 0.6)) * np.pi / 4 + np.pi * generator.integers(2)
        speed = generator.uniform(0.15, 0.3)
        subject = Subject(
            colour=list(COLOURS)[number % 4], shape=SHAPES[number % 3], size=float(generator.uniform(0.3, 0.45)),
            position=(0.5, 0.5), velocity=(float(speed * np.cos(turn)), float(speed * np.sin(turn))),
        )  # fmt: skip
        scene = SceneSpec(
            num_frames=int(generator.integers(60, 100)), background=Background(kind=kind, level=float(generator.uniform(0.4, 0.6))),
            look=number + 100 * seed, subject=subject, camera=Camera(motion=motion, speed=cameras[motion]),
        )  # fmt: skip
        back = replace(subject, velocity=(-subject.velocity[0], -subject.velocity[1]))
        takes = {"": scene, " (other subject take)": replace(scene, subject=back)}
        if kind == "texture":
            other = list(cameras)[(number + 1) % 6]
            takes[" (other camera take)"] = replace(scene, camera=Camera(motion=other, speed=cameras[other]))
            takes[" (other set take)"] = replace(scene, look=number + 1000)
        for name, take in takes.items():
            painter = ScenePainter(take, width=256, height=HEIGHT, fps=24, seed=1)
            film = [painter.frame(index) for index in range(take.num_frames)]
            yield Clip(name=f"scene {number} {kind} {motion}{name}", film=film, fps=24)


def real_clips(count: int | None) -> Iterator[Clip]:
    """Shots of real films, neighbours included, and clips that are one shot."""
    names = ["ar_sintel.mp4", "mango_sintel.mp4", "psd_testvideo.mp4", "tc_nasa_13013.mp4", "vdf_cat.1.mp4", "intel_asl_book.mkv",
             "intel_car.mp4", "mdn_crystal.mp4", "mdn_elf.mp4", "mdn_flower.mp4", "mdn_rabbit.mp4", "mpy_chaplin.mp4"]  # fmt: skip
    given = 0
    for name in names:
        path = FOOTAGE / "videos" / name
        if not path.exists():
            continue
        facts = probe(path)
        width = round(facts.width * HEIGHT / facts.height / 2) * 2
        for start, stop in shot_spans(path):
            if stop - start >= 24 and (count is None or given < count):
                given += 1
                film = [frame.image for frame in frames(path, size=(width, HEIGHT), start=start, stop=min(stop, start + MOST_FRAMES))]
                yield Clip(name=f"{name} {start}", film=film, fps=facts.fps_num / facts.fps_den)


def shot_spans(path: Path) -> list[tuple[int, int]]:
    truth = FOOTAGE / "truth" / f"{path.name.rpartition('.')[0]}.json"
    if truth.exists():
        return [tuple(span) for span in json.loads(truth.read_text())["shots"]]
    return [(0, probe(path).num_frames or MOST_FRAMES)]


def encoded(film: Film, fps: float, crf: int, folder: Path) -> Fingerprint:
    """The fingerprint of a film after it was encoded."""
    path = folder / "clip.mp4"
    write_video(path, film, Fraction(fps).limit_denominator(1001), crf=crf, preset="veryfast")
    return fingerprint_of(path, 0, len(film), len(film) / fps)


def fingerprint_of(path: Path, start: int, stop: int, duration_s: float) -> Fingerprint:
    facts = probe(path)
    maker = Fingerprinter(ShotInfo(media="video", num_frames=stop - start, duration_s=duration_s, fps=facts.fps_num / facts.fps_den,
                                   width=facts.width, height=facts.height))  # fmt: skip
    for frame in pyramid(path, start=start, stop=stop):
        maker.add(frame)
    return maker.result()
