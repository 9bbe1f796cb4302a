"""Copy detection: cost per batch as the store grows, and what is found of transformed copies of sample scenes and real shots.

    OPENBLAS_NUM_THREADS=1 python benchmarks/dedup.py [--quick] [--seed N] [scale] [copies] [films] [footage]

scale    synthetic fingerprints, matched in batches of 1,000: wall and core seconds per batch from the first to the last
copies   every shot is copied with a third of the transformations and matched among all shots, other takes and neighbours included
films    the demo's sample films, which hold two copies and many other takes of one subject on a plain wall
footage  real files that show the same content: the matches found and their offsets

BLAS with threads of its own spins while it waits, which on a busy machine costs more than the work.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from skyreels_platform.curation.dedup import MatchResult, match_batch
from skyreels_platform.curation.fingerprint import COLOUR_SIDE, Fingerprint, Fingerprinter, describe
from skyreels_platform.curation.fingerprint_store import FingerprintStore, fingerprint_row
from skyreels_platform.curation.signals.base import ShotInfo
from skyreels_platform.media.decode import frames
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe
from skyreels_platform.media.pyramid import pyramid
from skyreels_platform.media.sample_film import sample_library
from skyreels_platform.media.sample_scene import COLOURS, SHAPES, Background, Camera, ScenePainter, SceneSpec, Subject

FOOTAGE = Path(os.environ.get("SKYREELS_FOOTAGE", Path(__file__).resolve().parents[2] / "shared" / "data"))
TRAILER = {"ar_sintel.mp4": 0, "cosmos_clip10.mp4": 122, "cosmos_video30.mp4": 50, "flux_sintel.webm": 242, "jet_sintel.mp4": 722}
"""File -> the frame of the trailer that it begins with."""
LEAST_CONTRAST = 10.0
"""Levels of 255: shots that show less (black, cards of one colour with a timecode, small titles) are no test of copy detection."""
HEIGHT, MOST_FRAMES = 144, 100

Film = list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One shot of the bench."""

    name: str
    film: Film
    fps: float


# ---- scale ---------------------------------------------------------------------------------------------------------------------


def scale(num_shots: int, folder: Path) -> None:
    """Match synthetic shots batch by batch; one in fifty repeats a shot of an earlier batch."""
    store = FingerprintStore(str(folder / "scale"))
    rows, found, made = [], 0, 0
    seeds = np.arange(num_shots)  # what each shot shows; a copy may be copied in turn
    print(f"\n{num_shots:,} synthetic shots in batches of 1,000\n\n{'batch':>6} {'wall s':>8} {'core s':>8} {'compared':>9} {'found':>6}")
    for number in range(num_shots // 1000):
        batch = f"b{number:06d}"
        generator = np.random.default_rng(number)
        places = generator.choice(1000, 20, replace=False).tolist() if number else []
        copies = {place: int(generator.integers(number * 1000)) for place in places}
        for place, original in copies.items():
            seeds[number * 1000 + place] = seeds[original]
        shots = _synthetic(seeds[number * 1000 :][:1000].tolist(), set(copies))
        content = [fingerprint_row(f"s{number * 1000 + place:07d}", shot, "p") for place, shot in enumerate(shots)]
        started, cores = time.perf_counter(), time.process_time()
        store.put([{**row, "batch": batch} for row in content])
        result = match_batch(store, batch)
        rows.append((time.perf_counter() - started, time.process_time() - cores))
        expected = {(f"s{number * 1000 + place:07d}", f"s{original:07d}") for place, original in copies.items()}
        hits = len(expected & {(row["shot_id"], row["other_id"]) for row in result.rows})
        found, made = found + hits, made + len(expected)
        if number % max(1, num_shots // 20_000) == 0 or number < 12 or number == num_shots // 1000 - 1:
            print(f"{number:>6} {rows[-1][0]:>8.2f} {rows[-1][1]:>8.2f} {result.num_compared:>9} {hits:>3}/{len(expected)}", flush=True)
    some = min(10, len(rows) // 2)
    print()
    for name, times in zip(("wall", "core"), np.array(rows).T, strict=True):
        first, last = np.median(times[1 : 1 + some]), np.median(times[-some:])  # the first batch has nothing to be matched with
        print(f"{name} s: median of batches 1 to {some} {first:.2f}, of the last {some} {last:.2f}, x {last / first:.2f}; "
              f"mean {times.mean():.2f}, worst {times.max():.2f}")  # fmt: skip
    print(f"copies found {found} of {made}; peak memory {_peak():.0f} MB")


_FREQUENCIES = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None]) + 1e-3  # cycles per pixel; the mean is taken away later


def _synthetic(seeds: list[int], copies: set[int]) -> list[Fingerprint]:
    """Textures through which a window moves for 2 s; those at the places `copies` have noise added.

    Their amplitudes fall with frequency as in photographs: of 100,000 textures of one blur, many would be alike.
    """
    drawn = np.empty((len(seeds), 16, 32, 32), np.float32)
    for place, seed in enumerate(seeds):
        generator = np.random.default_rng((7, seed))
        noise = np.fft.rfft2(generator.standard_normal((64, 64)))
        world = np.fft.irfft2(noise * _FREQUENCIES ** -generator.uniform(0.8, 1.3)).astype(np.float32)
        world = 128 + 45 * (world - world.mean()) / world.std()
        across, down = generator.uniform(-1.5, 1.5, 2)
        for step in range(16):
            cv2.getRectSubPix(world, (32, 32), (31.5 + across * (step - 8), 31.5 + down * (step - 8)), drawn[place, step])
        if place in copies:
            drawn[place] = 1.1 * drawn[place] + np.random.default_rng(seed).normal(0, 3, drawn[place].shape)
    pictures = np.clip(drawn, 0, 255).astype(np.uint8)
    marks = np.arange(0, 16, 4, dtype=np.int32)
    vectors = describe(pictures[:, marks].reshape(-1, 32, 32)).reshape(len(seeds), len(marks), -1)
    times, colours = np.arange(16, dtype=np.float32) / 8, np.full((4, COLOUR_SIDE, COLOUR_SIDE, 2), 128, np.uint8)
    return [
        Fingerprint(media="video", duration_s=2.0, times=times, pictures=mine, marks=marks, vectors=own, colours=colours)
        for mine, own in zip(pictures, vectors, strict=True)
    ]


# ---- copies --------------------------------------------------------------------------------------------------------------------


def copies(num_scenes: int, num_clips: int | None, seed: int, folder: Path) -> None:
    """Recall and precision on transformed copies."""
    clips = [*_scenes(num_scenes, seed), *_real_clips(num_clips)]
    originals = [(clip.name, clip.name, "", _encoded(clip.film, clip.fps, 18, folder)) for clip in clips]
    shown = [entry for entry in originals if np.mean([p.std() for p in entry[3].pictures]) >= LEAST_CONTRAST]
    keep = {name for name, *_ in shown}
    made = []
    for place, clip in enumerate(clip for clip in clips if clip.name in keep and not clip.name.endswith("take)")):
        generator = np.random.default_rng((5, seed, place))
        for kind, (name, change) in enumerate(_TRANSFORMATIONS.items()):
            if (place + kind + seed) % 3 == 0:
                film, fps, crf = change(clip, generator)
                made.append((f"{clip.name} > {name}", clip.name, name, _encoded(film, fps, crf, folder)))
    store = FingerprintStore(str(folder / "copies"))
    owner = {}
    for batch, entries in (("b000001", shown), ("b000002", made)):
        for shot_id, original, _, _ in entries:
            owner[shot_id] = original
        store.put([{**fingerprint_row(shot_id, fingerprint, "p"), "batch": batch} for shot_id, _, _, fingerprint in entries])
    started = time.perf_counter()
    results = [match_batch(store, batch) for batch in ("b000001", "b000002")]
    _report(made, owner, results, len(shown), time.perf_counter() - started)


def _report(made: list[Any], owner: dict[str, str], results: list[MatchResult], num_shots: int, seconds: float) -> None:
    pairs = {(row["shot_id"], row["other_id"]): row for result in results for row in result.rows}
    false = [pair for pair in pairs if owner[pair[0]] != owner[pair[1]]]
    compared = sum(result.num_compared for result in results)
    print(f"\n{len(made)} copies of {num_shots} shots, {compared} pairs aligned in {seconds:.0f} s\n")
    print(f"{'transformation':<16} {'copies':>7} {'found':>6} {'recall':>7} {'matches':>8} {'false':>6} {'precision':>9}")
    kinds = {shot_id: name for shot_id, _, name, _ in made}
    asked = _TRANSFORMATIONS.keys() - _FURTHER
    groups: list[tuple[str, Callable[[str, str], bool]]] = [
        *((name, lambda kind, _, name=name: kind == name) for name in _TRANSFORMATIONS),
        ("all but *", lambda kind, _: kind not in _FURTHER), ("drawn, but *", lambda kind, shot: kind in asked and shot[:5] == "scene"),
        ("filmed, but *", lambda kind, shot: kind in asked and shot[:5] != "scene"), ("all", lambda *_: True),
    ]  # fmt: skip
    for title, belongs in groups:
        hits = [(shot_id, original) in pairs for shot_id, original, name, _ in made if belongs(name, shot_id)]
        mine = [pair for pair in pairs if belongs(kinds.get(pair[0], ""), pair[0])]
        wrong = sum(pair in false for pair in mine)
        mark = " *" if title in _FURTHER else ""
        print(f"{title + mark:<16} {len(hits):>7} {sum(hits):>6} {np.mean(hits):>7.3f} {len(mine):>8} {wrong:>6} "
              f"{1 - wrong / max(1, len(mine)):>9.3f}")  # fmt: skip
    for shot_id, original, _, _ in made:
        if (shot_id, original) not in pairs:
            print(f"  missed: {shot_id}")
    for pair in false:
        print(f"  false: {pair[0]} = {pair[1]} ({pairs[pair]['similarity']:.2f})")


def _scenes(count: int, seed: int) -> Iterator[Clip]:
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


def _real_clips(count: int | None) -> Iterator[Clip]:
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
        for start, stop in _spans(path):
            if stop - start >= 24 and (count is None or given < count):
                given += 1
                film = [frame.image for frame in frames(path, size=(width, HEIGHT), start=start, stop=min(stop, start + MOST_FRAMES))]
                yield Clip(name=f"{name} {start}", film=film, fps=facts.fps_num / facts.fps_den)


def _spans(path: Path) -> list[tuple[int, int]]:
    truth = FOOTAGE / "truth" / f"{path.name.rpartition('.')[0]}.json"
    if truth.exists():
        return [tuple(span) for span in json.loads(truth.read_text())["shots"]]
    return [(0, probe(path).num_frames or MOST_FRAMES)]


def _encoded(film: Film, fps: float, crf: int, folder: Path) -> Fingerprint:
    """The fingerprint of a film after it was encoded."""
    path = folder / "clip.mp4"
    write_video(path, film, Fraction(fps).limit_denominator(1001), crf=crf, preset="veryfast")
    return _fingerprint(path, 0, len(film), len(film) / fps)


def _fingerprint(path: Path, start: int, stop: int, duration_s: float) -> Fingerprint:
    facts = probe(path)
    maker = Fingerprinter(ShotInfo(media="video", num_frames=stop - start, duration_s=duration_s, fps=facts.fps_num / facts.fps_den,
                                   width=facts.width, height=facts.height))  # fmt: skip
    for frame in pyramid(path, start=start, stop=stop):
        maker.add(frame)
    return maker.result()


def _scaled(film: Film, factor: float) -> Film:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return [cv2.resize(image, None, fx=factor, fy=factor, interpolation=how) for image in film]


def _cropped(film: Film, area: float, generator: np.random.Generator) -> Film:
    height, width = film[0].shape[:2]
    rows, columns = (round(side * area**0.5) for side in (height, width))
    top, left = int(generator.integers(height - rows + 1)), int(generator.integers(width - columns + 1))
    return [cv2.resize(image[top : top + rows, left : left + columns], (width, height)) for image in film]


def _barred(film: Film, share: float, axis: int) -> Film:
    bar = round(share * film[0].shape[axis])
    widths = [(0, 0), (0, 0), (0, 0)]
    widths[axis] = (bar, bar)
    return [np.pad(image, widths) for image in film]


def _subtitled(film: Film, text: str, height_share: float) -> Film:
    height, width = film[0].shape[:2]
    size, thick = height / 320, max(1, height // 150)
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    place = ((width - length) // 2, round(height_share * height))
    shown = []
    for image in film:
        image = image.copy()
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thick + 2, cv2.LINE_AA)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thick, cv2.LINE_AA)
        shown.append(image)
    return shown


def _marked(film: Film) -> Film:
    """A half-transparent badge in the upper right corner."""
    height, width = film[0].shape[:2]
    top, left, side = round(0.06 * height), width - round(0.26 * height), round(0.2 * height)
    shown = []
    for image in film:
        image = image.copy()
        corner = image[top : top + side // 2, left : left + side]
        corner[:] = cv2.addWeighted(corner, 0.3, np.full_like(corner, 245), 0.7, 0)
        shown.append(image)
    return shown


def _graded(film: Film, gain: float, lift: float) -> Film:
    return [cv2.convertScaleAbs(image, alpha=gain, beta=lift) for image in film]


def _played(film: Film, speed: float) -> Film:
    return [film[min(len(film) - 1, int(index * speed))] for index in range(int(len(film) / speed))]


def _trimmed(film: Film, start: float, stop: float) -> Film:
    return film[int(start * len(film)) : round(stop * len(film))]


Change = Callable[[Clip, np.random.Generator], tuple[Film, float, int]]
_TRANSFORMATIONS: dict[str, Change] = {
    "re-encode": lambda clip, random: (clip.film, clip.fps, int(random.integers(20, 39))),
    "smaller": lambda clip, random: (_scaled(clip.film, random.uniform(0.4, 0.8)), clip.fps, 26),
    "larger": lambda clip, random: (_scaled(clip.film, random.uniform(1.3, 2)), clip.fps, 26),
    "crop 80 to 88 %": lambda clip, random: (_cropped(clip.film, random.uniform(0.8, 0.88), random), clip.fps, 26),
    "crop 88 to 96 %": lambda clip, random: (_cropped(clip.film, random.uniform(0.88, 0.96), random), clip.fps, 26),
    "letterbox": lambda clip, random: (_barred(clip.film, random.uniform(0.08, 0.17), 0), clip.fps, 26),
    "pillarbox": lambda clip, random: (_barred(clip.film, random.uniform(0.08, 0.17), 1), clip.fps, 26),
    "subtitle": lambda clip, random: (_subtitled(clip.film, str(random.choice(_LINES)), random.uniform(0.8, 0.94)), clip.fps, 26),
    "trim end": lambda clip, random: (_trimmed(clip.film, 0, random.uniform(0.5, 0.8)), clip.fps, 26),
    "trim start": lambda clip, random: (_trimmed(clip.film, random.uniform(0.2, 0.5), 1), clip.fps, 26),
    "faster": lambda clip, random: (_played(clip.film, random.uniform(1.1, 1.25)), clip.fps, 26),
    "slower": lambda clip, random: (_played(clip.film, random.uniform(0.8, 0.9)), clip.fps, 26),
    "logo": lambda clip, _: (_marked(clip.film), clip.fps, 26),
    "brighter": lambda clip, random: (_graded(clip.film, random.uniform(1.1, 1.25), random.uniform(5, 15)), clip.fps, 26),
    "darker": lambda clip, random: (_graded(clip.film, random.uniform(0.7, 0.85), 0), clip.fps, 26),
    "five at once": lambda clip, random: (
        _subtitled(_graded(_cropped(_trimmed(_played(clip.film, random.uniform(0.9, 1.1)), random.uniform(0, 0.25), 1), 0.9, random),
                           random.uniform(0.85, 1.15), 0), "We leave at dawn.", 0.92), clip.fps, 30),
}  # fmt: skip
_FURTHER = ("logo", "brighter", "darker", "five at once")
"""Beyond what a copy must survive by our aims; the last of them cannot be told from another take where there is little to see."""
_LINES = ("I did not expect you here.", "We leave at dawn.", "No.", "It was never about the money, was it?")


# ---- films ---------------------------------------------------------------------------------------------------------------------


def films(quick: bool, seed: int, folder: Path) -> None:
    """The sample films of several seeds: the two copies of each that are meant, and what else is called a copy."""
    print(f"\n{'sample films':<14} {'shots':>6} {'meant':>6} {'found':>6} {'others':>7}")
    for number in range(seed, seed + (1 if quick else 4)):
        store, shots = FingerprintStore(str(folder / f"films{number}")), []
        meant = set()
        for path, truth in sample_library(folder / f"library{number}", seed=number):
            for place, shot in enumerate(truth.shots):
                made = _fingerprint(path, shot.start, shot.end, (shot.end - shot.start) / truth.fps)
                shots.append({**fingerprint_row(f"{path.stem}:{place}", made, "p"), "batch": "b000001"})
                if shot.copy_of:
                    meant.add(frozenset((f"{path.stem}:{place}", shot.copy_of)))
        store.put(shots)
        found = {frozenset((row["shot_id"], row["other_id"])): row for row in match_batch(store, "b000001").rows}
        print(f"seed {number:<9} {len(shots):>6} {len(meant):>6} {len(meant & found.keys()):>6} {len(found.keys() - meant):>7}")
        for pair in found.keys() - meant:
            print(f"  {' = '.join(sorted(pair))} ({found[pair]['similarity']:.2f})")


# ---- footage -------------------------------------------------------------------------------------------------------------------


def footage(folder: Path) -> None:
    """Matches among real files of the same content."""
    groups = [["vdf_cat.1.mp4", "vdf_cat.2.mp4", "vdf_cat.3.webm"], ["mdn_rabbit.mp4", "mdn_rabbit320.mp4"], [*TRAILER, "mango_sintel.mp4"]]
    store = FingerprintStore(str(folder / "footage"))
    starts: dict[str, tuple[str, float, float]] = {}
    results = []
    for number, name in enumerate(name for group in groups for name in group):
        path, batch = FOOTAGE / "videos" / name, f"b{number:06d}"
        if not path.exists():
            print(f"{path} is not there")
            return
        facts = probe(path)
        fps = facts.fps_num / facts.fps_den
        rows = []
        spans = _spans(FOOTAGE / "videos" / "vdf_cat.1.mp4") if name.startswith("vdf") else _spans(path)
        for start, stop in spans:
            if stop - start >= fps / 2:
                shot_id = f"{name} {start}"
                starts[shot_id] = (name, start / fps, stop / fps)
                rows.append({**fingerprint_row(shot_id, _fingerprint(path, start, stop, (stop - start) / fps), "p"), "batch": batch})
        store.put(rows)
        results += match_batch(store, batch).rows
    print(f"\n{'shot':<24} {'repeats':<24} {'similar':>8} {'seconds':>8} {'speed':>6} {'offset s':>9} {'expected':>9}")
    false = 0
    for row in sorted(results, key=lambda row: (row["shot_id"], row["other_id"])):
        name, start, _ = starts[row["shot_id"]]
        other, other_start, _ = starts[row["other_id"]]
        offset = other_start + row["other_start_s"] - start - row["start_s"]
        expected = _expected(name, other)
        wrong = expected is None or abs(offset - expected) > 0.25
        false += wrong
        shown = "none" if expected is None else f"{expected:.2f}"
        print(f"{row['shot_id']:<24} {row['other_id']:<24} {row['similarity']:>8.2f} {row['duration_s']:>8.2f} {row['speed']:>6.2f} "
              f"{offset:>9.2f} {shown:>9}{'  WRONG' if wrong else ''}")  # fmt: skip
    wanted, found = _pairs_to_find(starts), {frozenset((row["shot_id"], row["other_id"])) for row in results}
    print(f"\n{len(wanted & found)} of {len(wanted)} pairs that share at least 1 s found, {false} of {len(results)} matches wrong")
    for pair in sorted(map(sorted, wanted - found)):
        print(f"  missed: {' = '.join(pair)}")


def _expected(name: str, other: str) -> float | None:
    """Seconds of `other` minus seconds of `name` at the same picture; None for files that share nothing."""
    if name in TRAILER and other in TRAILER:
        return (TRAILER[name] - TRAILER[other]) / 24
    return 0.0 if name[:6] == other[:6] and name not in TRAILER and name != other else None


def _pairs_to_find(starts: dict[str, tuple[str, float, float]]) -> set[frozenset[str]]:
    wanted = set()
    for one, (name, start, stop) in starts.items():
        for two, (other, other_start, other_stop) in starts.items():
            offset = _expected(name, other)
            if name < other and offset is not None and min(stop + offset, other_stop) - max(start + offset, other_start) >= 1.25:
                wanted.add(frozenset((one, two)))
    return wanted


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the tables that were asked for, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="5,000 synthetic shots and a few clips")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn scenes and of all parameters")
    parser.add_argument("--scenes", type=int, help="drawn scenes that are copied; each has one to three other takes")
    parser.add_argument("--clips", type=int, help="real shots that are copied, at most")
    parser.add_argument("--shots", type=int, help="synthetic shots, a multiple of 1,000")
    parser.add_argument("parts", nargs="*", default=["scale", "copies", "films", "footage"])
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        if "scale" in chosen.parts:
            scale(chosen.shots or (5_000 if chosen.quick else 100_000), Path(folder))
        if "copies" in chosen.parts:
            num_clips = 8 if chosen.quick and chosen.clips is None else chosen.clips
            copies(chosen.scenes or (6 if chosen.quick else 40), num_clips, chosen.seed, Path(folder))
        if "films" in chosen.parts:
            films(chosen.quick, chosen.seed, Path(folder))
        if "footage" in chosen.parts:
            footage(Path(folder))
    print(f"\npeak memory {_peak():.0f} MB")


if __name__ == "__main__":
    main()
