"""Fingerprints in LanceDB: one row per shot, and an index of all descriptors for neighbours.

    fingerprints   one row per shot, written by the pass that decodes its source
    descriptors    one row per distinct descriptor of a shot, written batch by batch when a batch is matched; has the ANN index

`descriptors` follows from `fingerprints` and is made again where it is lost. A batch is added to it at the cost of that batch: the
index is extended, and trained anew when the rows have grown by half, so that its cells keep their size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from skyreels_platform.curation.fingerprint import COLOUR_SIDE, DIMENSIONS, MIN_VECTORS, Fingerprint, unpack
from skyreels_platform.curation.tracks import Track
from skyreels_platform.ledger.provenance import hash_json

INDEX_FROM = 4_000
"""Descriptors below which a search looks at all of them, which costs as much as a look into PROBES cells then."""
GROWTH = 1.5
"""Times the rows of the last training after which the index is trained anew: what was added since lies in parts of its own."""
CELL_ROWS = 1_600
"""Descriptors per cell of the index after a training; it has half as many more before the next. A search compares a descriptor with every
cell's centre once for each part of the index, and an extension writes every cell: both grow with the store, less so in large cells."""
PROBES = 4
"""Cells that one search looks into."""

_SAME = 0.98  # cosine from which a descriptor of a shot is not indexed after the one before: a still shot has one
_LEAST_ASKED_HZ = 1.8  # descriptors a second from which every second one need not ask
_MERGED_BELOW = 7  # an added part of the index is merged with what comes after it unless it has more than so many times its rows
_FRAGMENT_ROWS = 4096  # of `fingerprints`: smaller pieces are put together, larger ones are never written again
_SHOTS = pa.schema([
    ("shot_id", pa.string()), ("batch", pa.string()), ("media", pa.string()), ("duration_s", pa.float64()),
    ("packed", pa.binary()), ("marks", pa.binary()), ("colours", pa.binary()),
    ("vectors", pa.binary()), ("provenance", pa.string()),
])  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StoredShot:
    """What is compared of one shot."""

    media: str
    """video | image."""
    track: Track


class Descriptors(NamedTuple):
    """What an index knows of some shots, and is asked for."""

    owners: list[str]
    """The shot of each, in order."""
    vectors: np.ndarray
    """(q, dimensions) float32 of unit length."""
    is_asked: np.ndarray
    """(q,) bool, whether it asks for its neighbours; of those half a second apart, every second one."""


class Neighbours(NamedTuple):
    """What an index answered: three arrays of one length."""

    rows: np.ndarray
    """(n,) int64, which of the vectors that were asked for."""
    shot_ids: np.ndarray
    """(n,) str, the shot whose descriptor is near."""
    cosines: np.ndarray
    """(n,) float."""

    @classmethod
    def none(cls) -> Self:
        """No answer."""
        return cls(np.zeros(0, np.int64), np.zeros(0, str), np.zeros(0))


class FingerprintStore:
    """The vectors of one home. Cheap to make; opens the database at first use."""

    def __init__(
        self, uri: str, storage_options: dict[str, str] | None = None, *, backend: str = "", dimensions: int = DIMENSIONS
    ) -> None:
        """uri: `<home>/vectors`, a folder or s3://bucket/prefix, the latter with Lance's storage_options. backend and dimensions:
        of a pretrained `embedding` that made the descriptors; they lie in tables of their own."""
        self.uri, self.backend, self.dimensions = uri, backend, dimensions
        self._storage_options = storage_options

    def put(self, rows: Sequence[Row]) -> bool:
        """Add rows of `fingerprint_row` with their `batch`; one whose shot is there takes its place. One atomic commit.

        Returns False, writing nothing, where the shots are there with this provenance already.
        """
        stored = self.standing([row["shot_id"] for row in rows])
        new = [row for row in rows if stored.get(row["shot_id"]) != row["provenance"]]
        if not new:
            return False
        table = self._table(self._name("fingerprints"), _SHOTS)
        content = pa.Table.from_pylist(new, schema=_SHOTS)
        if stored:
            table.merge_insert("shot_id").when_matched_update_all().when_not_matched_insert_all().execute(content)
        else:
            table.add(content)
        return True

    def standing(self, shot_ids: Iterable[str]) -> dict[str, str]:
        """shot id -> provenance of the stored fingerprint; shots without one are left out."""
        wanted = sorted(set(shot_ids))
        rows = self._read("fingerprints", f"shot_id IN ({_texts(wanted)})", ["shot_id", "provenance"]) if wanted else []
        return {row["shot_id"]: row["provenance"] for row in rows}

    def prune(self, batch: str, shot_ids: Iterable[str]) -> bool:
        """Remove the fingerprints of a batch's shots that are not among these. Returns whether there were any."""
        keep = set(shot_ids)
        stored = self._read("fingerprints", f"batch = {_texts([batch])}", ["shot_id"])
        gone = sorted({row["shot_id"] for row in stored} - keep)
        if gone:
            self._existing(self._name("fingerprints")).delete(f"shot_id IN ({_texts(gone)})")
        return bool(gone)

    def remove(self, shot_ids: Iterable[str]) -> int:
        """Remove fingerprints and descriptors of some shots. Returns how many fingerprints there were."""
        gone = sorted(self.standing(shot_ids))
        for name in ("fingerprints", "descriptors"):
            table = self._existing(self._name(name))
            if gone and table is not None:
                table.delete(f"shot_id IN ({_texts(gone)})")
        return len(gone)

    def batches(self) -> dict[str, str]:
        """batch -> hash of the provenance of its fingerprints, in order."""
        found: dict[str, list[list[str]]] = {}
        for row in self._read("fingerprints", None, ["batch", "shot_id", "provenance"]):
            found.setdefault(row["batch"], []).append([row["shot_id"], row["provenance"]])
        return {batch: hash_json(sorted(found[batch])) for batch in sorted(found)}

    def descriptors_of(self, batch: str) -> Descriptors:
        """Everything of a batch that is worth an index row, by shot."""
        owners: list[str] = []
        parts, asked = [np.zeros((0, self.dimensions), np.float32)], [np.zeros(0, bool)]
        rows = self._read("fingerprints", f"batch = {_texts([batch])}", ["shot_id", "duration_s", "vectors"])
        for row in sorted(rows, key=lambda row: row["shot_id"]):
            vectors = self._vectors(row)
            kept = _distinct(vectors)
            owners += [row["shot_id"]] * len(kept)
            parts.append(vectors[kept])
            asked.append(_asking(kept, len(vectors), row["duration_s"]))
        return Descriptors(owners, np.concatenate(parts), np.concatenate(asked))

    def vectors(self, shot_ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Shot id -> all descriptors of a shot, (m, dimensions); one that is not there is left out."""
        wanted = sorted(set(shot_ids))
        rows = self._read("fingerprints", f"shot_id IN ({_texts(wanted)})", ["shot_id", "vectors"]) if wanted else []
        return {row["shot_id"]: self._vectors(row) for row in rows}

    def load(self, shot_ids: Iterable[str]) -> dict[str, StoredShot]:
        """Stored fingerprints by shot id; one that is not there is left out."""
        wanted = sorted(set(shot_ids))
        columns = ["shot_id", "media", "packed", "marks", "colours"]
        rows = self._read("fingerprints", f"shot_id IN ({_texts(wanted)})", columns) if wanted else []
        return {row["shot_id"]: _stored(row) for row in rows}

    def search(self, vectors: np.ndarray, *, batch: str, count: int, near: float = -1.0) -> Neighbours:
        """The nearest descriptors among the batches before `batch`, at most `count` for each vector, of a cosine above `near`."""
        table = self._existing(self._name("descriptors"))
        parts = [Neighbours.none()]
        if table is None or not len(vectors):
            return parts[0]
        is_latest = table.count_rows() == self.num_before(batch)
        for first in range(0, len(vectors), 1024):
            query = table.search(list(vectors[first : first + 1024])).distance_type("l2").nprobes(PROBES).limit(count)
            query = query.distance_range(upper_bound=2 * (1 - near)) if near > -1 else query
            if not is_latest:
                query = query.where(f"batch < {_texts([batch])}", prefilter=True)
            rows = query.select(["shot_id", "_distance"]).to_arrow()
            numbers = rows["query_index"].to_numpy() if "query_index" in rows.column_names else np.zeros(rows.num_rows, int)
            ids = rows["shot_id"].to_numpy(zero_copy_only=False).astype(str)
            parts.append(Neighbours(numbers.astype(np.int64) + first, ids, 1 - rows["_distance"].to_numpy() / 2))
        return Neighbours(*map(np.concatenate, zip(*parts, strict=True)))

    def num_before(self, batch: str) -> int:
        """Descriptors that the batches before one have in the index."""
        table = self._existing(self._name("descriptors"))
        return 0 if table is None else table.count_rows(f"batch < {_texts([batch])}")

    def index(self, batch: str, owners: Sequence[str], vectors: np.ndarray) -> None:
        """Make these the only descriptors of a batch, and let the index know them."""
        schema = pa.schema([("shot_id", pa.string()), ("batch", pa.string()), ("vector", pa.list_(pa.float32(), self.dimensions))])
        table = self._table(self._name("descriptors"), schema)
        if table.count_rows(f"batch = {_texts([batch])}"):
            table.delete(f"batch = {_texts([batch])}")
        if len(owners):
            column = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors, np.float32).ravel()), self.dimensions)
            table.add(pa.table([pa.array(owners), pa.array([batch] * len(owners)), column], schema=schema))
        self._train_or_extend(table)
        shots = self._existing(self._name("fingerprints"))
        if shots is not None:
            shots.to_lance().optimize.compact_files(target_rows_per_fragment=_FRAGMENT_ROWS)

    def _train_or_extend(self, table: Any) -> None:
        """Lance keeps what is added in a part of the index of its own, and a search looks into the cells of every part. So parts are merged
        by size, which leaves few of them, and writes a row again only when what lies beside it has grown several times.
        """
        from lancedb.index import IvfFlat

        rows = table.count_rows()
        if rows < INDEX_FROM:
            return
        trained, *added = _index_parts(table) or [0]
        if rows >= GROWTH * trained:
            table.to_lance().optimize.compact_files()
            table.checkout_latest()
            config = IvfFlat(
                distance_type="l2", num_partitions=max(1, rows // CELL_ROWS), max_iterations=10, sample_rate=32
            )
            table.create_index("vector", config=config, replace=True)
        else:  # not LanceDB's own optimize(): it puts the rows' files together too, and searches are eight times slower after that
            merged, mass = 0, rows - trained - sum(added)
            while merged < len(added) and added[-1 - merged] <= _MERGED_BELOW * mass:
                mass += added[-1 - merged]
                merged += 1
            table.to_lance().optimize.optimize_indices(num_indices_to_merge=merged)

    def _vectors(self, row: Row) -> np.ndarray:
        return np.frombuffer(row["vectors"], "<f4").reshape(-1, self.dimensions)

    def _name(self, table: str) -> str:
        return f"{table}_{self.backend}" if self.backend else table

    @cached_property
    def _connection(self) -> Any:
        import lancedb

        if "://" not in self.uri:
            Path(self.uri).mkdir(parents=True, exist_ok=True)
        return lancedb.connect(self.uri, storage_options=self._storage_options)

    def _existing(self, name: str) -> Any:
        return self._connection.open_table(name) if name in self._connection.list_tables().tables else None

    def _table(self, name: str, schema: pa.Schema) -> Any:
        return self._connection.create_table(name, schema=schema, exist_ok=True)

    def _read(self, table: str, condition: str | None, columns: list[str]) -> list[dict[str, Any]]:
        opened = self._existing(self._name(table))
        return [] if opened is None else opened.to_lance().to_table(columns=columns, filter=condition).to_pylist()


def fingerprint_row(shot_id: str, fingerprint: Fingerprint, provenance: str) -> Row:
    """A row of `fingerprints`, but for its batch; plain values, so that a worker can send it."""
    return {
        "shot_id": shot_id, "media": fingerprint.media, "duration_s": float(fingerprint.duration_s), "packed": fingerprint.to_bytes(),
        "marks": fingerprint.marks.astype("<i4").tobytes(), "colours": fingerprint.colours.tobytes(),
        "vectors": fingerprint.vectors.astype("<f4").tobytes(), "provenance": provenance,
    }  # fmt: skip


def _stored(row: Row) -> StoredShot:
    times, pictures = unpack(row["packed"])
    colours = np.frombuffer(row["colours"], np.uint8).reshape(-1, COLOUR_SIDE, COLOUR_SIDE, 2)
    track = Track(times, pictures, marks=np.frombuffer(row["marks"], "<i4"), colours=colours)
    return StoredShot(media=row["media"], track=track)


def _index_parts(table: Any) -> list[int]:
    """Rows of each part of the index, the trained one first; none without an index. Not from Lance's statistics of the index: they hold
    every cell's centre as a list of Python's, 0.2 s for each part of 1,500 cells."""
    data = table.to_lance()
    found = [index for index in data.describe_indices() if index.field_names == ["vector"]]
    rows = {fragment.fragment_id: fragment.count_rows() for fragment in data.get_fragments()} if found else {}
    parts = sorted(found[0].segments, key=lambda part: (part.created_at, part.dataset_version_at_last_update)) if found else []
    return [sum(rows.get(fragment, 0) for fragment in part.fragment_ids) for part in parts]


def _distinct(vectors: np.ndarray) -> np.ndarray:
    """Positions of the descriptors that differ from the last one kept before them."""
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if not kept or float(np.dot(vectors[kept[-1]], vector)) < _SAME:
            kept.append(place)
    return np.array(kept, np.int64)


def _asking(kept: np.ndarray, count: int, duration_s: float) -> np.ndarray:
    """Which of the kept positions among `count` descriptors ask: not every second one, where it stands for half a second only.

    A part that two shots share for a second holds one that asks then, and the index knows them all.
    """
    asks = np.ones(len(kept), bool)
    if len(kept) <= MIN_VECTORS or count < _LEAST_ASKED_HZ * duration_s:
        return asks
    ends = np.append(kept[1:], count)
    for place in range(1, len(kept)):
        asks[place] = not (asks[place - 1] and ends[place - 1] - kept[place - 1] == 1 and ends[place] - kept[place] == 1)
    return asks


def _texts(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
