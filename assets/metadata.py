"""What materializations show in the UI: numbers under stable names and types, and small previews."""

from typing import Any

import dagster as dg
import pyarrow as pa

from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES

_PREVIEW_ROWS = 10
_PREVIEW_CHARS = 120


def table_metadata(home: Home, table: str, where: dict[str, str]) -> dict[str, Any]:
    """Row count, place, schema and first rows of one partition of a ledger table."""
    rows = home.ledger.rows(table, where)
    return {
        "dagster/row_count": dg.MetadataValue.int(rows.num_rows),
        "dagster/uri": dg.MetadataValue.text(f"{home.ledger.uri}/{table}.lance"),
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(field.name, str(field.type)) for field in TABLES[table].schema]
        ),
        "preview": preview(rows),
    }


def preview(rows: pa.Table) -> dg.MetadataValue:
    """The first rows as a table; long texts are cut, lists become text."""
    records = [
        dg.TableRecord({key: _short(value) for key, value in row.items()}) for row in rows.slice(0, _PREVIEW_ROWS).to_pylist()
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in rows.schema.names])
    return dg.MetadataValue.table(records=records, schema=schema)


def _short(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, int | float | bool):
        return value
    text = str(value)
    return text if len(text) <= _PREVIEW_CHARS else text[: _PREVIEW_CHARS - 3] + "..."
