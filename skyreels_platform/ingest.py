"""From handed-in files to sources: hashed, probed, told from repeats, each with a status and a reason.

A batch is registered first (`files` rows with status `listed`) and then read, so that reading can be repeated on its own. One
content is one source, whatever its names; the first batch that brought it owns it. A bad file is a row, never a lost batch.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from skyreels_platform.errors import LedgerError, SkyreelsError
from skyreels_platform.footage import FileItem, OpenStore, local_copy, read_sidecars
from skyreels_platform.ledger.ids import content_id
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.ledger.provenance import canonical_json, provenance

CODE_VERSION = "ingest-1"
"""Raise it when the same file would give another row."""

SOURCE_KINDS = ("open_set", "film", "tv", "art", "unknown")

_IDENTITY = ["uri", "size_bytes", "modified"]
"""What tells one handed-in file from another: a file that changes is a new one."""

_PROBED = (
    "media", "container", "codec", "pixel_format", "width", "height", "rotation", "fps_num", "fps_den", "is_vfr", "num_frames",
    "duration_s", "bitrate", "has_audio",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """What became of the files of one batch."""

    batch: str
    num_ready: int
    num_duplicates: int
    num_refused: int
    refused: dict[str, str] = field(default_factory=dict)
    """URI -> reason."""
    notes: dict[str, str] = field(default_factory=dict)
    """URI -> what is odd about a file that was taken, for example an unreadable sidecar."""


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """What reading one file showed."""

    uri: str
    size_bytes: int
    source_id: str | None = None
    facts: Any = None
    """The Probe, None if refused."""
    reason: str = ""
    human: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def register_batch(ledger: Ledger, items: Iterable[FileItem]) -> str | None:
    """Record the files that are new, by (uri, size, modified), as the next batch; None if there are none.

    A refused file is not registered again until it changes: to read a batch again, run `ingest_batch` on its key.
    """
    items = list(items)
    while items := unregistered(ledger, items):
        last = ledger.query("SELECT max(CAST(substr(batch, 2) AS BIGINT)) AS number FROM files")["number"].to_pylist()[0]
        batch = f"b{(last or 0) + 1:06d}"
        rows = [_file_row(batch, vars(item), status="listed") for item in items]
        try:
            ledger.replace("files", batch, rows, only_if_absent=True)
        except LedgerError:
            # another ingest may have taken this key, and perhaps these files; if not, the trouble is ours
            if not ledger.rows("files", {"batch": batch}, ["uri"]).num_rows:
                raise
            continue
        return batch
    return None


def unregistered(ledger: Ledger, items: Iterable[FileItem]) -> list[FileItem]:
    """The files that no batch has, by (uri, size, modified), in their order."""
    if not (items := list(items)):
        return []
    offered = pa.table({name: [getattr(item, name) for item in items] for name in _IDENTITY})
    # one folder's names lie together: the range spares reading what was handed in from elsewhere
    first, last = (end(item.uri for item in items).replace("'", "''") for end in (min, max))
    stored = ledger.rows("files", f"uri >= '{first}' AND uri <= '{last}'", _IDENTITY)
    new = offered.join(stored, _IDENTITY, join_type="left anti")
    wanted = {FileItem(**row) for row in new.to_pylist()}
    return [item for item in items if item in wanted]


def ingest_batch(
    ledger: Ledger,
    batch: str,
    *,
    probe: Callable[[Path], Any],
    open_store: OpenStore,
    scratch: Path,
    track: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]] = iter,
) -> BatchSummary:
    """Read every file of a registered batch and write its `sources` and `files` rows. A repeat changes nothing.

    `probe(path)` returns a `media.probe.Probe` or raises; the caller bounds its time and memory. `scratch` is where remote files
    are while they are read. `track` wraps the list of files in a progress bar. A file that was taken before and cannot be read
    now keeps its source, as refused. Raises LedgerError if no such batch was registered.
    """
    listed = ledger.rows("files", {"batch": batch}).to_pylist()
    if not listed:
        raise LedgerError(f"no ingest batch {batch!r}; register its files first")
    open_store = functools.cache(open_store)  # an S3 client takes a second to make, and is asked for three times per file
    findings = [_read(row, probe, open_store, scratch) for row in track(listed)]
    ids = sorted({finding.source_id for finding in findings if finding.source_id})
    owners: Any = None
    while True:
        columns = ["source_id", "batch", "uri", "status", "reason"]
        known = ledger.rows("sources", {"source_id": ids}, columns).to_pylist()
        foreign = {row["source_id"]: row for row in known if row["batch"] != batch}
        sources, outcomes = _assign(batch, findings, foreign)
        gone = _gone(batch, findings, sources, ledger)
        try:
            ledger.replace("sources", batch, [*sources.values(), *gone])
            break
        except LedgerError:
            if foreign == owners:  # not a batch that took one of our sources at the same moment
                raise
            owners = foreign
    modified = {row["uri"]: row for row in listed}
    ledger.replace("files", batch, [_file_row(batch, modified[finding.uri], **outcomes[finding.uri]) for finding in findings])
    return _summary(batch, outcomes)


def _read(row: Mapping[str, Any], probe: Callable[[Path], Any], open_store: OpenStore, scratch: Path) -> _Finding:
    uri, source_id, size = row["uri"], None, row["size_bytes"]
    try:
        with local_copy(uri, open_store=open_store, scratch=scratch) as path:
            size = path.stat().st_size
            if size == 0:
                return _Finding(uri=uri, size_bytes=0, reason="empty file: 0 bytes")
            source_id = content_id(path)
            if path.stat().st_size != size:
                return _Finding(uri=uri, size_bytes=size, reason="changed while it was read; ingest it again when it is complete")
            try:
                facts, reason = probe(path), ""
            except Exception as error:  # the boundary of the batch: whatever a file does to a decoder is that file's reason
                kind = "" if isinstance(error, SkyreelsError) else f"{type(error).__name__}: "
                facts, reason = None, _storable(f"{kind}{error}".replace(str(path), uri))
    except (SkyreelsError, OSError) as error:
        return _Finding(uri=uri, size_bytes=size, reason=_storable(str(error)))
    human, notes = read_sidecars(uri, open_store=open_store)
    return _Finding(uri=uri, size_bytes=size, source_id=source_id, facts=facts, reason=reason, human=human, notes=notes)


def _assign(
    batch: str, findings: list[_Finding], foreign: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows of `sources` by id, and what becomes of each file by URI. The first file of a content makes the source."""
    sources: dict[str, dict[str, Any]] = {}
    outcomes: dict[str, dict[str, Any]] = {}
    for finding in findings:
        source_id = finding.source_id
        outcome = {"source_id": source_id, "status": "refused", "reason": finding.reason}
        if source_id is not None and (first := foreign.get(source_id) or sources.get(source_id)):
            outcome["status"] = "duplicate"
            outcome["reason"] = f"repeats {source_id}, first handed in as {first['uri']} in {first['batch']}"
            if first["status"] == "refused":
                outcome["reason"] += f", which was refused: {first['reason']}"
        elif source_id is not None:
            sources[source_id] = _source_row(batch, finding)
            if finding.facts is not None:
                outcome["status"] = "ready"
                outcome["reason"] = "; ".join([*finding.notes, *_odd_kind(finding.human)])
        outcomes[finding.uri] = outcome
    return sources, outcomes


def _gone(batch: str, findings: list[_Finding], sources: Mapping[str, Any], ledger: Ledger) -> list[dict[str, Any]]:
    """Sources of this batch whose file can no longer be read, marked refused, so that what was made of them stays explained."""
    lost = {finding.uri: finding.reason for finding in findings if finding.source_id is None}
    if not lost:
        return []
    before = ledger.rows("sources", {"batch": batch}).to_pylist()
    still_lost = [row for row in before if row["uri"] in lost and row["source_id"] not in sources]
    return [row | {"status": "refused", "reason": lost[row["uri"]]} for row in still_lost]


def _source_row(batch: str, finding: _Finding) -> dict[str, Any]:
    kind = str(finding.human.get("source_kind", "unknown"))
    row = {name: getattr(finding.facts, name, None) for name in _PROBED}
    return row | {
        "source_id": finding.source_id,
        "batch": batch,
        "uri": finding.uri,
        "name": PurePosixPath(finding.uri).name,
        "size_bytes": finding.size_bytes,
        "media": row["media"] or "none",
        "status": "refused" if finding.facts is None else "ready",
        "reason": finding.reason,
        "licence": str(finding.human.get("licence", finding.human.get("license", ""))),
        "source_kind": kind if kind in SOURCE_KINDS else "unknown",
        "human_caption": canonical_json(finding.human),
        # The sidecar is left out on purpose: a new caption must not make shots, scores and latents stale.
        "provenance": provenance(CODE_VERSION, {}, [str(finding.source_id)]),
    }


def _odd_kind(human: Mapping[str, Any]) -> list[str]:
    kind = human.get("source_kind", "unknown")
    if kind in SOURCE_KINDS:
        return []
    return [f"source_kind {kind!r} of the sidecar taken as 'unknown'; known: {', '.join(SOURCE_KINDS)}"]


def _storable(text: str) -> str:
    """The text without halves of surrogate pairs, which decoders' messages may contain and no table takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _file_row(
    batch: str, file: Mapping[str, Any], *, status: str, source_id: str | None = None, reason: str = ""
) -> dict[str, Any]:
    identity = {name: file[name] for name in _IDENTITY}
    parents = [source_id] if source_id else []
    return {
        "batch": batch, **identity, "source_id": source_id, "status": status, "reason": reason,
        "provenance": provenance(CODE_VERSION, identity, parents),
    }  # fmt: skip


def _summary(batch: str, outcomes: Mapping[str, Mapping[str, Any]]) -> BatchSummary:
    by_status: dict[str, dict[str, str]] = {"ready": {}, "duplicate": {}, "refused": {}}
    for uri, outcome in outcomes.items():
        by_status[outcome["status"]][uri] = outcome["reason"]
    return BatchSummary(
        batch=batch,
        num_ready=len(by_status["ready"]),
        num_duplicates=len(by_status["duplicate"]),
        num_refused=len(by_status["refused"]),
        refused=by_status["refused"],
        notes={uri: reason for uri, reason in by_status["ready"].items() if reason},
    )
