"""One pass over a 1080p h264 file against merely decoding it, and against the chain of tools that one would script instead.

    python -m benchmarks.curation [VIDEO] [--crf 23] [--frames 1500] [--repeats 5]

Without VIDEO a clip is made: real footage where it is present (else sample films), film after film, enlarged to 1080p with film grain.
How dear decoding is depends on the file's bit rate, so the ratio does: --crf 18 gives a camera's rate, 23 that of a film on the web. All
in one run, each in a process of its own, on the same file. Decoding and the pass take turns, for a machine's speed may drift, and the
median of the pairs' ratios counts. The chain needs ffmpeg and is left out without it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, count, islice
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np

from skyreels_platform.media.decode import frames
from skyreels_platform.media.sample_film import library_specs, render_film

SIZE, RATE = (1920, 1080), 25
FOOTAGE = "psd_testvideo.mp4", "mango_sintel.mp4", "cosmos_video30.mp4"
SETTINGS = {"min_length_s": 0.7, "max_length_s": 60.0}


# ---- the file ------------------------------------------------------------------------------------------------------------------


def make_clip(folder: Path, *, num_frames: int, crf: int) -> Path:
    """So many frames at 1080p, h264, with grain as a camera leaves it."""
    grain = [np.random.default_rng(seed).normal(0, 3, (SIZE[1], SIZE[0], 1)).astype(np.int16) for seed in range(8)]
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": str(crf), "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index, frame in enumerate(islice(chain.from_iterable(frames(source, size=SIZE) for source in _sources(folder)), num_frames)):
            image = np.clip(frame.image + grain[index % len(grain)], 0, 255).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(image)
            picture.pts, picture.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _sources(folder: Path) -> Iterator[Path]:
    """Endless: real films, or drawn ones where there are none."""
    footage = Path(os.environ.get("SKYREELS_FOOTAGE", Path(__file__).resolve().parents[2] / "shared" / "data")) / "videos"
    real = [footage / name for name in FOOTAGE if (footage / name).is_file()]
    for number in count():
        if real:
            yield real[number % len(real)]
        else:
            drawn = folder / f"film{number}.mp4"
            render_film(drawn, library_specs()[0], seed=number)
            yield drawn


# ---- what is measured: each runs in a process of its own -------------------------------------------------------------------------


def decode_only(path: str) -> dict[str, float]:
    """Every frame decoded with frame and slice threads, nothing done with it."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(8, os.cpu_count() or 1)
        return {"frames": sum(1 for _ in container.decode(stream))}


def one_pass(path: str, *, transnet: bool) -> dict[str, float]:
    """Shots, every signal, regions, fingerprints and kept pictures."""
    from skyreels_platform.curation.observe import observe
    from skyreels_platform.media.probe import probe
    from skyreels_platform.recipe import ShotSettings

    cv2.setNumThreads(1)
    seen = list(observe(path, probe(path), ShotSettings(transnet=transnet, **SETTINGS)))
    return {"shots": len(seen), "scores": sum(len(shot.scores) for shot in seen)}


def shot_pass(path: str, shots: list[tuple[int, int]]) -> None:
    """What a script does per shot: seek, decode, sharpness by the Laplacian's variance and Farneback flow 8 times a second."""
    for start, end in shots:
        before = None
        for frame in frames(path, start=start, stop=end):
            grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
            cv2.Laplacian(grey, cv2.CV_64F).var()
            if frame.index % 3 == 0:
                small = cv2.resize(grey, (480, 270))
                if before is not None:
                    cv2.calcOpticalFlowFarneback(before, small, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # pyright: ignore[reportCallIssue, reportArgumentType]
                before = small


def tool_chain(path: str) -> dict[str, float]:
    """PySceneDetect's CLI, four ffmpeg filters in four runs, one PyAV pass per shot."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = [str(Path(sys.executable).parent / "scenedetect"), "-q", "-i", path, "-o", folder, "detect-adaptive", "list-scenes"]
        subprocess.run(scenes, check=True, capture_output=True)
        lines = next(Path(folder).glob("*-Scenes.csv")).read_text(encoding="utf-8").splitlines()[2:]
    shots = [(int(line.split(",")[1]) - 1, int(line.split(",")[4])) for line in lines]
    for chosen in ("blackdetect", "freezedetect", "cropdetect", "signalstats"):
        subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-vf", chosen, "-f", "null", "-"], check=True, capture_output=True)
    shot_pass(path, shots)
    return {"shots": len(shots)}


_TASKS: dict[str, Callable[[str], dict[str, float]]] = {
    "decode": decode_only,
    "pass": lambda path: one_pass(path, transnet=False),
    "pass with TransNetV2": lambda path: one_pass(path, transnet=True),
    "chain of tools": tool_chain,
}


def measured(task: str, path: Path) -> dict[str, float]:
    """Wall and processor seconds of one run, imports not counted, and what the task returned."""
    command = [sys.executable, "-m", "benchmarks.curation", "--task", task, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_task(task: str, path: str) -> None:
    """One measurement, printed as JSON."""
    import skyreels_platform.curation.observe  # noqa: F401 (imports are not part of the work)

    started, before = time.perf_counter(), os.times()
    result = _TASKS[task](path)
    after = os.times()
    cores = sum(getattr(after, name) - getattr(before, name) for name in ("user", "system", "children_user", "children_system"))
    print(json.dumps({**result, "wall_s": time.perf_counter() - started, "core_s": cores}))


def main() -> None:
    """Print one line per way, with its ratio to decoding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", help="1080p h264 file; default: made now")
    parser.add_argument("--crf", type=int, default=23, help="quality of the clip that is made, lower is better; default 23")
    parser.add_argument("--frames", type=int, default=1500, help="length of the clip that is made, at 25 per second; default 1500")
    parser.add_argument("--repeats", type=int, default=5, help="how often decoding and the pass are run; default 5")
    parser.add_argument("--only-pass", action="store_true", help="leave out TransNetV2 and the chain of tools, which take minutes")
    parser.add_argument("--task", choices=_TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        run_task(options.task, options.video)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.video) if options.video else make_clip(Path(folder), num_frames=options.frames, crf=options.crf)
        compare(path, options.repeats, only_pass=options.only_pass)


def compare(path: Path, repeats: int, *, only_pass: bool) -> None:
    """Run everything on one file and print it."""
    pairs = [(measured("decode", path), measured("pass", path)) for _ in range(repeats)]
    num_frames = pairs[0][0]["frames"]
    megabits = path.stat().st_size * 8 / 1e6 / (num_frames / RATE)
    print(f"{path.name}: {num_frames:.0f} frames, {megabits:.1f} Mbit/s, {os.cpu_count()} cores")
    best = [min(runs, key=lambda run: run["wall_s"]) for runs in zip(*pairs, strict=True)]
    _print("decode", best[0], best[0])
    _print("pass", best[1], best[0])
    wall, cores = (median(one[name] / merely[name] for merely, one in pairs) for name in ("wall_s", "core_s"))
    print(f"  pass / decoding, medians of {repeats} pairs: {wall:.2f} of wall time, {cores:.2f} of processor time")
    if only_pass:
        return
    _print("pass with TransNetV2", measured("pass with TransNetV2", path), best[0])
    if shutil.which("ffmpeg"):
        tools = measured("chain of tools", path)
        _print("chain of tools", tools, best[0])
        print(f"  one pass is {tools['wall_s'] / best[1]['wall_s']:.2f} times as fast as the chain")


def _print(task: str, found: dict[str, float], decode: dict[str, float]) -> None:
    extra = ", ".join(f"{value:.0f} {key}" for key, value in found.items() if key not in ("wall_s", "core_s", "frames"))
    times = f"{found['wall_s']:7.2f} s  {found['core_s']:7.2f} core-s  {found['wall_s'] / decode['wall_s']:5.2f} x decoding"
    print(f"  {task:22s} {times}  {extra}")


if __name__ == "__main__":
    main()
