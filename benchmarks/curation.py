"""One pass over a 1080p h264 file against merely decoding it, and against the chain of tools that one would script instead.

    python benchmarks/curation.py [VIDEO] [--repeats 3]

Without VIDEO a clip is made: real footage where it is present (else a sample film), enlarged to 1080p with film grain. All in one run,
each in a process of its own, on the same file; the best of the repeats counts. The chain needs ffmpeg and is left out without it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from skyreels_platform.media.decode import frames
from skyreels_platform.media.sample_film import library_specs, render_film

SIZE, RATE, NUM_FRAMES = (1920, 1080), 25, 500
SETTINGS = {"min_length_s": 0.7, "max_length_s": 60.0}


# ---- the file ------------------------------------------------------------------------------------------------------------------


def make_clip(folder: Path) -> Path:
    """NUM_FRAMES at 1080p, h264, with grain as a camera leaves it."""
    footage = Path(os.environ.get("SKYREELS_FOOTAGE", Path(__file__).resolve().parents[2] / "shared" / "data")) / "videos"
    source = footage / "mango_sintel.mp4"
    if not source.is_file():
        source = folder / "film.mp4"
        render_film(source, library_specs()[0], seed=0)
    grain = [np.random.default_rng(seed).normal(0, 3, (SIZE[1], SIZE[0], 1)).astype(np.int16) for seed in range(8)]
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in frames(source, size=SIZE, stop=NUM_FRAMES):
            image = np.clip(frame.image + grain[frame.index % len(grain)], 0, 255).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(image)
            picture.pts, picture.time_base = frame.index, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


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


def measured(task: str, path: Path, repeats: int) -> dict[str, float]:
    """Best wall and processor seconds of some runs, imports not counted, and what the task returned."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        done = subprocess.run([sys.executable, __file__, "--task", task, str(path)], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        best = found if not best or found["wall_s"] < best["wall_s"] else best
    return best


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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", choices=_TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        run_task(options.task, options.video)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.video) if options.video else make_clip(Path(folder))
        tasks = [task for task in _TASKS if task != "chain of tools" or shutil.which("ffmpeg")]
        results = {task: measured(task, path, options.repeats if task in ("decode", "pass") else 1) for task in tasks}
        count, decode = results["decode"]["frames"], results["decode"]["wall_s"]
        megabits = path.stat().st_size * 8 / 1e6 / (count / RATE)
        print(f"{path.name}: {count:.0f} frames, {megabits:.1f} Mbit/s, {os.cpu_count()} cores")
        for task, found in results.items():
            extra = ", ".join(f"{value:.0f} {key}" for key, value in found.items() if key not in ("wall_s", "core_s", "frames"))
            times = f"{found['wall_s']:7.2f} s  {found['core_s']:7.2f} core-s  {found['wall_s'] / decode:5.2f} x decoding"
            print(f"  {task:22s} {times}  {extra}")
        if "chain of tools" in results:
            print(f"  one pass is {results['chain of tools']['wall_s'] / results['pass']['wall_s']:.2f} times as fast as the chain")


if __name__ == "__main__":
    main()
