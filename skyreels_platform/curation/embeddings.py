"""Fingerprints of one ingest batch: what the pass that cuts and measures a source did not write, or wrote in an older version.

That pass has seen every picture already and writes fingerprints with its other rows (`fingerprint_row`, `FingerprintStore.put`), so that
this step has nothing to decode unless the fingerprint itself has changed.
"""

import time
from pathlib import Path

from skyreels_platform.curation.batches import work_row
from skyreels_platform.curation.fingerprint import FINGERPRINT_VERSION
from skyreels_platform.curation.fingerprint_store import FingerprintStore
from skyreels_platform.curation.steps import Row, Rows, StepResult, count_work, ready_sources, run_step, shots_by_source
from skyreels_platform.footage import OpenStore, local_copy
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.workers import Workers


def fingerprint_provenance(shot_provenance: str, backend: str = "") -> str:
    """What the fingerprint of a shot carries."""
    return provenance(FINGERPRINT_VERSION, backend, [shot_provenance])


def embed_batch(home: Home, store: FingerprintStore, batch: str, workers: Workers, network: str | None = None) -> StepResult:
    """Give every shot of a batch its fingerprint and remove those of shots that are gone.

    network: an ONNX file that makes the descriptors (see `embedding`); the store must be the one of its name and dimensions.
    """
    shots = shots_by_source(home, batch)
    expected = {row["shot_id"]: fingerprint_provenance(row["provenance"], store.backend) for rows in shots.values() for row in rows}
    stored = store.standing(expected)
    stale = {
        source_id: [row for row in rows if stored.get(row["shot_id"]) != expected[row["shot_id"]]] for source_id, rows in shots.items()
    }
    todo = [source for source in ready_sources(home, batch) if stale.get(source["source_id"])]

    def write(rows: Rows) -> None:
        store.put(rows.get("fingerprints", []))
        home.ledger.merge("work", count_work(home, rows.get("work", [])))

    failures = run_step(
        home, batch, step="embeddings", sources=todo, function=fingerprint_source, workers=workers, write=write,
        call_of=lambda source: (source, stale[source["source_id"]], home.open_store, str(home.work), network),
        provenance_of=lambda source: provenance(FINGERPRINT_VERSION, store.backend, [source["provenance"]]),
    )  # fmt: skip
    store.prune(batch, expected)
    return StepResult(
        num_sources=len(shots), num_made=len(todo), num_rows=len(expected), failures=failures,
        data_version=hash_json([sorted(expected.items()), sorted(failures)]),
    )  # fmt: skip


def fingerprint_source(source: Row, shots: list[Row], open_store: OpenStore, scratch: str, network: str | None = None) -> Rows:
    """Fingerprints of some shots of one source from one decode, as rows without their batch; runs in a worker."""
    from skyreels_platform.curation.embedding import OnnxEmbedding
    from skyreels_platform.curation.fingerprint import Fingerprinter
    from skyreels_platform.curation.fingerprint_store import fingerprint_row
    from skyreels_platform.curation.signals.base import ShotInfo
    from skyreels_platform.media.pyramid import pyramid

    started, cores = time.perf_counter(), time.process_time()
    fps = source["fps_num"] / source["fps_den"] if source["fps_den"] else 0.0
    backend = OnnxEmbedding(network) if network else None
    makers = {
        row["shot_id"]: Fingerprinter(ShotInfo(
            media=source["media"], num_frames=row["end_frame"] - row["start_frame"], duration_s=row["end_s"] - row["start_s"], fps=fps,
            width=source["width"], height=source["height"], bitrate=source["bitrate"],
        ), backend)
        for row in shots
    }  # fmt: skip
    with local_copy(source["uri"], open_store=open_store, scratch=Path(scratch)) as path:
        first, last = min(row["start_frame"] for row in shots), max(row["end_frame"] for row in shots)
        for frame in pyramid(path, start=first, stop=last):
            for row in shots:
                if row["start_frame"] <= frame.index < row["end_frame"]:
                    makers[row["shot_id"]].add(frame)
    name = backend.name if backend else ""
    rows = [
        fingerprint_row(row["shot_id"], makers[row["shot_id"]].result(), fingerprint_provenance(row["provenance"], name)) for row in shots
    ]
    return {"fingerprints": rows, "work": [work_row(source, "embeddings", last, started, cores)]}
