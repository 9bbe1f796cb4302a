"""The ledger: typed tables that remember every source, shot, score, snapshot, checkpoint and film.

A batch or stage is written as a whole: `replace` swaps all rows of one partition in one commit, so a reader sees the old rows
or the new ones. Writing what is already there makes no new version; a re-run is a no-op. Any number of processes may write.

    ledger = Ledger("/data/home/ledger")
    ledger.replace("shots", "b000001", rows)
    ledger.rows("shots", {"batch": "b000001"}, ["shot_id", "start_s"])
    ledger.query("SELECT source_id, count(*) AS num_shots FROM shots GROUP BY ALL")
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute when it is imported, out of sight of a type checker.

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.dataset import Change, TableFile
from skyreels_platform.ledger.rows import Rows, check_columns, check_rows, nearest, sort_by_key
from skyreels_platform.ledger.tables import TABLES, TableSpec

Where = str | Mapping[str, Any] | None
"""Which rows: an SQL condition, or column -> value, None for null, or a list of values, any of which may hold."""

SMALL_FRAGMENT = 1024
"""Rows. Fragments below this size are written together, so that thousands of small commits do not leave thousands of files."""


class Ledger:
    """All tables below one folder or s3:// prefix. Holds no connection: cheap to make, safe to share and to pickle."""

    def __init__(self, uri: str | Path, storage_options: dict[str, str] | None = None) -> None:
        """`storage_options` are Lance's, for s3:// only (`resources.object_store.lance_options`)."""
        self.uri = str(uri).rstrip("/")
        if "://" not in self.uri:
            self.uri = str(Path(self.uri).expanduser().absolute())
        self.storage_options = storage_options

    def rows(self, table: str, where: Where = None, columns: Iterable[str] | None = None) -> pa.Table:
        """Rows in key order. A table that was never written is empty. Raises LedgerError on unknown tables or columns."""
        spec = _spec(table)
        wanted = list(spec.schema.names if columns is None else columns)
        check_columns(spec, wanted)
        condition = _condition(spec, where)
        file = self._file(spec)
        dataset = file.open()
        parts = None if dataset is None else _parts_of(file, dataset, where)
        if dataset is None or parts == []:
            return spec.schema.empty_table().select(wanted)
        columns = list(dict.fromkeys([*wanted, *spec.key]))
        try:
            found = dataset.scanner(columns=columns, filter=condition, fragments=parts).to_table().replace_schema_metadata()
        except (ValueError, OSError) as error:
            raise LedgerError(f"{table}: rows where {condition} cannot be read: {error}") from error
        return sort_by_key(spec, found).select(wanted)

    def replace(self, table: str, partition_value: str, rows: Rows, *, only_if_absent: bool = False) -> int:
        """Make `rows` the only rows of one partition (a batch, stage or run), in one atomic commit. Returns the table's version.

        Raises LedgerError, changing nothing: a row of another partition, a key that another partition owns, a row that does
        not fit the schema, and with `only_if_absent` a partition that already has other rows.
        """
        spec = _spec(table)
        if spec.partition is None:
            raise LedgerError(f"{table} is not partitioned; use merge")
        new = check_rows(spec, rows)
        for value in pc.unique(new[spec.partition]).to_pylist():
            if value != partition_value:
                raise LedgerError(f"{table}.{spec.partition} = {value!r} in a replacement of {partition_value!r}; write it apart")
        inside = _condition(spec, {spec.partition: partition_value})
        file = self._file(spec)

        def plan(dataset: Any) -> Change | None:
            parts = file.fragments_of(dataset, [partition_value])
            stored = _scan(dataset, spec, parts, filter=inside)
            if sort_by_key(spec, stored.select(spec.schema.names)).equals(new):
                return None
            if only_if_absent and stored.num_rows:
                raise LedgerError(f"{table}: {inside} already has {stored.num_rows} rows")
            if spec.partition not in spec.key and not spec.is_inherited:
                _refuse_foreign_keys(spec, _find_keys(dataset, spec, new, dataset.get_fragments(), f"NOT ({inside})"))
            touched = _fragments(stored["_rowaddr"])
            touched |= _small(dataset, touched, new.num_rows)
            stays = _scan(dataset, spec, _select(dataset, touched), filter=f"NOT ({inside})")
            return Change(drop=touched, add=pa.concat_tables([stays.select(spec.schema.names), new]))

        return file.swap(plan)

    def merge(self, table: str, rows: Rows) -> int:
        """Add rows; a row whose key is there takes its place. One atomic commit. Returns the table's version.

        Raises LedgerError, changing nothing, when a row does not fit the schema or its key is owned by another partition.
        """
        spec = _spec(table)
        new = check_rows(spec, rows)
        file = self._file(spec)

        def plan(dataset: Any) -> Change | None:
            is_confined = spec.partition is not None and (spec.is_inherited or spec.partition in spec.key)
            own = file.fragments_of(dataset, new[str(spec.partition)].unique().to_pylist()) if is_confined else dataset.get_fragments()
            found = _find_keys(dataset, spec, new, own, None)
            if spec.partition is not None and spec.partition not in spec.key:
                mine = new.select([*spec.key, spec.partition])
                _refuse_foreign_keys(spec, found.join(mine, [*spec.key, spec.partition], join_type="left anti"))
            touched = _fragments(found["_rowaddr"])
            if spec.partition is None:
                touched |= {part.fragment_id for part in dataset.get_fragments() if part.count_rows() < SMALL_FRAGMENT}
            else:
                touched |= _small(dataset, touched, new.num_rows, {part.fragment_id for part in own} if is_confined else set())
            stored = _scan(dataset, spec, _select(dataset, touched))
            is_old = pc.is_in(stored["_rowaddr"], value_set=found["_rowaddr"])
            stored = stored.select(spec.schema.names)
            if sort_by_key(spec, stored.filter(is_old)).equals(new):
                return None
            return Change(drop=touched, add=pa.concat_tables([stored.filter(pc.invert(is_old)), new]))

        return file.swap(plan)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a SELECT over all tables in DuckDB; `$name` in the text stands for a parameter. Without ORDER BY, in no order.

        Only the tables that the text names are opened, and only their needed columns and rows are read. Files and the network
        are out of reach. Raises LedgerError on SQL that cannot run.
        """
        import duckdb

        settings: dict[str, Any] = {"enable_external_access": False, "python_enable_replacements": False}
        with duckdb.connect(":memory:", config=settings) as connection:
            try:
                if any(statement.type.name not in ("SELECT", "EXPLAIN") for statement in connection.extract_statements(sql)):
                    raise LedgerError(f"not a SELECT: {sql}")
                # by words: get_table_names() binds the text, and so fails on parameters and on columns of tables not yet there
                for name in sorted(set(re.findall(r"\w+", sql.lower())) & TABLES.keys()):
                    dataset = self._file(TABLES[name]).open()
                    connection.register(name, TABLES[name].schema.empty_table() if dataset is None else dataset)
                return connection.sql(sql, params=parameters).to_arrow_table()
            except duckdb.CatalogException as error:
                missing = re.search(r"Table with name (\w+) does not exist", str(error))
                raise LedgerError(f"no table {missing[1]!r}; {nearest(missing[1], TABLES)}" if missing else str(error)) from error
            except duckdb.Error as error:
                raise LedgerError(str(error)) from error

    def version(self, table: str) -> int:
        """Number of the table's latest version; 0 if it was never written. Grows with every change."""
        dataset = self._file(_spec(table)).open()
        return 0 if dataset is None else dataset.version

    def _file(self, spec: TableSpec) -> TableFile:
        return TableFile(spec=spec, uri=f"{self.uri}/{spec.name}.lance", storage_options=self.storage_options)


def _spec(table: str) -> TableSpec:
    if table not in TABLES:
        raise LedgerError(f"no table {table!r}; {nearest(table, TABLES)}")
    return TABLES[table]


def _condition(spec: TableSpec, where: Where) -> str | None:
    if where is None or isinstance(where, str):
        return where
    check_columns(spec, where)
    return " AND ".join(_equals(column, value) for column, value in where.items()) or None


def _equals(column: str, value: Any) -> str:
    if value is None:
        return f"{column} IS NULL"
    if isinstance(value, list | tuple | set | frozenset):
        return f"{column} IN ({', '.join(_literal(item) for item in sorted(value))})" if value else "false"
    return f"{column} = {_literal(value)}"


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()


def _parts_of(file: TableFile, dataset: Any, where: Where) -> list[Any] | None:
    """The fragments that can hold the rows; None for all of them."""
    column = file.spec.partition
    if column is None or where is None or isinstance(where, str) or where.get(column) is None:
        return None
    value = where[column]
    return file.fragments_of(dataset, value if isinstance(value, list | tuple | set | frozenset) else [value])


def _scan(dataset: Any, spec: TableSpec, parts: list[Any], **options: Any) -> pa.Table:
    """All columns and the row addresses of some fragments' rows."""
    if not parts:
        return pa.schema([*spec.schema, pa.field("_rowaddr", pa.uint64())]).empty_table()
    return dataset.scanner(with_row_address=True, fragments=parts, **options).to_table().replace_schema_metadata()


def _find_keys(dataset: Any, spec: TableSpec, rows: pa.Table, parts: list[Any], condition: str | None) -> pa.Table:
    """Key, partition and row address of the rows in some fragments that have the key of one of `rows`. Streams the key columns."""
    columns = list(dict.fromkeys([*spec.key, *([spec.partition] if spec.partition else [])]))
    first = rows[spec.key[0]]
    schema = pa.schema([*(spec.schema.field(column) for column in columns), pa.field("_rowaddr", pa.uint64())])
    scanned = dataset.scanner(columns=columns, filter=condition, with_row_address=True, fragments=parts).to_batches() if parts else []
    batches = [batch.filter(pc.is_in(batch[spec.key[0]], value_set=first)) for batch in scanned]
    found = pa.Table.from_batches(batches).cast(schema) if batches else schema.empty_table()
    return found.join(rows.select(list(spec.key)), list(spec.key), join_type="left semi")


def _refuse_foreign_keys(spec: TableSpec, found: pa.Table) -> None:
    if found.num_rows:
        row = found.slice(0, 1).to_pylist()[0]
        key = ", ".join(f"{column} = {row[column]!r}" for column in spec.key)
        raise LedgerError(f"{spec.name}: {key} belongs to {spec.partition} = {row[str(spec.partition)]!r}, which keeps it")


def _fragments(addresses: pa.ChunkedArray) -> set[int]:
    """Ids of the fragments that hold these rows: the upper 32 bits of a row's address."""
    return set(pc.unique(pc.shift_right(addresses, pa.scalar(32, pa.uint64()))).to_pylist())


def _small(dataset: Any, touched: set[int], num_new: int, own: Iterable[int] = ()) -> set[int]:
    """Fragments that a change of a partitioned table takes in, so that many small commits do not leave as many files.

    Taken are, from the smallest on, those that are no larger than what is written anyway: a row is written again only into a
    fragment of twice the size, and there are as many sizes as powers of two. Fragments of `own` partitions may have any size, others
    are left alone from SMALL_FRAGMENT rows on.
    """
    sizes = sorted((part.count_rows(), part.fragment_id) for part in dataset.get_fragments())
    written = num_new + sum(size for size, number in sizes if number in touched)
    own, taken = set(own), set()
    for size, number in sizes:
        if size > written:
            break
        if number not in touched and (size < SMALL_FRAGMENT or number in own):
            taken.add(number)
            written += size
    return taken


def _select(dataset: Any, fragment_ids: set[int]) -> list[Any]:
    return [fragment for fragment in dataset.get_fragments() if fragment.fragment_id in fragment_ids]
