"""New footage under a watched folder or s3:// prefix, found a bounded part at a time and formed into batches.

    found = look(watch, cursor, ledger=..., open_store=..., now_s=time.time())
    found.batch, found.cursor

A look lists at most `list_limit` files from where the last one stopped, and begins again at the end: so a late file, whose name
sorts before the cursor, is found in the next sweep. In a sweep only files that arrived since the last one began, less `look_back_s`
for clocks and copies that keep an older time, are held against the ledger; once a day a sweep holds all of them against it, so that
nothing is lost for ever whatever its time. A file that is still being written waits: it is taken when two looks running see it with
the same size and time and it is older than `settle_s`. A batch is formed when it is full, when everything new has settled, or when
something has waited for `patience_s`.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from skyreels_platform.errors import SkyreelsError
from skyreels_platform.footage import Found, OpenStore, list_part
from skyreels_platform.ingest import register_batch, unregistered
from skyreels_platform.ledger.ledger import Ledger

DAY_S = 86400.0


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, and how much one look may do. All numbers are our choice."""

    uri: str
    """Folder or s3://bucket/prefix."""
    batch_size: int = 1000
    """Files of one batch, at most."""
    list_limit: int = 10_000
    """Files that one look lists, at most."""
    settle_s: float = 30.0
    """A file that was changed less than this many seconds ago may still be written."""
    look_back_s: float = DAY_S
    """Files that arrived up to this many seconds before the last sweep began are held against the ledger again."""
    patience_s: float = 900.0
    """Seconds after which settled files make a batch although others are still being written."""

    def __post_init__(self) -> None:
        if not self.uri:
            raise SkyreelsError("the watched folder has no name: set SKYREELS_WATCH to a folder or s3://bucket/prefix")
        if min(self.batch_size, self.list_limit) < 1:
            raise SkyreelsError(f"batch_size = {self.batch_size}, list_limit = {self.list_limit}: at least 1 is needed")


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """What one look tells the next. Small: names of files are hashed."""

    after: str = ""
    """The last name that was dealt with; empty at the start of a sweep."""
    seen: frozenset[str] = field(default_factory=frozenset)
    """Hashes of the new files, with size and time, that the last look saw and left."""
    waiting_since_s: float = 0.0
    """When the oldest of them was first seen (Unix time); 0 if none waits."""
    sweep_s: float = 0.0
    """When this sweep began."""
    swept_s: float = 0.0
    """When the last whole sweep began; 0 before the first."""
    full_s: float = 0.0
    """When the last sweep that held everything against the ledger began."""
    is_full: bool = True
    """Whether this sweep does."""

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """The cursor that `to_json` wrote; a new one for None."""
        if not text:
            return cls()
        values: dict[str, Any] = json.loads(text)
        seen = values.pop("seen")
        return cls(**values, seen=frozenset(seen.split()))

    def to_json(self) -> str:
        """One line of text; 13 characters for each file that waits."""
        return json.dumps({**asdict(self), "seen": " ".join(sorted(self.seen))})


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look found."""

    batch: str | None
    """The batch that was registered, None if there was nothing to take."""
    num_files: int
    """Files in it."""
    num_waiting: int
    """New files that are still being written, or were seen for the first time."""
    num_listed: int
    cursor: Cursor


def look(watch: Watch, cursor: Cursor, *, ledger: Ledger, open_store: OpenStore, now_s: float) -> Look:
    """List the next part, and register a batch of what has settled in it. Raises SourceError if the place cannot be listed."""
    if not cursor.after:
        cursor = replace(cursor, sweep_s=now_s, is_full=now_s - cursor.full_s >= DAY_S)
    part = list_part(watch.uri, after=cursor.after, limit=watch.list_limit, open_store=open_store)
    since_s = 0.0 if cursor.is_full else cursor.swept_s - watch.look_back_s
    recent = [found for found in part if found.changed_s is None or found.changed_s >= since_s or _digest(found) in cursor.seen]
    unknown = set(unregistered(ledger, [found.item for found in recent]))
    new = [found for found in recent if found.item in unknown]
    is_cut = len(new) > watch.batch_size
    new = new[: watch.batch_size]
    settled = [found for found in new if _is_settled(found, watch, cursor, now_s)]
    waiting_since_s = cursor.waiting_since_s or now_s
    is_late = now_s - waiting_since_s >= watch.patience_s
    taken = settled if len(settled) == len(new) or is_late else []
    left = [found for found in new if found not in taken]
    batch = register_batch(ledger, [found.item for found in taken]) if taken else None
    is_done = is_late or not left
    following = replace(cursor, seen=frozenset(map(_digest, left)), waiting_since_s=0.0 if is_done else waiting_since_s)
    if is_done:
        following = _advance(following, new[-1].name if is_cut else part[-1].name if len(part) == watch.list_limit else "")
    return Look(batch=batch, num_files=len(taken), num_waiting=len(left), num_listed=len(part), cursor=following)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one look at everything found."""

    batches: list[str]
    """Registered batches, in order."""
    num_waiting: int
    """New files that were changed too recently."""
    num_listed: int
    is_whole: bool
    """Whether everything was listed; if not, time or the number of batches ran out."""


def sweep(
    watch: Watch, *, ledger: Ledger, open_store: OpenStore, now_s: float, max_batches: int = 20, budget_s: float = 40.0
) -> Sweep:
    """Hold every file of the place against the ledger at once, without a cursor, and register what is new, batch by batch.

    There is no earlier look to compare with, so age alone must tell that a file is complete: choose `settle_s` in minutes. Ends
    early, saying so, after `max_batches` batches or `budget_s` seconds (our choice; a schedule's tick may take 60 s).
    """
    started = time.monotonic()
    after, batches, settled = "", [], []
    num_waiting = num_listed = 0
    is_last = False
    while not is_last and len(batches) < max_batches and time.monotonic() - started < budget_s:
        part = list_part(watch.uri, after=after, limit=watch.list_limit, open_store=open_store)
        is_last = len(part) < watch.list_limit
        after = part[-1].name if part else ""
        num_listed += len(part)
        unknown = set(unregistered(ledger, [found.item for found in part]))
        new = [found for found in part if found.item in unknown]
        ready = [found.item for found in new if found.changed_s is None or now_s - found.changed_s >= watch.settle_s]
        num_waiting += len(new) - len(ready)
        settled += ready
        while settled and (is_last or len(settled) >= watch.batch_size) and len(batches) < max_batches:
            batch = register_batch(ledger, settled[: watch.batch_size])
            settled = settled[watch.batch_size :]
            batches += [batch] if batch else []
    if settled and len(batches) < max_batches and (batch := register_batch(ledger, settled[: watch.batch_size])):
        batches.append(batch)
        settled = settled[watch.batch_size :]
    return Sweep(batches=batches, num_waiting=num_waiting, num_listed=num_listed, is_whole=is_last and not settled)


def unread_batches(watch: Watch, ledger: Ledger) -> list[str]:
    """Registered batches of the watched place of which no file was read yet, in order."""
    inside = watch.uri.rstrip("/") if "://" in watch.uri else os.path.normpath(Path(watch.uri).expanduser().absolute())
    rows = ledger.rows("files", {"status": "listed"}, ["batch", "uri"]).to_pylist()
    return sorted({row["batch"] for row in rows if row["uri"].startswith(f"{inside}/")})


def _advance(cursor: Cursor, after: str) -> Cursor:
    """On to the names after one, or, after the last one, to the next sweep."""
    if after:
        return replace(cursor, after=after)
    return replace(cursor, after="", swept_s=cursor.sweep_s, full_s=cursor.sweep_s if cursor.is_full else cursor.full_s)


def _is_settled(found: Found, watch: Watch, cursor: Cursor, now_s: float) -> bool:
    is_old = found.changed_s is None or now_s - found.changed_s >= watch.settle_s
    return is_old and _digest(found) in cursor.seen


def _digest(found: Found) -> str:
    text = f"{found.item.uri}\0{found.item.size_bytes}\0{found.item.modified}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
