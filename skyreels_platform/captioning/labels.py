"""What people say about single shots: labels of a few fields with fixed options, from which experts learn and by which they are judged.

Two grades, as in the paper's shot captioner: `coarse` labels come in number from somewhere else (a file; the paper took web images),
`fine` ones are careful. One row per shot, field and labeller; a labeller who says something else later replaces their own row only.
A fine label also goes into the shot's caption, over every model and expert, with provenance `human`.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skyreels_platform.captioning.experts.expression import EMOTIONS, UNSEEN
from skyreels_platform.captioning.schema import OPTIONS
from skyreels_platform.errors import SourceError
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import provenance

LABEL_VERSION = "label-1"

CAMERA = "camera_motion"
STATIC = "static"
MOVES = (
    "pans left", "pans right", "tilts up", "tilts down", "zooms in", "zooms out", "dollies in", "dollies out", "trucks left",
    "trucks right", "cranes up", "cranes down", "rolls clockwise", "rolls anticlockwise",
)  # fmt: skip
_MANNERS = {"handheld": "handheld", "tracking": "following the subject", "abrupt": "abruptly"}
FIELDS: dict[str, tuple[str, ...]] = {**OPTIONS, "emotion": (*EMOTIONS, UNSEEN), CAMERA: (STATIC, *MOVES, *_MANNERS)}
"""Field -> what may be said of it. The camera may do several things: names with commas, in this order."""
HEADS = tuple(field for field in FIELDS if field != CAMERA)
"""Fields that heads over frozen features learn; the camera is measured."""

COLUMNS = ("shot_id", "field", "value")
_HELD_OUT = 5  # our choice: every fifth shot judges and teaches nothing
_MOST_LABELLER = 80

Grade = Literal["fine", "coarse"]
Row = dict[str, Any]


class LabelError(SourceError):
    """A label that says nothing that can be said; the message names shot, field, value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What one person, or one file, says about one field of one shot."""

    shot_id: str
    field: str
    value: str
    labeller: str
    grade: Grade = "fine"


def check(field: str, value: str) -> str:
    """The value in the form that is stored. LabelError for a field or value that does not exist."""
    if field not in FIELDS:
        raise LabelError(f"no field {field!r}; known: {', '.join(FIELDS)}")
    options = FIELDS[field]
    said = [part.strip() for part in value.split(",")] if field == CAMERA else [value]
    if wrong := [part for part in said if part not in options]:
        raise LabelError(f"{field} is {wrong[0]!r}; allowed: {', '.join(options)}")
    if STATIC in said and len(set(said)) > 1:
        raise LabelError(f"{field} is {value!r}; a static camera does nothing else")
    return ", ".join(option for option in options if option in said)


def add_labels(home: Home, labels: Sequence[Label]) -> None:
    """Store labels, all or none. LabelError for one that cannot be used."""
    shots = _shots(home, {label.shot_id for label in labels})
    rows = {}
    for label in labels:
        if label.shot_id not in shots:
            raise LabelError(f"no shot {label.shot_id!r} in this home")
        if not label.labeller.strip() or len(label.labeller) > _MOST_LABELLER or not label.labeller.isprintable():
            raise LabelError(f"labeller is {label.labeller[:_MOST_LABELLER]!r}; give a name of 1 to {_MOST_LABELLER} printable characters")
        batch, parent = shots[label.shot_id]
        values = {"shot_id": label.shot_id, "field": label.field, "labeller": label.labeller, "value": check(label.field, label.value),
                  "grade": label.grade}  # fmt: skip
        rows[label.shot_id, label.field, label.labeller] = {
            **values, "batch": batch, "provenance": provenance(LABEL_VERSION, values, [parent])
        }  # fmt: skip
    if rows:
        home.ledger.merge("labels", list(rows.values()))


def agreed(home: Home, grade: Grade, batch: str | None = None) -> dict[str, dict[str, str]]:
    """Field -> shot id -> what most labellers say. Where no value has the most, nobody's counts: such a shot teaches nothing."""
    votes: dict[str, dict[str, Counter[str]]] = {field: {} for field in FIELDS}
    where = {"grade": grade} if batch is None else {"grade": grade, "batch": batch}
    for row in home.ledger.rows("labels", where, ["shot_id", "field", "value"]).to_pylist():
        votes[row["field"]].setdefault(row["shot_id"], Counter())[row["value"]] += 1
    return {field: {shot: value for shot, counts in sorted(found.items()) if (value := _most(counts))} for field, found in votes.items()}


def caption_fields(home: Home, batch: str) -> dict[str, dict[str, str]]:
    """Shot id -> fields of its caption that people settled."""
    found: dict[str, dict[str, str]] = {}
    for field, values in agreed(home, "fine", batch).items():
        if field == "emotion":  # is part of a subject, of which a label does not tell which
            continue
        for shot, value in values.items():
            found.setdefault(shot, {})[field] = camera_words(value) if field == CAMERA else value
    return found


def camera_words(value: str) -> str:
    """A camera label in the caption's words; '' for a static one."""
    said = value.split(", ")
    moves = [part for part in said if part in MOVES]
    manners = [words for name, words in _MANNERS.items() if name in said]
    if not moves and not manners:
        return ""
    if not moves:
        return "the camera is " + ", ".join("moved abruptly" if words == "abruptly" else words for words in manners)
    return ", ".join(("the camera " + " and ".join(filter(None, (", ".join(moves[:-1]), moves[-1]))), *manners))


def is_held_out(shot_id: str) -> bool:
    """Whether a shot's labels judge an expert instead of teaching it: by its id, so the same in every round and every home."""
    return int.from_bytes(hashlib.sha256(f"held out {shot_id}".encode()).digest()[:4], "big") % _HELD_OUT == 0


def import_labels(home: Home, path: Path, *, labeller: str, grade: Grade) -> tuple[int, dict[str, str]]:
    """Labels of a CSV with the columns shot_id, field, value: how many were taken, and `line 3` -> why one was not.

    SourceError for a file that is no such CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise SourceError(f"{path}: no column {', '.join(sorted(missing))}; needed: {', '.join(COLUMNS)}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not a CSV file that can be read: {error}") from error
    known = _shots(home, {row["shot_id"] for _, row in rows})
    taken, refused = [], {}
    for line, row in rows:
        try:
            value = check(row["field"], row["value"])
        except LabelError as error:
            refused[f"line {line}"] = str(error)
            continue
        if row["shot_id"] in known:
            taken.append(Label(shot_id=row["shot_id"], field=row["field"], value=value, labeller=labeller, grade=grade))
        else:
            refused[f"line {line}"] = f"no shot {row['shot_id']!r} in this home"
    add_labels(home, taken)
    return len(taken), refused


def export_labels(home: Home, out: Path) -> int:
    """Write all labels as CSV; returns how many."""
    columns = (*COLUMNS, "labeller", "grade")
    rows = sorted(home.ledger.rows("labels", None, columns).to_pylist(), key=lambda row: tuple(row[name] for name in columns))
    temporary = out.with_name(f".{out.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    temporary.rename(out)
    return len(rows)


def _shots(home: Home, ids: Iterable[str]) -> Mapping[str, tuple[str, str]]:
    """Shot id -> (batch, provenance) of those that exist."""
    rows = home.ledger.rows("shots", {"shot_id": sorted(ids)}, ["shot_id", "batch", "provenance"]).to_pylist()
    return {row["shot_id"]: (row["batch"], row["provenance"]) for row in rows}


def _most(counts: Counter[str]) -> str:
    (value, most), *others = counts.most_common()
    return "" if others and others[0][1] == most else value
