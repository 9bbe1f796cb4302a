"""Seconds to preview changed thresholds over a million stored shots with 41 signals each, and to bring the columns up to date.

    python -m benchmarks.thresholds [SHOTS]

Rows are made up, but stored in Lance tables as the ledger stores them, one fragment per ingest batch of 10,000 shots (written past
its checks, which would look for each key in all batches). Cold: a new process, the columns' files out of the page cache where the
system lets a program ask for that. Warm: again in the same process. Neither counts the imports, which are printed apart.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from resources.home import open_home
from skyreels_platform.curation.preview import preview
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.curation.wide import load_wide
from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.recipe import Bound, PoolSettings

_BATCH = 10_000
_SIGNALS = 41
_CONCEPTS = ("Human", "Scenery", "Animal", "Architecture", "Vehicles", "Plant")
_COPIES = 0.05  # share of the shots
_ROUNDS = 5


def names() -> list[str]:
    """The real signals, filled up with others to a fixed number, which bounds may name, too."""
    real = next(iter(SIGNALS.values()))
    for number in range(len(SIGNALS), _SIGNALS):
        SIGNALS[f"signal_{number:02d}"] = real
    return list(SIGNALS)[:_SIGNALS]


def fill(home: Home, num_shots: int) -> None:
    """Write shots, scores, captions and duplicates."""
    dice = np.random.default_rng(0)
    signals = names()
    for start in range(0, num_shots, _BATCH):
        count = min(_BATCH, num_shots - start)
        batch = f"b{start // _BATCH + 1:06d}"
        ids = pa.array(sorted(f"shot_{number:016x}" for number in dice.integers(0, 2**63, count)))
        common = {"batch": _repeat(batch, count), "provenance": _repeat(f"{start:016x}", count)}
        seconds = pa.array(np.round(dice.uniform(0.5, 20, count), 3))
        _append(home, "shots", {"shot_id": ids, "start_s": pa.array(np.zeros(count)), "end_s": seconds, **common})
        concepts = pa.array([
            f'{{"subjects": [{{"TYPES": {{"type": "{name}"}}, "is_main_subject": true}}]}}' for name in dice.choice(_CONCEPTS, count)
        ])  # fmt: skip
        _append(home, "captions", {"shot_id": ids, "structured": concepts, "status": _repeat("ok", count), **common})
        kind = dice.choice(3, count * len(signals), p=[0.97, 0.02, 0.01])
        _append(home, "scores", {
            "shot_id": ids.take(pa.array(np.repeat(np.arange(count), len(signals)))),
            "signal": pa.array(signals).take(pa.array(np.tile(np.arange(len(signals)), count))),
            "value": pa.array(np.where(kind == 0, dice.uniform(0, 1, len(kind)), np.nan), from_pandas=True),
            "outcome": pa.array(["measured", "unknown", "not_applicable"]).take(pa.array(kind)),
            "reason": pa.array(["", "no texture to follow", "an image"]).take(pa.array(kind)),
            "unit": _repeat("0 to 1", len(kind)), "version": _repeat("1", len(kind)),
            "batch": _repeat(batch, len(kind)), "provenance": _repeat(f"{start:016x}", len(kind)),
        })  # fmt: skip
        copies = pa.array(np.flatnonzero(dice.uniform(size=count - 1) < _COPIES))
        _append(home, "duplicates", {
            "shot_id": ids.take(copies), "kept_id": _repeat(ids[-1].as_py(), len(copies)), "group_id": _repeat(batch, len(copies)),
            "similarity": pa.array(np.full(len(copies), 0.97)), "provenance": _repeat(batch, len(copies)),
        })  # fmt: skip


def bounds(luma: float) -> PoolSettings:
    """A bound on every signal that 1 % of the shots miss, and one that is tried out."""
    asked = {name: Bound(min=0.01, unknown="review" if number % 2 else "pass") for number, name in enumerate(names())}
    return PoolSettings(bounds={**asked, "luma": Bound(min=luma)})


def measure(home: Home) -> list[tuple[float, float]]:
    """Seconds of each preview, by the clock and of processor time (the same on an idle machine), one after the other."""
    spent = []
    for attempt in range(_ROUNDS):
        started, used = time.perf_counter(), time.process_time()
        found = preview(home, "360p", bounds(0.05), bounds(0.10 + 0.01 * attempt), min_length_s=0.7)
        spent.append((time.perf_counter() - started, time.process_time() - used))
        assert found.lost > 0
    return spent


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shots", nargs="?", type=int, default=1_000_000,
                        help="made-up shots to preview over (default 1,000,000: some minutes to write them)")  # fmt: skip
    parser.add_argument("--child", metavar="HOME", help=argparse.SUPPRESS)  # a new process, which has nothing in memory yet
    options = parser.parse_args()
    if options.child:
        first, *more = measure(open_home(options.child))
        best, worst = min(more), max(more)
        print(
            f"first {first[0]:.2f} s ({first[1]:.2f} s of processor time), then {best[0]:.2f} to {worst[0]:.2f} s "
            f"({best[1]:.2f} to {worst[1]:.2f} s)"
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        home = open_home(folder)
        fill(home, options.shots)
        started = time.perf_counter()
        rows = len(load_wide(home))
        print(f"{rows:,} shots, {_SIGNALS} signals, bounds on all of them: columns made in {time.perf_counter() - started:.1f} s")
        files = list(Path(folder, "store").rglob("*.arrow"))
        print(f"columns take {sum(file.stat().st_size for file in files) / rows:.0f} bytes a shot")
        for kind in ("cold", "warm files"):
            if kind == "cold":
                for file in files:
                    _forget(file)
            started = time.perf_counter()
            command = [sys.executable, __file__, "--child", folder]
            shown = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}).stdout
            print(f"preview, {kind}: {shown.strip()}; whole process {time.perf_counter() - started:.1f} s")
        for table in ("shots", "scores", "captions"):
            _touch(home, table)
        started = time.perf_counter()
        load_wide(home)
        print(f"one more batch of 10 shots: columns brought up to date in {time.perf_counter() - started:.2f} s")


def _touch(home: Home, table: str) -> None:
    """Ten shots of a further batch."""
    ids = pa.array([f"shot_new_{number}" for number in range(10)])
    filled = {"shot_id": ids, "batch": _repeat("b999999", 10), "provenance": _repeat("p", 10)}
    own = {
        "shots": {}, "captions": {"structured": _repeat("{}", 10)},
        "scores": {"signal": _repeat("luma", 10), "value": pa.array(np.ones(10)), "outcome": _repeat("measured", 10)},
    }  # fmt: skip
    _append(home, table, {**filled, **own[table]})


def _append(home: Home, table: str, columns: dict[str, pa.Array]) -> None:
    schema = TABLES[table].schema
    count = len(next(iter(columns.values())))
    rows = pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)
    Path(home.ledger.uri).mkdir(parents=True, exist_ok=True)
    lance.write_dataset(rows, f"{home.ledger.uri}/{table}.lance", mode="append")


def _repeat(text: str, count: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(count, np.int8)))


def _forget(file: Path) -> None:
    """Let the system drop a file from its page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
