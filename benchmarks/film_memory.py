"""Memory of the curation pass over a long film: the peak of the worker that decodes it, and how it grows from hour to hour.

    python -m benchmarks.film_memory [VIDEO] [--minutes 120] [--height 1080] [--fps 25]

The film is VIDEO, or 20 s of footage as in benchmarks/curation.py, whose packets are repeated until it is long enough; two hours of that
footage are some 1,800 shots. A lower rate leaves frames out, which makes hours of film affordable: what is kept of a shot (pictures 8
times a second, stills once) stays the same down to 8 frames a second. It is measured as `skyreels run` does it: in a bounded child
process, without TransNetV2 (torch alone takes 0.4 GB, whatever the length).
"""

import argparse
import os
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from benchmarks.curation import RATE, SETTINGS, make_clip
from skyreels_platform.curation.batches import observe_file
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.media.decode import frames
from skyreels_platform.media.probe import probe
from skyreels_platform.recipe import ShotSettings, SignalSettings
from skyreels_platform.workers import MEMORY_BYTES


def reduced(source: Path, path: Path, height: int, fps: int) -> None:
    """The same footage at another size and rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = height * 16 // 9 // 2 * 2, height, "yuv420p"
        count = 0
        for frame in frames(source, size=(stream.width, stream.height)):
            if frame.index * fps < count * RATE:
                continue
            picture = av.VideoFrame.from_ndarray(frame.image)
            picture.pts, picture.time_base = count, Fraction(1, fps)
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode())


def repeat(source: Path, path: Path, seconds: float, fps: int) -> None:
    """The packets of a file again and again; nothing is encoded."""
    with av.open(str(source)) as clip, av.open(str(path), "w") as film:
        template = clip.streams.video[0]
        stream = film.add_stream_from_template(template)
        packets = [packet for packet in clip.demux(template) if packet.size and packet.pts is not None and packet.dts is not None]
        assert template.time_base
        length = round(sum(1 for _ in packets) / fps / template.time_base)
        for number in range(round(seconds / (len(packets) / fps))):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = (packet.pts or 0) + number * length, (packet.dts or 0) + number * length
                copy.duration, copy.time_base, copy.is_keyframe, copy.stream = (
                    packet.duration, template.time_base, packet.is_keyframe, stream,
                )  # fmt: skip
                film.mux_one(copy)


def watched(path: Path) -> tuple[list[tuple[float, float]], dict[str, int]]:
    """(seconds, MB resident) of the worker while it works on a film, and what it handed over."""
    seen: list[tuple[float, float]] = []
    handed = {"pictures": 0, "MB": 0}
    facts = probe(path)
    source: dict[str, Any] = {
        "source_id": "film", "provenance": "", "fps_num": facts.fps_num, "fps_den": facts.fps_den, "width": facts.width,
        "height": facts.height,
    }  # fmt: skip

    def on_part(part: Any) -> None:
        handed["pictures"] += len(part["frames"])
        handed["MB"] += round(sum(len(row["image"]) for row in part["frames"]) / 1e6)

    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=7200) as worker:
        child, done, started = worker.call(os.getpid), threading.Event(), time.perf_counter()

        def look() -> None:
            while not done.wait(1.0):
                fields = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
                seen.append((time.perf_counter() - started, int(fields["VmRSS"].split()[0]) / 1e3))

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            rows = worker.call_in_parts(on_part, observe_file, path, source, ShotSettings(transnet=False, **SETTINGS), SignalSettings())
        finally:
            done.set()
            watcher.join()
    on_part(rows)
    return seen, {"frames": facts.num_frames, "shots": len(rows["shots"]), **handed}


def main() -> None:
    """Print the peak, and the growth between the first and the last quarter of the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, help="h264 file of 25 frames a second; default: made now")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--fps", type=int, default=RATE, help=f"frames a second, at most {RATE} (default: all of them)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip, film = options.video or make_clip(Path(folder), num_frames=500, crf=23), Path(folder) / "film.mp4"
        if options.height != 1080 or options.fps != RATE:
            small = Path(folder) / "small.mp4"
            reduced(clip, small, options.height, options.fps)
            clip = small
        repeat(clip, film, 60 * options.minutes, options.fps)
        seen, counts = watched(film)
        size = film.stat().st_size / 1e6
    quarter = len(seen) // 4
    early, late = (max(megabytes for _, megabytes in part) for part in (seen[: 2 * quarter or 1], seen[-quarter or -1 :]))
    form = f"{options.height} lines, {options.fps} frames a second"
    print(f"{options.minutes:g} min of {form}, {size:.0f} MB: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    print(f"  {seen[-1][0]:.0f} s, at most {max(megabytes for _, megabytes in seen):.0f} MB resident; "
          f"{early:.0f} MB in the first half, {late:.0f} MB in the last quarter")


if __name__ == "__main__":
    main()
