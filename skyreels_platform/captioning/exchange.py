"""Captions as upstream's scripts read and write them: CSV with `path`, `structural_caption`, `t2v_fusion_caption`, `i2v_fusion_caption`.

Upstream's rows are clips, one file each; ours are shots of files. So a written file also names shot, seconds and who said each field, which
upstream's scripts carry along, and a read one is matched by `shot_id` if there is one, by path and `start_s`, or by path alone where the
file is one shot.

What is read becomes rows of `imported_captions`; the captions asset takes them in place of its own captioner, with provenance `mllm`,
whoever said it where the file was written. A sidecar's fields still win. Rows that cannot be used are returned with a reason: upstream
writes '-' where it failed, and cut JSON.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyreels_platform.captioning.schema import CaptionFieldError, parse
from skyreels_platform.errors import SourceError
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import provenance

COLUMNS = ("path", "structural_caption", "t2v_fusion_caption", "i2v_fusion_caption")
OWN_COLUMNS = ("shot_id", "start_s", "end_s", "status", "field_provenance")
PUBLISHED = "Skywork/SkyCaptioner-V1"
_NOTHING = ("", "-")
_LARGEST_FIELD = 1 << 20  # characters
_SAME_S = 0.1

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What became of a file's rows."""

    num_rows: int
    num_taken: int
    refused: dict[str, str]
    """`line 3 (clip.mp4)` -> why."""


def export_captions(home: Home, out: Path, *, batch: str | None = None) -> int:
    """Write the captions of one batch, or all, in order of source and time; returns the number of rows."""
    rows = home.ledger.query(
        """
        SELECT sources.uri AS path, structured AS structural_caption, t2v AS t2v_fusion_caption, i2v AS i2v_fusion_caption,
               captions.shot_id, start_s, end_s, captions.status, field_provenance
        FROM captions JOIN shots USING (shot_id) JOIN sources USING (source_id)
        WHERE $batch IS NULL OR captions.batch = $batch ORDER BY sources.uri, start_s, captions.shot_id
        """,
        {"batch": batch},
    ).to_pylist()
    temporary = out.with_name(f".{out.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *OWN_COLUMNS])
        writer.writeheader()
        writer.writerows(rows)
    temporary.rename(out)
    return len(rows)


def import_captions(home: Home, path: Path, *, model: str = PUBLISHED) -> ImportResult:
    """Read a file of captions that `model` made. SourceError for a file that is no such CSV; bad rows are refused one by one."""
    shots = home.ledger.query(
        "SELECT shot_id, shots.batch, start_s, uri, name FROM shots JOIN sources USING (source_id) ORDER BY shot_id"
    ).to_pylist()
    places = _Places(shots)
    taken: dict[str, Row] = {}
    refused: dict[str, str] = {}
    num_rows = 0
    for line, row in _read(path):
        num_rows += 1
        where = f"line {line} ({row.get('path', '')})"
        try:
            shot = places.find(row)
            structured = _clean(row, "structural_caption")
            if not structured:
                raise SourceError("no structural_caption")
            caption = parse(structured, is_complete=True)
        except (CaptionFieldError, SourceError) as error:
            refused[where] = str(error)
            continue
        values = {"shot_id": shot["shot_id"], "batch": shot["batch"], "structured": caption.to_json(), "model": model,
                  "t2v": _clean(row, "t2v_fusion_caption"), "i2v": _clean(row, "i2v_fusion_caption")}  # fmt: skip
        taken[shot["shot_id"]] = {**values, "provenance": provenance("import-1", values)}
    if taken:
        home.ledger.merge("imported_captions", list(taken.values()))
    return ImportResult(num_rows=num_rows, num_taken=len(taken), refused=refused)


def imported_captions(home: Home, batch: str) -> dict[str, Row]:
    """Shot id -> the imported caption, of one batch."""
    return {row["shot_id"]: row for row in home.ledger.rows("imported_captions", {"batch": batch}).to_pylist()}


class _Places:
    """Finds the shot of a row."""

    def __init__(self, shots: Iterable[Row]) -> None:
        self.by_id: dict[str, Row] = {}
        self.by_path: dict[str, list[Row]] = {}
        for shot in shots:
            self.by_id[shot["shot_id"]] = shot
            for key in {shot["uri"], shot["name"]}:
                self.by_path.setdefault(key, []).append(shot)

    def find(self, row: Mapping[str, str]) -> Row:
        if key := row.get("shot_id"):
            if key not in self.by_id:
                raise SourceError(f"no shot {key} in this home")
            return self.by_id[key]
        path = row.get("path") or ""
        found = self.by_path.get(path) or self.by_path.get(Path(path).name, [])
        if start := row.get("start_s"):
            try:
                found = [shot for shot in found if abs(shot["start_s"] - float(start)) < _SAME_S]
            except ValueError as error:
                raise SourceError(f"start_s is {start!r}; give seconds") from error
        if len({shot["shot_id"] for shot in found}) != 1:
            what = f"{len(found)} shots of this path" if found else "no shot of this path in this home"
            raise SourceError(f"{what}; add a column shot_id or start_s" if found else what)
        return found[0]


def _read(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    csv.field_size_limit(_LARGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = {"structural_caption"} - set(reader.fieldnames or ())
            if missing or not {"path", "shot_id"} & set(reader.fieldnames or ()):
                raise SourceError(f"{path}: columns are {reader.fieldnames}; needed: {', '.join(COLUMNS[:2])}")
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not a CSV file that can be read: {error}") from error


def _clean(row: Mapping[str, str], column: str) -> str:
    text = (row.get(column) or "").strip()
    return "" if text in _NOTHING or text.lower() == "nan" else text
