"""What materializations show in the UI: numbers under stable names and types, and small previews."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES

if TYPE_CHECKING:
    from skyreels_platform.curation.pictures import Picture

_PREVIEW_ROWS = 10
_PREVIEW_CHARS = 120
_THUMBNAIL_BYTES = 60_000  # of one JPEG: metadata stays in the event log for ever
_THUMBNAIL_WIDTHS = (960, 800, 640, 480, 320)  # pixels, tried in turn
_THUMBNAIL_QUALITIES = (80, 60, 40)


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


def incidents_metadata(incidents: list[dict[str, Any]]) -> dict[str, Any]:
    """How often a run was disturbed, what that cost, and the newest of its incidents."""
    lost = sum(incident["seconds_lost"] or 0.0 for incident in incidents)
    metadata: dict[str, Any] = {"incidents": len(incidents), "seconds_lost": float(lost)}
    return {**metadata, "last_incidents": preview(pa.Table.from_pylist(incidents[-_PREVIEW_ROWS:]))} if incidents else metadata


def pictures_metadata(home: Home, pictures: "Iterable[Picture]") -> dict[str, dg.MetadataValue]:
    """Per picture, under `picture_<name>`: its caption, a small copy that the UI can show without reaching the store, its place."""
    return {
        f"picture_{picture.name}": dg.MetadataValue.md(
            f"{picture.caption}\n\n![{picture.name}](data:image/jpeg;base64,{base64.b64encode(thumbnail(picture.data)).decode()})"
            f"\n\n`{home.store.uri}/{picture.key}`"
        )
        for picture in pictures
    }


def thumbnail(data: bytes) -> bytes:
    """A picture file as a JPEG of at most 60,000 bytes: the widest and finest that fits."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    small = b""
    for width in _THUMBNAIL_WIDTHS:
        scaled = image.copy()
        scaled.thumbnail((width, 2 * width))
        for quality in _THUMBNAIL_QUALITIES:
            buffer = io.BytesIO()
            scaled.save(buffer, "JPEG", quality=quality)
            small = buffer.getvalue()
            if len(small) <= _THUMBNAIL_BYTES:
                return small
    return small


def _short(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, int | float | bool):
        return value
    text = str(value)
    return text if len(text) <= _PREVIEW_CHARS else text[: _PREVIEW_CHARS - 3] + "..."


def training_metadata(run_dir: Path) -> dict[str, dg.MetadataValue]:
    """A run's curves as numbers and one picture, and its validation films; nothing where the run folder is on another machine."""
    from skyreels_platform.training.curves import plot_curves, training_numbers
    from skyreels_platform.training.validation_films import encode_validation_films

    numbers = training_numbers(run_dir)
    if not numbers:
        return {}
    metadata: dict[str, dg.MetadataValue] = {f"train/{name}": dg.MetadataValue.float(value) for name, value in numbers.items()}
    metadata["curves"] = _picture(plot_curves(run_dir), "curves")
    if films := encode_validation_films(run_dir):
        newest = [film for film in films if film.step == films[-1].step]
        lines = [f"step {film.step}, {film.prompt}: `{film.video}`\n\n{_inline(film.sheet.read_bytes())}" for film in newest]
        metadata["validation_films"] = dg.MetadataValue.md("\n\n".join(lines))
    return metadata


def _picture(png: bytes, name: str) -> dg.MetadataValue:
    return dg.MetadataValue.md(_inline(png, name))


def _inline(png: bytes, name: str = "") -> str:
    return f"![{name}](data:image/jpeg;base64,{base64.b64encode(thumbnail(png)).decode()})"
