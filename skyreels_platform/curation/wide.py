"""Scores as columns: one row per shot with one number per signal, so that a pool is judged in array operations.

The ledger's table `scores` has one row per shot and signal; a million shots are tens of millions of rows, too many to look at again for
each threshold that somebody tries. What is derived here is kept in the store, one Arrow file per ingest batch, uncompressed and mapped
into memory: only the columns that bounds name are ever read. Encoding of a number: finite is measured, NaN is unknown (no score, too),
infinity is not applicable.

Never stale: the index names the data files of the ledger's fragments that each batch was made from. Lance never changes a data file
under its name, so a batch is as it was if and only if its files are; every other batch is made again before anything is answered.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute when it is imported, out of sight of a type checker.

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyreels_platform.captioning.schema import concept_of
from skyreels_platform.curation.signals import synthetic
from skyreels_platform.errors import SourceError
from skyreels_platform.home import Home
from skyreels_platform.ledger.dataset import TableFile
from skyreels_platform.ledger.provenance import hash_json
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.progress import track

DUPLICATE = "duplicate"
"""What a bound on copies is called: the similarity of a shot to the one that is kept in its place; not applicable to other shots."""
NO_CAPTION = "no caption"
"""Concept of a shot that has none."""

_LAYOUT = 2  # of the files; another one is made again
_FOLDER = "derived/wide_scores"
_INDEX = f"{_FOLDER}/index.json"
_PREFIX = "score."  # of a signal's column
_COLUMNS = {
    "shots": ["shot_id", "start_s", "end_s", "provenance"],
    "scores": ["shot_id", "signal", "value", "unit", "outcome", "reason", "provenance"],
    "captions": ["shot_id", "structured"],
}
_COPY_COLUMNS = ["shot_id", "kept_id", "similarity", "provenance"]


@dataclass(frozen=True, kw_only=True)
class WideScores:
    """Shots and everything that a pool may ask of them, by row."""

    table: pa.Table
    """`shot_id`, `seconds`, `concept`, `notes` and a column per signal."""
    units: dict[str, str | None]
    """Signal -> unit."""
    copies: pa.Table
    """`shot_id`, `kept_id`, `similarity` of the shots that repeat one that is kept."""
    provenance: list[str]
    """Of what the rows were made from, sorted."""

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def signals(self) -> list[str]:
        """Names of the signals that some shot has a score of, sorted."""
        return sorted(name.removeprefix(_PREFIX) for name in self.table.column_names if name.startswith(_PREFIX))

    @property
    def seconds(self) -> np.ndarray:
        """(rows,) float64: length of each shot; 0 for an image."""
        return self.table["seconds"].to_numpy()

    def pieces(self, signal: str) -> list[np.ndarray]:
        """The signal's column in consecutive float64 pieces: finite where measured, NaN where unknown, infinity where not applicable.

        Pieces are small enough for the processor's cache and lie in the mapped file; joined they would have to be copied.
        """
        if signal == DUPLICATE:
            return [self._similarity]
        if _PREFIX + signal not in self.table.column_names:
            return [np.full(len(self), np.nan)]
        return [piece.to_numpy(zero_copy_only=False) for piece in self.table[_PREFIX + signal].chunks]

    def values(self, signal: str, rows: np.ndarray) -> list[float]:
        """The numbers of these rows, which must ascend (as everywhere below)."""
        return np.concatenate([np.empty(0), *self.pieces(signal)])[rows].tolist()

    def shot_ids(self, rows: np.ndarray) -> list[str]:
        """Ids of these rows."""
        return _take(self.table["shot_id"], rows).to_pylist()

    def notes(self, rows: np.ndarray) -> list[dict[str, str]]:
        """Per row: signal -> what its score says beside the number, such as why it is unknown."""
        nothing: dict[str, str] = {}
        return [json.loads(text) if text else nothing for text in _take(self.table["notes"], rows).to_pylist()]

    def kept_ids(self, rows: np.ndarray) -> list[str | None]:
        """Per row the shot that is kept in its place, None where it is no copy."""
        found = pc.index_in(_take(self.table["shot_id"], rows), value_set=self.copies["shot_id"])
        return self.copies["kept_id"].take(found).to_pylist()

    def concepts(self, is_wanted: np.ndarray) -> dict[str, int]:
        """Concept -> how many of the wanted rows (a mask) have it, most frequent first."""
        column = self.table["concept"].unify_dictionaries().combine_chunks()
        names = column.dictionary.to_pylist()
        counts = np.bincount(column.indices.to_numpy(zero_copy_only=False)[is_wanted], minlength=len(names)).tolist()
        found = [(name, count) for name, count in zip(names, counts, strict=True) if count]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))

    def only(self, shot_ids: pa.Array | pa.ChunkedArray) -> Self:
        """The rows of these shots alone."""
        return replace(self, table=self.table.filter(pc.is_in(self.table["shot_id"], value_set=shot_ids)))

    @cached_property
    def _similarity(self) -> np.ndarray:
        values = np.full(len(self), np.inf)
        if self.copies.num_rows:
            place = pc.index_in(self.table["shot_id"], value_set=self.copies["shot_id"])
            rows = np.flatnonzero(place.is_valid().to_numpy())
            values[rows] = self.copies["similarity"].fill_null(1.0).to_numpy()[place.drop_null().to_numpy()]
        return values


def load_wide(home: Home) -> WideScores:
    """Every shot of the home's ledger, after making again whatever has changed since the last time (with a progress bar)."""
    datasets = {name: _file(home, name).open() for name in _COLUMNS}
    files = {name: _data_files(dataset) for name, dataset in datasets.items()}
    index = _read_index(home)
    parts = {batch: _open(home, key) for batch, key in index["parts"].items()}
    stale = {batch for batch, part in parts.items() if part is None}
    holds: dict[str, dict[str, list[str]]] = {}
    for name, found in files.items():
        known = index["files"].get(name, {})
        holds[name] = {file: known[file] if file in known else _batches_in(datasets[name], part) for file, part in found.items()}
        changed = [holds[name][file] for file in found.keys() - known.keys()] + [known[file] for file in known.keys() - found.keys()]
        stale.update(batch for batches in changed for batch in batches)
    if stale:
        keys = dict(index["parts"])
        for batch in track(sorted(stale), "scores by shot"):
            rows = {
                name: _rows_of(datasets[name], [files[name][file] for file, held in holds[name].items() if batch in held], name, batch)
                for name in _COLUMNS
            }
            parts.pop(batch, None)
            keys.pop(batch, None)
            if rows["shots"].num_rows:
                keys[batch], parts[batch] = _write(home, batch, widen(rows["shots"], rows["scores"], rows["captions"]))
        _write_index(home, {"layout": _LAYOUT, "files": holds, "parts": keys})
        for key in set(index["parts"].values()) - set(keys.values()):
            home.store.delete(key)
    return _joined([part for _, part in sorted(parts.items()) if part is not None], _copies(home))


def wide_of_batch(home: Home, batch: str) -> WideScores:
    """The shots of one batch, made now and not kept."""
    rows = {name: home.ledger.rows(name, {"batch": batch}, columns) for name, columns in _COLUMNS.items()}
    return _joined([widen(rows["shots"], rows["scores"], rows["captions"])], _copies(home))


def wide_of_scores(scores: pa.Table, shot_ids: Iterable[str] = ()) -> WideScores:
    """Rows of the table `scores`, of any batches, with shots that may lack a score; no lengths, captions or copies."""
    names = pa.array(sorted({*shot_ids, *scores["shot_id"].unique().to_pylist()}), pa.string())
    zero = pa.array(np.zeros(len(names)))
    shots = pa.table({"shot_id": names, "start_s": zero, "end_s": zero, "provenance": pa.nulls(len(names), pa.string())})
    return _joined([widen(shots, scores, pa.table({"shot_id": pa.array([], pa.string()), "structured": pa.array([], pa.string())}))], None)


def widen(shots: pa.Table, scores: pa.Table, captions: pa.Table) -> pa.Table:
    """One row per shot, by id. Scores and captions of other shots are left out.

    Where a caption names the kind of its source, the score `synthetic` follows it (`signals.synthetic`).
    """
    shots = shots.sort_by("shot_id").combine_chunks()
    scores, named = _with_captions(scores, captions)
    row = pc.index_in(scores["shot_id"], value_set=shots["shot_id"])
    scores = scores.select(["signal", "value", "unit", "outcome", "reason", "provenance"]).append_column("row", row)
    scores = scores.filter(pc.is_valid(row)).combine_chunks()
    signal = scores["signal"].combine_chunks().dictionary_encode()
    if isinstance(signal, pa.ChunkedArray):
        signal = signal.combine_chunks()
    names = signal.dictionary.to_pylist()
    rows, signals = scores["row"].to_numpy(), signal.indices.to_numpy(zero_copy_only=False)
    values = np.full((len(names), shots.num_rows), np.nan)
    values[signals, rows] = _encoded(scores)
    columns = {_PREFIX + name: pa.array(values[number]) for number, name in sorted(enumerate(names), key=lambda pair: pair[1])}
    table = pa.table({
        "shot_id": shots["shot_id"],
        "seconds": pc.fill_null(pc.subtract(shots["end_s"], shots["start_s"]), 0.0),
        "concept": _concepts(shots["shot_id"], captions), "notes": _notes(scores, shots.num_rows), **columns,
    })  # fmt: skip
    parents = {*shots["provenance"].unique().to_pylist(), *scores["provenance"].unique().to_pylist(), named} - {None, ""}
    about = {"units": _units(scores), "provenance": hash_json(sorted(parents))}
    return table.replace_schema_metadata({"wide": json.dumps(about)})


def spread(rows: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the rows, evenly spread, first and last included. Ids are hashes, so this is a fair sample, and the same each
    time."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int))] if len(rows) else rows


def _encoded(scores: pa.Table) -> np.ndarray:
    value = scores["value"].cast(pa.float64()).to_numpy()  # null becomes NaN
    outcome = scores["outcome"]
    value = np.where(pc.equal(outcome, "measured").fill_null(False).to_numpy() & np.isfinite(value), value, np.nan)
    return np.where(pc.equal(outcome, "not_applicable").fill_null(False).to_numpy(), np.inf, value)


def _notes(scores: pa.Table, num_rows: int) -> pa.Array:
    """JSON per row: signal -> why it is unknown, or a remark on what was measured; null where there is nothing to say."""
    is_known = pc.and_(pc.equal(scores["outcome"], "measured"), pc.is_finite(scores["value"])).fill_null(False)
    has_reason = pc.greater(pc.utf8_length(scores["reason"]), 0).fill_null(False)
    spoken = scores.filter(pc.or_(has_reason, pc.and_(pc.invert(is_known), pc.not_equal(scores["outcome"], "not_applicable"))))
    found: dict[int, dict[str, str]] = {}
    for row, signal, value, reason in zip(*(spoken[name].to_pylist() for name in ("row", "signal", "value", "reason")), strict=True):
        found.setdefault(row, {})[signal] = reason or f"the score is {value}"
    texts: list[str | None] = [None] * num_rows
    for row, note in found.items():
        texts[row] = json.dumps(note, sort_keys=True)
    return pa.array(texts, pa.string())


def _units(scores: pa.Table) -> dict[str, str | None]:
    pairs = scores.group_by(["signal"]).aggregate([("unit", "max")])
    return dict(zip(pairs["signal"].to_pylist(), pairs["unit_max"].to_pylist(), strict=True))


def _with_captions(scores: pa.Table, captions: pa.Table) -> tuple[pa.Table, str]:
    """The scores, those of `synthetic` changed where a caption speaks; and a hash of what the captions say, empty for nothing."""
    said, place = _by_text(captions, scores["shot_id"], lambda text: synthetic.named_kind(json.loads(text)))
    if not said.null_count < len(said):
        return scores, ""
    word = said.take(place)
    is_said = pc.and_(pc.equal(scores["signal"], synthetic.Synthetic.name), pc.is_valid(word)).combine_chunks()
    said_of = pa.table({"shot_id": scores["shot_id"], "word": word}).filter(is_said).sort_by("shot_id").to_pylist()
    texts = pa.array([synthetic.remark(text) if text else None for text in word.to_pylist()], pa.string())
    for name, spoken in (("value", 1.0), ("outcome", "measured"), ("reason", texts)):
        number = scores.column_names.index(name)
        column = pc.if_else(is_said, spoken, scores[name]).cast(scores.schema.field(name).type)
        scores = scores.set_column(number, scores.schema.field(name), column)
    return scores, hash_json(said_of) if said_of else ""


def _by_text(captions: pa.Table, shot_ids: pa.ChunkedArray, read: Callable[[str], str | None]) -> tuple[pa.Array, pa.Array]:
    """What `read` makes of each different caption, and per shot where its answer stands (null: no caption)."""
    texts = captions["structured"].combine_chunks().dictionary_encode()  # captions of rules repeat: each text is read once
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    by_text = pa.array([read(text) for text in texts.dictionary.to_pylist()], pa.string())
    place = pc.index_in(shot_ids, value_set=captions["shot_id"])
    return by_text, texts.indices.take(place.combine_chunks() if isinstance(place, pa.ChunkedArray) else place)


def _concepts(shot_ids: pa.ChunkedArray, captions: pa.Table) -> pa.Array:
    by_text, place = _by_text(captions, shot_ids, lambda text: concept_of(json.loads(text)))
    return by_text.take(place).fill_null(NO_CAPTION).dictionary_encode()


def _take(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Ascending rows of a column, chunk by chunk; Arrow's own `take` would first put all chunks of text into one."""
    starts = np.cumsum([0, *map(len, column.chunks)])
    bounds = np.searchsorted(rows, starts)
    taken = [
        chunk.take(pa.array(rows[first:last] - start))
        for chunk, start, first, last in zip(column.chunks, starts, bounds, bounds[1:], strict=False) if first < last
    ]
    return pa.chunked_array(taken, type=column.type)


def _joined(parts: list[pa.Table], copies: pa.Table | None) -> WideScores:
    """The parts as one table; a signal that a part lacks is unknown there."""
    about = [json.loads(metadata[b"wide"]) for part in parts if (metadata := part.schema.metadata)]
    known = TABLES["duplicates"].schema.empty_table().select(_COPY_COLUMNS) if copies is None else copies
    empty = pa.table({
        "shot_id": pa.array([], pa.string()), "seconds": pa.array([], pa.float64()),
        "concept": pa.array([], pa.string()).dictionary_encode(), "notes": pa.array([], pa.string()),
    })  # fmt: skip
    return WideScores(
        table=pa.concat_tables(parts, promote_options="default") if parts else empty,
        units={signal: unit for one in about for signal, unit in one["units"].items()}, copies=known,
        provenance=sorted({one["provenance"] for one in about} | set(known["provenance"].unique().to_pylist())),
    )  # fmt: skip


def _copies(home: Home) -> pa.Table:
    return home.ledger.rows("duplicates", "shot_id != kept_id", _COPY_COLUMNS)


def _file(home: Home, name: str) -> TableFile:
    return TableFile(spec=TABLES[name], uri=f"{home.ledger.uri}/{name}.lance", storage_options=home.ledger.storage_options)


def _data_files(dataset: Any) -> dict[str, Any]:
    """What identifies a fragment's content -> the fragment."""
    if dataset is None:
        return {}
    parts = dataset.get_fragments()
    names = (" ".join(file.path for file in part.metadata.files) + str(part.metadata.deletion_file or "") for part in parts)
    return dict(zip(names, parts, strict=True))


def _batches_in(dataset: Any, part: Any) -> list[str]:
    found: set[str] = set()
    for rows in dataset.scanner(columns=["batch"], fragments=[part]).to_batches():
        found.update(rows["batch"].unique().to_pylist())
    return sorted(found)


def _rows_of(dataset: Any, fragments: list[Any], name: str, batch: str) -> pa.Table:
    if not fragments:
        return TABLES[name].schema.empty_table().select(_COLUMNS[name])
    condition = "batch = '" + batch.replace("'", "''") + "'"
    return dataset.scanner(columns=_COLUMNS[name], filter=condition, fragments=fragments).to_table().select(_COLUMNS[name])


def _write(home: Home, batch: str, table: pa.Table) -> tuple[str, pa.Table]:
    """Store one batch's rows under a name that says what is in them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    key = f"{_FOLDER}/{batch}-{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    if _open(home, key) is None:  # small batches may share a data file: one that only moved to another file is what it was
        home.store.write_bytes(key, data)
    return key, table


def _open(home: Home, key: str) -> pa.Table | None:
    """The stored rows, mapped into memory; None if the file is gone or damaged."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(home.fetch(key)))).read_all()
    except (OSError, SourceError, pa.ArrowInvalid):
        return None


def _read_index(home: Home) -> Mapping[str, Any]:
    """The index, or an empty one where there is none that this version can read."""
    if home.store.exists(_INDEX):
        index = json.loads(home.store.read_bytes(_INDEX))
        if index.get("layout") == _LAYOUT:
            return index
    return {"files": {}, "parts": {}}


def _write_index(home: Home, index: Mapping[str, Any]) -> None:
    home.store.write_bytes(_INDEX, json.dumps(index, sort_keys=True).encode())
