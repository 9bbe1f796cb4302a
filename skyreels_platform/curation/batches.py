"""Shots and scores of one ingest batch: per source, in a bounded child process, skipped where nothing changed.

A row's provenance is known before the work (parents' provenance, code version, settings), so a source whose rows already carry it is
not touched again: a repeat is a no-op, and a killed batch goes on where it stopped. A source that cannot be processed is a row of
`failures`; the others go on, and a repeat tries it again, since a disk may have been away.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skyreels_platform.errors import DecodeError, SourceError
from skyreels_platform.footage import local_copy
from skyreels_platform.home import Home
from skyreels_platform.ledger.ids import shot_id
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.progress import track
from skyreels_platform.recipe import ShotSettings

SHOTS_VERSION = "shots-1"
"""Raise it when the same source would be cut otherwise."""

MEMORY_BYTES = 6 << 30
TIMEOUT_S = 3600.0
_COMMIT_EVERY_S = 20.0  # work that a kill may cost

Row = dict[str, Any]


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


def run_step(
    home: Home, batch: str, *, step: str, table: str, provenance_of: Callable[[Row], str], work: Callable[[Row, Path], list[Row]],
    is_final: Callable[[Row], bool] = lambda row: True,
) -> StepResult:  # fmt: skip
    """Make `table`'s rows for every ready source of a batch.

    `provenance_of(source)` is the provenance that all rows of a source carry; `work(source, path)` makes them (without it) and
    raises DecodeError or SourceError where it cannot. A source with a row that is not `is_final` is made again.
    """
    sources = home.ledger.rows("sources", {"batch": batch, "status": "ready"}).to_pylist()
    expected = {source["source_id"]: provenance_of(source) for source in sources}
    owner = _owners(home, batch)
    current: dict[str, list[Row]] = {}
    for row in home.ledger.rows(table, {"batch": batch}).to_pylist():
        source_id = row["source_id"] if "source_id" in row else owner.get(row["shot_id"], "")
        if row["provenance"] == expected.get(source_id):
            current.setdefault(source_id, []).append(row)
    current = {key: rows for key, rows in current.items() if all(map(is_final, rows))}
    scope = f"{batch}/{step}"
    failures: dict[str, Row] = {}
    todo = [source for source in sources if source["source_id"] not in current]
    committed = time.monotonic()
    for source in track(todo, f"{batch}: {step}") if todo else ():
        key = source["source_id"]
        try:
            with local_copy(source["uri"], open_store=home.open_store, scratch=home.work) as path:
                rows = work(source, path)
        except (DecodeError, SourceError) as error:
            failures[key] = {"scope": scope, "source_id": key, "batch": batch, "step": step, "reason": str(error),
                             "provenance": expected[key]}  # fmt: skip
            continue
        current[key] = [{**row, "batch": batch, "provenance": expected[key]} for row in rows]
        if time.monotonic() - committed > _COMMIT_EVERY_S:
            home.ledger.replace(table, batch, _flat(current))
            committed = time.monotonic()
    home.ledger.replace(table, batch, _flat(current))
    home.ledger.replace("failures", scope, list(failures.values()))
    return StepResult(
        num_sources=len(sources), num_made=len(todo), num_rows=len(_flat(current)),
        failures={key: row["reason"] for key, row in failures.items()},
        data_version=hash_json(sorted((key, expected[key], key in failures) for key in expected)),
    )  # fmt: skip


def segment_batch(home: Home, batch: str, settings: ShotSettings) -> StepResult:
    """Cut every ready source of a batch into shots: table `shots`."""
    from skyreels_platform.media.bounded import BoundedWorker

    def work(source: Row, path: Path) -> list[Row]:
        found = worker.call(cut_source, str(path), source, settings.model_dump())
        return [_shot_row(source, shot) for shot in found]

    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S) as worker:
        return run_step(
            home, batch, step="shots", table="shots", work=work,
            provenance_of=lambda source: provenance(SHOTS_VERSION, settings, [source["provenance"]]),
        )  # fmt: skip


def cut_source(path: str, source: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """Shots of one source as plain values; runs in the child process. An image is one shot of one frame."""
    from skyreels_platform.curation.shots import find_shots

    if source["media"] == "image":
        return [{"start_frame": 0, "end_frame": 1, "start_s": 0.0, "end_s": 0.0, "transition_in": "start", "votes": {}}]
    return [asdict(shot) for shot in find_shots(Path(path), ShotSettings(**settings))]


def score_batch(home: Home, batch: str) -> StepResult:
    """Measure every signal of every shot of a batch: table `scores`."""
    from skyreels_platform.curation.signals import SIGNALS
    from skyreels_platform.media.bounded import BoundedWorker

    versions = {name: signal.version for name, signal in SIGNALS.items()}
    shots = shots_by_source(home, batch)

    def work(source: Row, path: Path) -> list[Row]:
        rows = shots.get(source["source_id"], [])
        measured = worker.call(score_source, str(path), rows) if rows else []
        return [{**score, "shot_id": row["shot_id"]} for row, scores in zip(rows, measured, strict=True) for score in scores]

    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S) as worker:
        return run_step(
            home, batch, step="scores", table="scores", work=work,
            provenance_of=lambda source: provenance("scores-1", versions, parents_of(source, shots)),
        )  # fmt: skip


def score_source(path: str, shots: list[Row]) -> list[list[Row]]:
    """Scores of every shot of one source as plain values; runs in the child process."""
    from skyreels_platform.curation.shots import Shot
    from skyreels_platform.curation.signals import measure
    from skyreels_platform.media.probe import probe

    spans = [
        Shot(start_frame=row["start_frame"], end_frame=row["end_frame"], start_s=row["start_s"], end_s=row["end_s"],
             transition_in=row["transition_in"], votes=json.loads(row["votes"]))
        for row in shots
    ]  # fmt: skip
    return [[asdict(score) for score in scores] for scores in measure(Path(path), probe(Path(path)), spans)]


def shots_by_source(home: Home, batch: str) -> dict[str, list[Row]]:
    """source id -> its shots in order of time."""
    found: dict[str, list[Row]] = {}
    for row in sorted(home.ledger.rows("shots", {"batch": batch}).to_pylist(), key=lambda row: row["start_frame"]):
        found.setdefault(row["source_id"], []).append(row)
    return found


def parents_of(source: Row, shots: Mapping[str, list[Row]]) -> list[str]:
    """Provenance of a source and of its shots: what rows about shots are made from."""
    return [source["provenance"], *(row["provenance"] for row in shots.get(source["source_id"], []))]


def _owners(home: Home, batch: str) -> dict[str, str]:
    shots = home.ledger.rows("shots", {"batch": batch}, ["shot_id", "source_id"])
    return dict(zip(shots["shot_id"].to_pylist(), shots["source_id"].to_pylist(), strict=True))


def _shot_row(source: Row, shot: Row) -> Row:
    return {
        **{key: shot[key] for key in ("start_frame", "end_frame", "start_s", "end_s", "transition_in")},
        "votes": json.dumps(shot["votes"], sort_keys=True),
        "shot_id": shot_id(source["source_id"], shot["start_frame"], shot["end_frame"]),
        "source_id": source["source_id"], "fps_num": source["fps_num"], "fps_den": source["fps_den"],
    }  # fmt: skip


def _flat(rows: Mapping[str, Iterable[Row]]) -> list[Row]:
    return [row for group in rows.values() for row in group]
