"""Shots, scores, crops and kept pictures of one ingest batch, all from one decode of each source.

`observe_batch` makes them together. `score_batch` then has nothing to do, unless a signal has changed since: it measures that signal
alone, on the shots that are there.
"""

import json
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyreels_platform.curation.steps import (
    Row,
    Rows,
    StepResult,
    count_work,
    prune,
    ready_sources,
    run_step,
    shots_by_source,
)
from skyreels_platform.footage import OpenStore, local_copy
from skyreels_platform.home import Home
from skyreels_platform.ledger.ids import shot_id
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.recipe import ShotSettings, SignalSettings
from skyreels_platform.workers import Workers

if TYPE_CHECKING:
    from skyreels_platform.curation.fingerprint_store import FingerprintStore

SHOTS_VERSION = "shots-2"
"""Raise it when the same source would be cut otherwise."""
SCORES_VERSION = "scores-2"

FRAMES_PER_PART = 512
"""Kept pictures, about 10 MB, after which a worker hands them over: those of a 2-hour film are a gigabyte."""

_OF_SHOTS = ("scores", "crops", "frames")  # tables with rows about shots, from the same pass


def observe_batch(
    home: Home, batch: str, settings: ShotSettings, signals: SignalSettings, workers: Workers, fingerprints: "FingerprintStore"
) -> StepResult:
    """Cut every ready source of a batch into shots and measure them: tables `shots`, `scores`, `crops`, `frames`, `work`, and the
    fingerprints."""
    sources = ready_sources(home, batch)
    expected = {source["source_id"]: shots_provenance(source, settings) for source in sources}
    current: dict[str, list[Row]] = {}
    for row in home.ledger.rows("shots", {"batch": batch}).to_pylist():
        if row["provenance"] == expected.get(row["source_id"]):
            current.setdefault(row["source_id"], []).append(row)
    todo = [source for source in sources if source["source_id"] not in current]

    def write(rows: Rows) -> None:
        # a worker that died has handed over some pictures twice
        pictures = {(row["shot_id"], row["position"]): row for row in rows.get("frames", [])}
        for table in _OF_SHOTS:
            home.ledger.merge(table, list(pictures.values()) if table == "frames" else rows.get(table, []))
        fingerprints.put(rows.get("fingerprints", []))
        for row in rows.get("shots", []):
            current.setdefault(row["source_id"], []).append(row)
        home.ledger.replace("shots", batch, [row for group in current.values() for row in group])
        home.ledger.merge("work", count_work(home, rows.get("work", [])))

    failures = run_step(
        home, batch, step="shots", sources=todo, function=observe_source, workers=workers, write=write,
        call_of=lambda source: (source, settings.model_dump(), signals.model_dump(), home.open_store, str(home.work)),
        provenance_of=lambda source: expected[source["source_id"]],
    )  # fmt: skip
    prune(home, batch, (*_OF_SHOTS, "captions"))
    fingerprints.prune(batch, [row["shot_id"] for group in current.values() for row in group])
    return StepResult(
        num_sources=len(sources), num_made=len(todo), num_rows=sum(map(len, current.values())), failures=failures,
        data_version=hash_json(sorted((key, expected[key], key in failures) for key in expected)),
    )  # fmt: skip


def observe_source(
    source: Row, settings: Mapping[str, Any], signals: Mapping[str, Any], open_store: OpenStore, scratch: str
) -> Generator[Rows, None, Rows]:
    """Everything about one source from one decode, as rows without their batch; runs in a worker. Yields kept pictures early, and returns
    the other rows, without which the pictures mean nothing."""
    with local_copy(source["uri"], open_store=open_store, scratch=Path(scratch)) as path:
        return (yield from observe_file(path, source, ShotSettings(**settings), SignalSettings(**signals)))


def observe_file(path: Path, source: Row, settings: ShotSettings, signals: SignalSettings) -> Generator[Rows, None, Rows]:
    """The same of a file at hand; `source` is its row of `sources`."""
    from skyreels_platform.curation.embeddings import fingerprint_provenance
    from skyreels_platform.curation.fingerprint_store import fingerprint_row
    from skyreels_platform.curation.observe import observe
    from skyreels_platform.curation.signals.choice import choose
    from skyreels_platform.media.probe import probe

    started, cores = time.perf_counter(), time.process_time()
    own, kinds = shots_provenance(source, settings), choose(signals)
    rows: Rows = {table: [] for table in (*_OF_SHOTS, "fingerprints", "shots", "work")}
    num_frames = 0
    for seen in observe(path, probe(path), settings, kinds=kinds.values()):
        key = shot_id(source["source_id"], seen.shot.start_frame, seen.shot.end_frame)
        num_frames = max(num_frames, seen.shot.end_frame)
        rows["shots"].append({
            **{name: getattr(seen.shot, name) for name in ("start_frame", "end_frame", "start_s", "end_s", "transition_in")},
            "votes": json.dumps(seen.shot.votes, sort_keys=True), "shot_id": key, "source_id": source["source_id"],
            "fps_num": source["fps_num"], "fps_den": source["fps_den"], "provenance": own,
        })  # fmt: skip
        rows["scores"] += [score_row(key, own, asdict(score)) for score in seen.scores]
        rows["crops"].append(crop_row(key, own, seen.regions, kinds, source))
        rows["frames"] += frame_rows(key, own, seen.frames)
        if len(rows["frames"]) >= FRAMES_PER_PART:
            yield {"frames": rows["frames"]}
            rows["frames"] = []
        rows["fingerprints"].append(fingerprint_row(key, seen.fingerprint, fingerprint_provenance(own)))
    rows["work"].append(work_row(source, "shots", num_frames, started, cores))
    return rows


def score_batch(home: Home, batch: str, signals: SignalSettings, workers: Workers) -> StepResult:
    """Measure every signal that a shot of the batch lacks in its present version: tables `scores` and `crops`."""
    from skyreels_platform.curation.signals.choice import choose

    kinds = choose(signals)
    sources = ready_sources(home, batch)
    shots = shots_by_source(home, batch)
    stored = {
        (row["shot_id"], row["signal"]): row["provenance"]
        for row in home.ledger.rows("scores", {"batch": batch}, ["shot_id", "signal", "provenance"]).to_pylist()
    }  # fmt: skip
    stale = {
        source["source_id"]: [
            name for name, kind in kinds.items()
            if any(stored.get((row["shot_id"], name)) != score_provenance(name, kind.version, row["provenance"])
                   for row in shots.get(source["source_id"], []))
        ]
        for source in sources
    }  # fmt: skip
    todo = [source for source in sources if stale[source["source_id"]]]

    def write(rows: Rows) -> None:
        for table in ("scores", "crops"):
            home.ledger.merge(table, rows.get(table, []))
        home.ledger.merge("work", count_work(home, rows.get("work", [])))

    versions = {name: kind.version for name, kind in kinds.items()}
    failures = run_step(
        home, batch, step="scores", sources=todo, function=measure_source, workers=workers, write=write,
        call_of=lambda source: (
            source, shots[source["source_id"]], stale[source["source_id"]], signals.model_dump(), home.open_store, str(home.work)
        ),
        provenance_of=lambda source: provenance(SCORES_VERSION, versions, [source["provenance"]]),
    )  # fmt: skip
    _remove_dropped_signals(home, batch, kinds)
    return StepResult(
        num_sources=len(sources), num_made=len(todo), failures=failures,
        num_rows=home.ledger.rows("scores", {"batch": batch}, ["provenance"]).num_rows,
        data_version=hash_json([versions, sorted(
            (source["source_id"], [row["provenance"] for row in shots.get(source["source_id"], [])], source["source_id"] in failures)
            for source in sources
        )]),
    )  # fmt: skip


def measure_source(
    source: Row, shots: list[Row], names: list[str], signals: Mapping[str, Any], open_store: OpenStore, scratch: str
) -> Rows:
    """Some signals of the shots of one source, as rows without their batch; runs in a worker."""
    from skyreels_platform.curation.crop import AVOIDED
    from skyreels_platform.curation.observe import measure
    from skyreels_platform.curation.segments import Shot
    from skyreels_platform.curation.signals import Signal
    from skyreels_platform.curation.signals.choice import choose
    from skyreels_platform.media.probe import probe

    started, cores = time.perf_counter(), time.process_time()
    every = choose(SignalSettings(**signals))
    needed = {*names, *(need for name in names for need in every[name].needs)}
    is_placed = not needed.isdisjoint(AVOIDED)
    kinds = {name: kind for name, kind in every.items() if name in needed or (is_placed and kind.regions is not Signal.regions)}
    spans = [
        Shot(start_frame=row["start_frame"], end_frame=row["end_frame"], start_s=row["start_s"], end_s=row["end_s"],
             transition_in=row["transition_in"])
        for row in shots
    ]  # fmt: skip
    rows: Rows = {"scores": [], "crops": [], "work": []}
    with local_copy(source["uri"], open_store=open_store, scratch=Path(scratch)) as path:
        for row, (scores, regions) in zip(shots, measure(path, probe(path), spans, kinds=kinds.values()), strict=True):
            rows["scores"] += [score_row(row["shot_id"], row["provenance"], asdict(score)) for score in scores if score.signal in names]
            if is_placed:
                rows["crops"].append(crop_row(row["shot_id"], row["provenance"], regions, every, source))
    rows["work"].append(work_row(source, "scores", max(span.end_frame for span in spans), started, cores))
    return rows


# ---- rows ----------------------------------------------------------------------------------------------------------------------


def shots_provenance(source: Row, settings: ShotSettings) -> str:
    """What all shots of a source carry."""
    return provenance(SHOTS_VERSION, settings, [source["provenance"]])


def score_provenance(signal: str, version: str, shot_provenance: str) -> str:
    """A score is made from its shot by one version of its signal, whatever becomes of the others."""
    return provenance(f"{SCORES_VERSION} {signal} {version}", {}, [shot_provenance])


def score_row(key: str, shot_provenance: str, score: Row) -> Row:
    return {**score, "shot_id": key, "provenance": score_provenance(score["signal"], score["version"], shot_provenance)}


def crop_row(key: str, shot_provenance: str, regions: Iterable[Any], kinds: Mapping[str, Any], source: Row) -> Row:
    """The clean rectangle of a shot whose source is displayed at the width and height of `source`."""
    from skyreels_platform.curation.crop import AVOIDED, CROP_VERSION, clean_crop

    regions = list(regions)
    crop = clean_crop(source["width"], source["height"], [region for region in regions if region.kind in AVOIDED])
    return {
        "shot_id": key, "x": crop.x, "y": crop.y, "width": crop.width, "height": crop.height, "area_share": crop.area_share,
        "status": crop.status, "reason": crop.reason, "regions": json.dumps([asdict(region) for region in regions]),
        "provenance": provenance(CROP_VERSION, {name: kinds[name].version for name in AVOIDED}, [shot_provenance]),
    }  # fmt: skip


def frame_rows(key: str, shot_provenance: str, frames: Iterable[Any]) -> list[Row]:
    from skyreels_platform.curation.kept_frames import KEPT_FRAMES_VERSION

    own = provenance(KEPT_FRAMES_VERSION, {}, [shot_provenance])
    return [{**asdict(frame), "shot_id": key, "position": position, "provenance": own} for position, frame in enumerate(frames)]


def work_row(source: Row, step: str, num_frames: int, started: float, cores: float, *, num_decodes: int = 1) -> Row:
    """What a step took for one source; `started` and `cores` are perf_counter and process_time at its beginning."""
    return {
        "source_id": source["source_id"], "step": step, "num_decodes": num_decodes, "num_frames": num_frames,
        "wall_s": time.perf_counter() - started, "core_s": time.process_time() - cores,
        "provenance": provenance("work-1", step, [source["provenance"]]),
    }  # fmt: skip


def _remove_dropped_signals(home: Home, batch: str, known: Iterable[str]) -> None:
    rows = home.ledger.rows("scores", {"batch": batch}, ["signal"])
    if set(rows["signal"].unique().to_pylist()) - set(known):
        table = home.ledger.rows("scores", {"batch": batch})
        home.ledger.replace("scores", batch, table.filter([name in set(known) for name in table["signal"].to_pylist()]))
