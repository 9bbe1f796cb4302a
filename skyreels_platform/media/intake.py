"""Reading a registered batch with the decoder behind bars: `ingest` told how to probe."""

from dataclasses import dataclass

from skyreels_platform.home import Home
from skyreels_platform.ingest import BatchSummary, ingest_batch
from skyreels_platform.ledger.provenance import hash_json
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.media.probe import probe
from skyreels_platform.progress import track

_MEMORY_BYTES = 4 << 30
_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Intake(BatchSummary):
    """A batch summary with the data version of its sources."""

    data_version: str


def read_batch(home: Home, batch: str) -> Intake:
    """Hash and probe every file of a batch; each probe runs in a child process with a time and a memory limit."""
    with BoundedWorker(memory_bytes=_MEMORY_BYTES, timeout_s=_TIMEOUT_S) as worker:
        summary = ingest_batch(
            home.ledger, batch, probe=lambda path: worker.call(probe, str(path)), open_store=home.open_store, scratch=home.work,
            track=lambda rows: track(rows, f"{batch}: ingest"),
        )  # fmt: skip
    rows = home.ledger.rows("sources", {"batch": batch}, ["source_id", "provenance"]).to_pylist()
    return Intake(**vars(summary), data_version=hash_json([[row["source_id"], row["provenance"]] for row in rows]))
