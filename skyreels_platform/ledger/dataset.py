"""One table on disk or S3: a Lance data set that changes by compare-and-swap of its whole list of fragments.

Lance's own writers are optimistic in a way that a ledger must not be: two `merge_insert` that start from one version both
succeed when they insert the same new key, and the table holds it twice. So every change here is an Overwrite of the fragment
list on top of the version that it was planned on, with `max_retries=0`: Lance then commits only as exactly the next version
(rename without replacement on disk, conditional put on S3) and else raises a conflict, upon which the change is planned anew.
Fragments that a change does not touch keep their data files. A killed writer leaves the old version in force, and files that
Lance removes after a week.

Which partitions (batches, stages, runs) a fragment holds is written down with every version, in the metadata of its schema: work
on one batch opens the files of that batch, however many other batches there are.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.tables import TableSpec

NUM_ATTEMPTS = 200  # each lost race means that another writer got through, so this many writers can start at once
KEEP_VERSIONS_S = 7 * 24 * 3600
CLEAN_EVERY = 100  # commits
_HELD = b"partitions"  # of the schema's metadata: first data file of a fragment -> partitions that it holds rows of


@dataclass(frozen=True, kw_only=True)
class Change:
    """Fragments to drop and rows to write, in one commit."""

    drop: set[int]
    """Fragment ids; rows of theirs that stay must be among `add`."""
    add: pa.Table


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """Where one table lives."""

    spec: TableSpec
    uri: str
    storage_options: dict[str, str] | None

    def open(self) -> Any | None:
        """The latest version as a `lance.LanceDataset`, with the schema's columns; None if the table was never written."""
        import lance

        try:
            dataset = lance.dataset(self.uri, storage_options=self.storage_options)
        except ValueError as error:
            if "was not found" in str(error):
                return None
            raise LedgerError(f"{self.uri}: {error}; check endpoint, credentials and bucket") from error
        except OSError as error:
            raise LedgerError(f"{self.uri}: the table cannot be read: {error}") from error
        return self._with_all_columns(dataset)

    def held(self, dataset: Any) -> dict[int, list[str]]:
        """Fragment id -> partitions that it holds rows of, and perhaps some more. Only fragments that an older version of this
        platform wrote are looked at; the next commit writes down what was found."""
        parts = dataset.get_fragments()
        if self.spec.partition is None:
            return {part.fragment_id: [] for part in parts}
        known: dict[str, list[str]] = json.loads((dataset.schema.metadata or {}).get(_HELD, b"{}"))
        return {
            part.fragment_id: known[name] if (name := _file_of(part.metadata)) in known else _look(dataset, part, self.spec.partition)
            for part in parts
        }

    def fragments_of(self, dataset: Any, partitions: Iterable[str]) -> list[Any]:
        """The fragments that may hold rows of some partitions."""
        wanted, held = set(partitions), self.held(dataset)
        return [part for part in dataset.get_fragments() if not wanted.isdisjoint(held[part.fragment_id])]

    def swap(self, plan: Callable[[Any], Change | None]) -> int:
        """Apply `plan(dataset)` to the latest version in one atomic commit; None changes nothing. Returns the version.

        `plan` is called again whenever another writer was faster, so what it checks holds in the version that is committed.
        """
        for attempt in range(NUM_ATTEMPTS):
            dataset = self.open()
            if dataset is None:
                dataset = self._create()
            change = plan(dataset)
            if change is None:
                return dataset.version
            version = self._commit(dataset, change)
            if version is not None:
                return version
            time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 6)))
        raise LedgerError(f"{self.uri}: {NUM_ATTEMPTS} commits were overtaken by others; write this table from fewer at once")

    def _commit(self, dataset: Any, change: Change) -> int | None:
        """The new version, or None if the data set is no longer at `dataset.version`."""
        from lance import LanceDataset, LanceOperation
        from lance.commit import CommitConflictError
        from lance.fragment import write_fragments

        kept = [fragment.metadata for fragment in dataset.get_fragments() if fragment.fragment_id not in change.drop]
        added = []
        if change.add.num_rows:
            data = change.add.select(dataset.schema.names).cast(dataset.schema)
            added = write_fragments(data, self.uri, mode="append", schema=dataset.schema, storage_options=self.storage_options)
        self._flush("data", [file.path for fragment in added for file in fragment.files])
        operation = LanceOperation.Overwrite(self._described(dataset, kept, added, change.add), kept + added)
        try:
            committed = LanceDataset.commit(
                self.uri, operation, read_version=dataset.version, max_retries=0, storage_options=self.storage_options
            )
        except CommitConflictError:
            return None
        self._flush("_versions", [f"{2**64 - 1 - committed.version:020d}.manifest"])
        return committed.version

    def _described(self, dataset: Any, kept: list[Any], added: list[Any], rows: pa.Table) -> pa.Schema:
        """The schema, with what each fragment holds in its metadata."""
        if self.spec.partition is None:
            return dataset.schema
        held = self.held(dataset)
        new = sorted(rows[self.spec.partition].unique().to_pylist())
        described = {_file_of(part): held[part.id] for part in kept} | {_file_of(part): new for part in added}
        return dataset.schema.with_metadata({_HELD: json.dumps(described, separators=(",", ":"))})

    def _create(self) -> Any:
        import lance
        from lance.dataset import AutoCleanupConfig

        cleanup = AutoCleanupConfig(interval=CLEAN_EVERY, older_than_seconds=KEEP_VERSIONS_S)
        empty = self.spec.schema.empty_table()
        options = self.storage_options
        with suppress(OSError):  # another writer may create it at this moment; any other trouble shows in the next line
            lance.write_dataset(empty, self.uri, mode="create", storage_options=options, auto_cleanup_options=cleanup)
        return lance.dataset(self.uri, storage_options=self.storage_options)

    def _with_all_columns(self, dataset: Any) -> Any:
        """Add columns that the platform has gained since the table was made (nulls, no data is rewritten)."""
        import lance

        stored = {field.name: field.type for field in dataset.schema}
        wanted = {field.name: field.type for field in self.spec.schema}
        for name, kind in stored.items():
            if wanted.get(name) != kind:
                raise LedgerError(
                    f"{self.uri}: the stored column {name!r} ({kind}) is not one of this version's; "
                    "use the platform version that wrote this home, or a new home"
                )
        missing = [field for field in self.spec.schema if field.name not in stored]
        if not missing:
            return dataset
        with suppress(OSError, ValueError):  # another process may add them at this moment
            dataset.add_columns(pa.schema(missing))
        dataset = lance.dataset(self.uri, storage_options=self.storage_options)
        if absent := [field.name for field in missing if field.name not in dataset.schema.names]:
            raise LedgerError(f"{self.uri}: the columns {absent} could not be added; check that the home is writable")
        return dataset

    def _flush(self, folder: str, names: list[str]) -> None:
        """Push files and their folder to the disk; Lance leaves them to the page cache."""
        if "://" in self.uri:  # an object is durable when its put returns
            return
        for path in [*(Path(self.uri, folder, name) for name in names), Path(self.uri, folder)]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _file_of(fragment: Any) -> str:
    """What names a fragment: the file that it was written to, which never changes."""
    return fragment.files[0].path


def _look(dataset: Any, part: Any, column: str) -> list[str]:
    found: set[str] = set()
    for rows in dataset.scanner(columns=[column], fragments=[part]).to_batches():
        found.update(rows[column].unique().to_pylist())
    return sorted(found)
