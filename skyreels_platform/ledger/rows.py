"""Rows on their way into a table: checked against its schema, in key order, as Arrow."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute when it is imported, out of sight of a type checker.

import difflib
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.tables import TableSpec

Rows = pa.Table | Iterable[Mapping[str, Any]]


def check_rows(spec: TableSpec, rows: Rows) -> pa.Table:
    """The rows with the table's schema, sorted by key. A column that a row leaves out is null.

    Raises LedgerError, naming table, column and value: unknown columns, values of another type, NaN (write None for what is
    not known), nulls in the key, partition or provenance columns, and a key that comes twice.
    """
    table = _from_arrow(spec, rows) if isinstance(rows, pa.Table) else _from_mappings(spec, list(rows))
    for column in dict.fromkeys([*spec.key, *([spec.partition] if spec.partition else []), "provenance"]):
        if num_null := table[column].null_count:
            raise LedgerError(f"{spec.name}.{column} is missing in {num_null} of {table.num_rows} rows; every row needs it")
    for column in spec.schema.names:
        if pa.types.is_floating(table.schema.field(column).type) and pc.any(pc.is_nan(table[column])).as_py():
            raise LedgerError(f"{spec.name}.{column} = nan; write None for a value that is not known")
    table = sort_by_key(spec, table)
    _refuse_repeated_keys(spec, table)
    return table


def sort_by_key(spec: TableSpec, table: pa.Table) -> pa.Table:
    """The same rows in the order of the key columns, in one chunk, so that equal content compares equal."""
    return table.sort_by([(column, "ascending") for column in spec.key]).combine_chunks()


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known name most like `name`, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def check_columns(spec: TableSpec, columns: Iterable[str]) -> None:
    """Raise LedgerError on the first column that the table does not have."""
    for column in columns:
        if column not in spec.schema.names:
            raise LedgerError(f"{spec.name} has no column {column!r}; {nearest(column, spec.schema.names)}")


def _from_arrow(spec: TableSpec, table: pa.Table) -> pa.Table:
    check_columns(spec, table.column_names)
    columns = []
    for field in spec.schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        kind = table.schema.field(field.name).type
        if not _is_alike(kind, field.type):
            raise LedgerError(f"{spec.name}.{field.name} holds {field.type}, not {kind}")
        columns.append(table[field.name].cast(field.type))
    return pa.table(columns, schema=spec.schema)


def _is_alike(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of one type is a value of the other."""
    if pa.types.is_null(given):
        return True
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(given) or pa.types.is_large_list(given) or pa.types.is_fixed_size_list(given)
        return is_list and _is_alike(given.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
    if pa.types.is_integer(wanted):
        return pa.types.is_integer(given)
    return given == wanted or (pa.types.is_floating(given) and pa.types.is_floating(wanted))


def _from_mappings(spec: TableSpec, rows: list[Mapping[str, Any]]) -> pa.Table:
    check_columns(spec, dict.fromkeys(column for row in rows for column in row))
    return pa.table([_column(spec, field, [row.get(field.name) for row in rows]) for field in spec.schema], schema=spec.schema)


def _column(spec: TableSpec, field: pa.Field, values: list[Any]) -> pa.Array:
    for value in values:
        if value is not None and not _fits(value, field.type):
            raise LedgerError(f"{spec.name}.{field.name} = {value!r}: the column holds {field.type}")
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:  # beyond 64 bits, or half a surrogate pair
        raise LedgerError(f"{spec.name}.{field.name}: a value does not fit in {field.type}: {error}") from error


def _fits(value: Any, kind: pa.DataType) -> bool:
    """Whether a value is of a type. Arrow itself would cut 1.5 to 1, take True for 1 and split a text into a list of letters."""
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if pa.types.is_binary(kind):
        return isinstance(value, bytes)
    if pa.types.is_boolean(kind):
        return isinstance(value, bool | np.bool_)
    if pa.types.is_list(kind):
        return isinstance(value, list | tuple | np.ndarray) and all(_fits(item, kind.value_type) for item in value)
    number = numbers.Integral if pa.types.is_integer(kind) else numbers.Real
    return isinstance(value, number) and not isinstance(value, bool)


def _refuse_repeated_keys(spec: TableSpec, table: pa.Table) -> None:
    counts = table.select(list(spec.key)).group_by(list(spec.key)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.field("count_all") > 1)
    if repeated.num_rows:
        key = ", ".join(f"{column} = {repeated[column][0].as_py()!r}" for column in spec.key)
        raise LedgerError(f"{spec.name}: {repeated['count_all'][0]} rows with the key {key}; one row per {spec.grain}")
