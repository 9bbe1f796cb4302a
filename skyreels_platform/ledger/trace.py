"""Which footage a film depends on, and which films depend on a piece of footage.

    film -> checkpoint -> parent checkpoints, and of each: snapshot -> shots that its optimizer steps saw -> source files

A film depends on a source if any checkpoint among its ancestors saw a clip of it (`seen`); being in a snapshot is not enough.
What a snapshot froze outlives the `shots` and `sources` rows that it was frozen from, so a trace reads both.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.ledger import Ledger

Kind = Literal["film", "checkpoint", "snapshot", "shot", "source"]

_KEYS: dict[Kind, tuple[str, str]] = {
    "film": ("films", "film_id"),
    "checkpoint": ("checkpoints", "checkpoint_id"),
    "snapshot": ("snapshots", "snapshot_id"),
    "shot": ("shots", "shot_id"),
    "source": ("sources", "source_id"),
}

# Shots of the current cut and of frozen clips, one row each, limited to those that {where} selects.
_SHOTS = """
    SELECT shot_id, any_value(source_id) AS source_id, any_value(uri) AS uri,
           min(start_frame) AS start_frame, max(end_frame) AS end_frame
    FROM (
        SELECT shot_id, source_id, NULL AS uri, start_frame, end_frame FROM shots WHERE {where}
        UNION ALL
        SELECT shot_id, source_id, uri, start_frame, end_frame FROM snapshot_clips WHERE {where}
    )
    GROUP BY shot_id ORDER BY source_id, start_frame, shot_id
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One thing and what was found from it, in the direction of the trace. `dataclasses.asdict` gives JSON-able values."""

    kind: Kind
    id: str
    label: str
    """One line for people."""
    facts: dict[str, Any] = field(default_factory=dict)
    children: tuple["Node", ...] = ()


def trace(ledger: Ledger, ref: str) -> Node:
    """The tree from a film, checkpoint, snapshot, shot or source, by id; a film or source also by path, URI or unique file name.

    A film leads back to source files, a source or shot forward to films, a checkpoint or snapshot both ways. Raises LedgerError
    with the nearest known names if nothing is called `ref`.
    """
    kind, key = resolve(ledger, ref)
    return {"film": _film, "checkpoint": _checkpoint, "snapshot": _snapshot, "shot": _shot, "source": _source}[kind](ledger, key)


def trace_film(ledger: Ledger, ref: str) -> Node:
    """film -> checkpoint -> parent checkpoints -> snapshots -> shots -> source files. LedgerError if `ref` is no film."""
    return _film(ledger, _expect(ledger, ref, "film"))


def trace_source(ledger: Ledger, ref: str) -> Node:
    """source -> shots -> snapshots, and source -> checkpoints that saw it -> their descendants and films. LedgerError if none."""
    return _source(ledger, _expect(ledger, ref, "source"))


def resolve(ledger: Ledger, ref: str) -> tuple[Kind, str]:
    """Kind and id of what `ref` names. LedgerError, with the nearest names, if it names nothing or more than one thing."""
    for kind, (table, key) in _KEYS.items():
        if ledger.rows(table, {key: ref}, [key]).num_rows:
            return kind, ref
    if ledger.rows("snapshot_clips", {"shot_id": ref}, ["shot_id"]).num_rows:
        return "shot", ref
    paths = {ref, os.path.abspath(ref), os.path.realpath(ref)}  # noqa: PTH100 - a URI must stay as it is
    films = ledger.rows("films", columns=["film_id", "path"]).to_pylist()
    found: list[tuple[Kind, str]] = [("film", film["film_id"]) for film in films if _is_at(film["path"], paths)]
    for table, column in (("sources", "uri"), ("files", "uri"), ("snapshot_clips", "uri"), ("sources", "name")):
        if not found:
            sources = ledger.rows(table, {column: sorted(paths)}, ["source_id"])["source_id"].drop_null().unique()
            found = [("source", key) for key in sorted(sources.to_pylist())]
    if len(found) == 1:
        return found[0]
    if found:
        raise LedgerError(f"{ref!r} names {len(found)} things; give one id: {', '.join(key for _, key in found[:10])}")
    near = _nearest(ledger, ref)
    raise LedgerError(f"{ref!r} is not in the ledger; " + (f"nearest: {', '.join(near)}" if near else "the ledger is empty"))


def _is_at(stored: str | None, paths: set[str]) -> bool:
    """Whether one of the paths is a film's key in the store, or a file that ends with it."""
    return stored is not None and any(path == stored or path.endswith(f"/{stored}") for path in paths)


def _expect(ledger: Ledger, ref: str, wanted: Kind) -> str:
    kind, key = resolve(ledger, ref)
    if kind != wanted:
        raise LedgerError(f"{ref!r} is a {kind}, not a {wanted}")
    return key


def _nearest(ledger: Ledger, ref: str) -> list[str]:
    names = " UNION ALL ".join(
        f"SELECT {column} AS name FROM {table}"
        for table, column in [*_KEYS.values(), ("films", "path"), ("sources", "name"), ("sources", "uri")]
    )
    near = ledger.query(
        f"SELECT name FROM ({names}) WHERE name IS NOT NULL GROUP BY name "
        "ORDER BY jaro_winkler_similarity(name, $ref) DESC, name LIMIT 3",
        {"ref": ref},
    )
    return near["name"].to_pylist()


# Backward: what something was made from.


def _film(ledger: Ledger, film_id: str) -> Node:
    row = _row(ledger, "film", film_id)
    return _film_node(row, _ancestry(ledger, row["checkpoint_id"]))


def _ancestry(ledger: Ledger, checkpoint_id: str | None) -> tuple[Node, ...]:
    """A checkpoint with its snapshot, shots and sources, and its parent below it; () for None."""
    chain: list[str] = []
    while checkpoint_id:
        if checkpoint_id in chain:
            raise LedgerError(f"checkpoints: {checkpoint_id!r} is its own ancestor ({' -> '.join([*chain, checkpoint_id])})")
        chain.append(checkpoint_id)
        checkpoint_id = _row(ledger, "checkpoint", checkpoint_id).get("parent_id")
    below: tuple[Node, ...] = ()
    for key in reversed(chain):
        row = _row(ledger, "checkpoint", key)
        below = (_checkpoint_node(row, (*_training_data(ledger, row), *below)),)
    return below


def _training_data(ledger: Ledger, checkpoint: Mapping[str, Any]) -> tuple[Node, ...]:
    """The snapshot of a checkpoint with the shots that its steps saw; the shots alone if it names no snapshot."""
    seen = ledger.query(
        "SELECT shot_id, count(*) AS num_seen, min(step) AS first_step, max(step) AS last_step FROM seen "
        "WHERE checkpoint_id = $id GROUP BY shot_id",
        {"id": checkpoint["checkpoint_id"]},
    )
    facts = {row.pop("shot_id"): row for row in seen.to_pylist()}
    shots = _shot_nodes(ledger, facts)
    if not checkpoint.get("snapshot_id"):
        return shots
    return (_snapshot_node(_row(ledger, "snapshot", checkpoint["snapshot_id"]), shots),)


def _shot_nodes(ledger: Ledger, facts: Mapping[str, Mapping[str, Any]]) -> tuple[Node, ...]:
    """Shots with their source below; also those of which nothing but the id is left."""
    rows = ledger.query(_SHOTS.format(where="shot_id IN (SELECT unnest($ids))"), {"ids": sorted(facts)}).to_pylist()
    rows += [{"shot_id": key} for key in sorted(facts.keys() - {row["shot_id"] for row in rows})]
    ids = sorted({row["source_id"] for row in rows if row.get("source_id")})
    sources = {row["source_id"]: row for row in ledger.rows("sources", {"source_id": ids}).to_pylist()}
    nodes = []
    for row in rows:
        key = row.get("source_id")
        source = (_source_node(sources.get(key, {"source_id": key, "uri": row["uri"]})),) if key else ()
        nodes.append(_shot_node(row, source, dict(facts[row["shot_id"]])))
    return tuple(nodes)


# Forward: what was made from something.


def _source(ledger: Ledger, source_id: str) -> Node:
    shots = ledger.query(_SHOTS.format(where="source_id = $id"), {"id": source_id}).to_pylist()
    row = _row(ledger, "source", source_id)
    row.setdefault("uri", next((shot["uri"] for shot in shots if shot["uri"]), None))
    handed_in = ledger.rows("files", {"source_id": source_id}, ["uri"])["uri"].unique().to_pylist()
    ids = [shot["shot_id"] for shot in shots]
    frozen = _snapshots_of(ledger, ids)
    below = [_shot_node(shot, frozen.get(shot["shot_id"], ())) for shot in shots]
    return _source_node(row, (*below, *_forest(ledger, _saw(ledger, ids))), {"files": sorted(handed_in)})


def _shot(ledger: Ledger, shot_id: str) -> Node:
    (node,) = _shot_nodes(ledger, {shot_id: {}})
    frozen = _snapshots_of(ledger, [shot_id]).get(shot_id, ())
    below = (*node.children, *frozen, *_forest(ledger, _saw(ledger, [shot_id])))
    return Node(kind="shot", id=node.id, label=node.label, facts=node.facts, children=below)


def _snapshot(ledger: Ledger, snapshot_id: str) -> Node:
    clips = ledger.query(
        "SELECT shot_id, count(*) AS num_clips FROM snapshot_clips WHERE snapshot_id = $id GROUP BY shot_id", {"id": snapshot_id}
    )
    shots = _shot_nodes(ledger, {row["shot_id"]: {"num_clips": row["num_clips"]} for row in clips.to_pylist()})
    users = ledger.rows("checkpoints", {"snapshot_id": snapshot_id}, ["checkpoint_id"])["checkpoint_id"].to_pylist()
    below = (*shots, *_forest(ledger, {key: {"trained_on_it": True} for key in users}))
    return _snapshot_node(_row(ledger, "snapshot", snapshot_id), below)


def _checkpoint(ledger: Ledger, checkpoint_id: str) -> Node:
    (back,) = _ancestry(ledger, checkpoint_id)
    (forward,) = _forest(ledger, {checkpoint_id: {}})
    return Node(kind="checkpoint", id=back.id, label=back.label, facts=back.facts, children=(*back.children, *forward.children))


def _snapshots_of(ledger: Ledger, shot_ids: list[str]) -> dict[str, tuple[Node, ...]]:
    """Shot -> the snapshots that hold a clip of it."""
    pairs = ledger.query(
        "SELECT DISTINCT shot_id, snapshot_id FROM snapshot_clips WHERE shot_id IN (SELECT unnest($ids)) ORDER BY ALL",
        {"ids": shot_ids},
    ).to_pylist()
    nodes = {key: _snapshot_node(_row(ledger, "snapshot", key)) for key in sorted({pair["snapshot_id"] for pair in pairs})}
    held: dict[str, tuple[Node, ...]] = {}
    for pair in pairs:
        held[pair["shot_id"]] = (*held.get(pair["shot_id"], ()), nodes[pair["snapshot_id"]])
    return held


def _saw(ledger: Ledger, shot_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Checkpoints whose steps saw any of the shots -> how often."""
    rows = ledger.query(
        "SELECT checkpoint_id, count(*) AS num_seen, count(DISTINCT shot_id) AS num_shots FROM seen "
        "WHERE shot_id IN (SELECT unnest($ids)) GROUP BY checkpoint_id",
        {"ids": shot_ids},
    )
    return {row.pop("checkpoint_id"): row for row in rows.to_pylist()}


def _forest(ledger: Ledger, touched: Mapping[str, Mapping[str, Any]]) -> tuple[Node, ...]:
    """Touched checkpoints and all their descendants, each once and below its parent, with their films."""
    rows = {row["checkpoint_id"]: row for row in ledger.rows("checkpoints").to_pylist()}
    rows |= {key: {"checkpoint_id": key} for key in touched if key not in rows}
    children: dict[str | None, list[str]] = {}
    for key in sorted(rows):
        children.setdefault(rows[key].get("parent_id"), []).append(key)
    films: dict[str, list[dict[str, Any]]] = {}
    for film in ledger.rows("films").to_pylist():
        films.setdefault(film["checkpoint_id"], []).append(film)

    def grow(key: str) -> Node:
        below = [_film_node(film) for film in films.get(key, [])]
        below += [grow(child) for child in children.get(key, [])]
        return _checkpoint_node(rows[key], tuple(below), dict(touched.get(key, {"inherits": True})))

    def has_touched_ancestor(key: str) -> bool:
        parent = rows[key].get("parent_id")
        return parent in rows and (parent in touched or has_touched_ancestor(parent))

    return tuple(grow(key) for key in sorted(touched) if not has_touched_ancestor(key))


# One node of each kind.


def _row(ledger: Ledger, kind: Kind, key: str) -> dict[str, Any]:
    """The row, or its id alone if the ledger names it elsewhere but has no row of it."""
    table, column = _KEYS[kind]
    found = ledger.rows(table, {column: key}).to_pylist()
    return found[0] if found else {column: key}


def _node(kind: Kind, row: Mapping[str, Any], label: str, names: str, below: tuple[Node, ...], facts: Mapping[str, Any]) -> Node:
    known = {name: row[name] for name in names.split() if row.get(name) not in (None, "")}
    if len(row) == 1:
        known["missing"] = True
        label = "not in the ledger"
    return Node(kind=kind, id=row[_KEYS[kind][1]], label=label, facts={**known, **facts}, children=below)


def _film_node(row: Mapping[str, Any], below: tuple[Node, ...] = ()) -> Node:
    label = f"{row.get('path')}, {row.get('num_frames')} frames, seed {row.get('seed')}"
    return _node("film", row, label, "path prompt seed schedule num_frames fps width height num_windows", below, {})


def _checkpoint_node(row: Mapping[str, Any], below: tuple[Node, ...], facts: Mapping[str, Any] | None = None) -> Node:
    label = f"{row.get('stage')}, {row.get('num_steps')} steps"
    names = "stage path num_steps final_loss seed recipe_hash code_version weights_hash seen_hash snapshot_id latents_id run_id"
    return _node("checkpoint", row, label, names, below, facts or {})


def _snapshot_node(row: Mapping[str, Any], below: tuple[Node, ...] = ()) -> Node:
    label = f"{row.get('dataset')}, {row.get('num_clips')} clips"
    return _node("snapshot", row, label, "dataset num_clips duration_s", below, {})


def _shot_node(row: Mapping[str, Any], below: tuple[Node, ...], facts: Mapping[str, Any] | None = None) -> Node:
    label = f"frames {row.get('start_frame')} to {row.get('end_frame')}"
    return _node("shot", row, label, "source_id start_frame end_frame", below, facts or {})


def _source_node(row: Mapping[str, Any], below: tuple[Node, ...] = (), facts: Mapping[str, Any] | None = None) -> Node:
    names = "uri name batch media status reason licence source_kind duration_s"
    return _node("source", row, str(row.get("uri")), names, below, facts or {})
