"""One step over one ingest batch: the sources that need work go to workers, rows are written as they arrive.

A row's provenance is known before the work (parents' provenance, code version, settings), so a source whose rows already carry it is
not touched again: a repeat is a no-op, and a killed batch goes on where it stopped. A source that cannot be processed is a row of
`failures`; the others go on, and a repeat tries it again, since a disk may have been away.
"""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyreels_platform.home import Home
from skyreels_platform.progress import bar
from skyreels_platform.workers import Call, Workers

_COMMIT_EVERY_S = 20.0  # work that a kill may cost

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""Table -> rows, in the order in which they are to be written: what others refer to comes last."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step did for one batch."""

    num_sources: int
    num_made: int
    """Sources worked on; the others were up to date."""
    num_rows: int
    failures: dict[str, str]
    """source id -> reason."""
    data_version: str
    """Hash over the provenance of all rows."""


def ready_sources(home: Home, batch: str) -> list[Row]:
    """The sources of a batch that can be worked on."""
    return home.ledger.rows("sources", {"batch": batch, "status": "ready"}).to_pylist()


def run_step(
    home: Home, batch: str, *, step: str, sources: Sequence[Row], function: Callable[..., Rows | Generator[Rows, None, Rows]],
    call_of: Callable[[Row], Call], workers: Workers, write: Callable[[Rows], None], provenance_of: Callable[[Row], str],
) -> dict[str, str]:  # fmt: skip
    """Work on `sources`: `function(*call_of(source))` runs in a worker and returns rows without their batch, which `write` gets merged.

    A function that yields some of its rows before it returns the others hands them over early; after a worker's death they come twice.
    Returns source id -> reason for those that failed, which also become rows of `failures`.
    """
    scope = f"{batch}/{step}"
    failures: dict[str, Row] = {}
    pending: Rows = {}
    committed = time.monotonic()
    if sources:
        with bar(f"{batch}: {step}", total=len(sources)) as progress:
            for outcome in workers.map(function, (call_of(source) for source in sources)):
                source = sources[outcome.index]
                if outcome.error is not None:
                    key = source["source_id"]
                    failures[key] = {
                        "scope": scope, "source_id": key, "batch": batch, "step": step, "reason": str(outcome.error),
                        "provenance": provenance_of(source),
                    }  # fmt: skip
                else:
                    for table, rows in outcome.value.items():
                        pending.setdefault(table, []).extend({**row, "batch": batch} for row in rows)
                progress.advance(outcome.is_last)
                if time.monotonic() - committed > _COMMIT_EVERY_S:
                    write(pending)
                    pending, committed = {}, time.monotonic()
    write(pending)
    home.ledger.replace("failures", scope, list(failures.values()))
    return {key: row["reason"] for key, row in failures.items()}


def count_work(home: Home, rows: Iterable[Row]) -> list[Row]:
    """Rows of `work` of one run with the decodes of earlier runs added."""
    rows = list(rows)
    columns = ["source_id", "step", "num_decodes"]
    stored = home.ledger.rows("work", {"batch": sorted({row["batch"] for row in rows})}, columns).to_pylist()
    before = {(row["source_id"], row["step"]): row["num_decodes"] for row in stored}
    return [{**row, "num_decodes": row["num_decodes"] + before.get((row["source_id"], row["step"]), 0)} for row in rows]


def decodes_per_source(home: Home, batch: str) -> float:
    """How often the sources of a batch have been decoded for curation so far, on average; 1 is the aim."""
    rows = home.ledger.rows("work", {"batch": batch}, ["source_id", "num_decodes"]).to_pylist()
    sources = {row["source_id"] for row in rows}
    return sum(row["num_decodes"] for row in rows) / len(sources) if sources else 0.0


def shots_by_source(home: Home, batch: str) -> dict[str, list[Row]]:
    """source id -> its shots in order of time."""
    found: dict[str, list[Row]] = {}
    for row in sorted(home.ledger.rows("shots", {"batch": batch}).to_pylist(), key=lambda row: row["start_frame"]):
        found.setdefault(row["source_id"], []).append(row)
    return found


def parents_of(source: Row, shots: Mapping[str, list[Row]]) -> list[str]:
    """Provenance of a source and of its shots: what rows about shots are made from."""
    return [source["provenance"], *(row["provenance"] for row in shots.get(source["source_id"], []))]


def prune(home: Home, batch: str, tables: Iterable[str]) -> None:
    """Remove rows of shots that the batch no longer has."""
    shots = set(home.ledger.rows("shots", {"batch": batch}, ["shot_id"])["shot_id"].to_pylist())
    for table in tables:
        if set(home.ledger.rows(table, {"batch": batch}, ["shot_id"])["shot_id"].to_pylist()) - shots:
            rows = home.ledger.rows(table, {"batch": batch})
            keep = [shot in shots for shot in rows["shot_id"].to_pylist()]
            home.ledger.replace(table, batch, rows.filter(keep))
