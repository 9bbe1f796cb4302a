"""A home that takes in a batch a day for a year: what a batch costs on the first and on the last days, and what `skyreels status` costs.

    python -m benchmarks.ledger [DAYS] [SOURCES]

Rows are made up, and written as the steps write them: several commits a batch. Bytes are those that Lance reads for the ledger.
"""

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from resources.home import open_home
from skyreels_platform.cli.data import show_status
from skyreels_platform.curation.standing import GATES, failed_gates, set_gate
from skyreels_platform.curation.steps import ready_sources, shots_by_source
from skyreels_platform.home import Home
from skyreels_platform.ledger.dataset import TableFile
from skyreels_platform.ledger.tables import TABLES

_SHOTS = 4  # per source
_SIGNALS = 35
_COMMITS = 3  # of the step that cuts and measures

_opened: list[Any] = []


def day(home: Home, batch: str, num_sources: int) -> None:
    """Write and read one batch as the steps do."""
    ledger, common = home.ledger, {"batch": batch, "provenance": batch}
    sources = [f"src_{batch}_{number:04d}" for number in range(num_sources)]
    files = [{"uri": f"/footage/{source}.mp4", "size_bytes": 1, "modified": "m", "status": "listed", **common} for source in sources]
    ledger.replace("files", batch, files)
    ledger.replace("sources", batch, [{"source_id": source, "uri": "/x", "status": "ready", "media": "video", "human_caption": "{}",
                                       "num_frames": 100, **common} for source in sources])  # fmt: skip
    ledger.replace("files", batch, [{**file, "status": "ready", "source_id": source} for file, source in zip(files, sources, strict=True)])
    shots: list[dict[str, Any]] = []
    ready = ready_sources(home, batch)
    for part in (ready[first::_COMMITS] for first in range(_COMMITS)):
        cut = [
            {"shot_id": f"shot_{row['source_id']}_{number}", "source_id": row["source_id"], "start_frame": 25 * number,
             "end_frame": 25 * number + 25, "start_s": float(number), "end_s": number + 1.0, **common}
            for row in part for number in range(_SHOTS)
        ]  # fmt: skip
        ledger.merge("scores", [{"shot_id": shot["shot_id"], "signal": f"signal_{number}", "value": 1.0, "outcome": "measured", **common}
                                for shot in cut for number in range(_SIGNALS)])  # fmt: skip
        ledger.merge("crops", [{"shot_id": shot["shot_id"], "x": 0, "y": 0, "status": "whole", **common} for shot in cut])
        ledger.merge("frames", [{"shot_id": shot["shot_id"], "position": 0, "image": bytes(2000), **common} for shot in cut])
        shots += cut
        ledger.replace("shots", batch, shots)
        ledger.merge("work", [{"source_id": row["source_id"], "step": "shots", "num_decodes": 1, "num_frames": 100, "core_s": 1.0, **common}
                              for row in part])  # fmt: skip
    every = [row["shot_id"] for rows in shots_by_source(home, batch).values() for row in rows]
    ledger.merge("captions", [{"shot_id": shot, "structured": "{}", "status": "ok", **common} for shot in every])
    for gate in GATES:
        set_gate(home, batch, gate, passed=True, reason="")


def measured(work: Callable[[], Any]) -> tuple[float, float, float]:
    """Seconds by the clock, of processor time, and megabytes read."""
    _opened.clear()
    started, cores = time.perf_counter(), time.process_time()
    work()
    read = sum(dataset.io_stats_snapshot().read_bytes for dataset in _opened if dataset is not None)
    return time.perf_counter() - started, time.process_time() - cores, read / 1e6


def main() -> None:
    """Print one line per month and per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("days", nargs="?", type=int, default=365, help="batches, one a day (default 365: some minutes)")
    parser.add_argument("sources", nargs="?", type=int, default=20,
                        help=f"of a batch, each of {_SHOTS} shots with {_SIGNALS} signals (default 20)")  # fmt: skip
    options = parser.parse_args()
    num_days, num_sources = options.days, options.sources
    original = TableFile.open

    def opened(self: TableFile) -> Any:
        _opened.append(original(self))
        return _opened[-1]

    TableFile.open = opened
    with tempfile.TemporaryDirectory() as folder:
        home = open_home(folder)
        print(f"{'day':>5} {'wall s':>7} {'core s':>7} {'MB read':>8}   medians of ten days")
        spent = []
        for number in range(1, num_days + 1):
            spent.append(measured(lambda number=number: day(home, f"b{number:06d}", num_sources)))
            if number % 10 == 0 and (number == 10 or number % 60 == 0 or number > num_days - 10):
                print("{:>5} {:>7.2f} {:>7.2f} {:>8.2f}".format(number, *np.median(spent[-10:], axis=0)), flush=True)
        pieces = {name: len(found.get_fragments()) for name in TABLES if (found := _table(home, name)) is not None}
        print(f"data files per table: {', '.join(f'{name} {count}' for name, count in pieces.items())}")
        for name, work in {
            "skyreels status": lambda: show_status(folder, None, True), "gates of all batches": lambda: failed_gates(home),
            "one batch's scores": lambda: home.ledger.rows("scores", {"batch": "b000007"}),
        }.items():  # fmt: skip
            with contextlib.redirect_stdout(io.StringIO()):
                found = measured(work)
            print(f"{name:<22} {found[0]:.2f} s by the clock, {found[1]:.2f} s of processor time, {found[2]:.1f} MB read")
        print(f"the home takes {sum(file.stat().st_size for file in Path(folder).rglob('*') if file.is_file()) / 1e6:.0f} MB")


def _table(home: Home, name: str) -> Any:
    return TableFile(spec=TABLES[name], uri=f"{home.ledger.uri}/{name}.lance", storage_options=home.ledger.storage_options).open()


if __name__ == "__main__":
    main()
