"""Copies among shots: which shot repeats which earlier one, and which shot of every group stays.

A batch is matched once: its descriptors ask the index for their nearest ones among all earlier batches, the shots that answer well (see
`candidates`) are aligned in time and place (see `alignment`), and what proves to be a copy is a row of `matches`. Of earlier batches only
those shots are read. Within the batch every pair whose descriptors come close is aligned too. Groups follow from all matches: connected
shots, of which the best stays.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skyreels_platform.curation.alignment import ALIGNMENT_VERSION, Alignment, align
from skyreels_platform.curation.candidates import DEFAULTS, DedupSettings, candidates
from skyreels_platform.curation.fingerprint import FINGERPRINT_VERSION
from skyreels_platform.curation.fingerprint_store import FingerprintStore, StoredShot
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json, provenance

DEDUP_VERSION = "dedup-3"
"""Raise it when the same fingerprints would give other matches or groups."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """What matching one batch found."""

    num_shots: int
    num_compared: int
    """Pairs of shots that were aligned."""
    rows: list[Row]
    """Rows of `matches`, without batch and provenance."""


@dataclass(frozen=True, kw_only=True)
class DuplicateResult:
    """What stands after all batches are matched."""

    num_batches: int
    num_matched: int
    """Batches that had to be matched; the others were up to date."""
    num_matches: int
    num_groups: int
    num_duplicates: int
    """Shots that another one stands for."""
    data_version: str


def find_duplicates(home: Home, store: FingerprintStore, settings: DedupSettings = DEFAULTS) -> DuplicateResult:
    """Match every batch whose matches are missing or stale, then group: tables `matches` and `duplicates`.

    A batch depends on all batches before it, so a changed one makes the later ones stale and a new one none.
    """
    standing = _standing(home)
    made, batches = 0, _expected(store, settings)
    for batch, own in batches.items():
        if standing.get(batch) == own:
            continue
        result = match_batch(store, batch, settings)
        home.ledger.replace("matches", batch, [{**row, "batch": batch, "provenance": own} for row in result.rows])
        home.ledger.merge("current", [{"name": _name(batch), "ref": own, "provenance": own}])
        made += 1
    for gone in sorted(standing.keys() - batches.keys()):
        home.ledger.replace("matches", gone, [])
    rows = group_shots(home, settings)
    parents = home.ledger.rows("matches", columns=["provenance"])["provenance"].to_pylist()
    grouped = provenance(DEDUP_VERSION, asdict(settings), parents)
    _write_groups(home, [{**row, "provenance": grouped} for row in rows])
    groups = {row["group_id"] for row in rows}
    return DuplicateResult(
        num_batches=len(batches), num_matched=made, num_matches=home.ledger.rows("matches", columns=["shot_id"]).num_rows,
        num_groups=len(groups), num_duplicates=len(rows) - len(groups),
        data_version=hash_json([list(batches.values())[-1:], [[row["shot_id"], row["kept_id"]] for row in rows]]),
    )  # fmt: skip


def forget_shots(home: Home, store: FingerprintStore, shot_ids: Iterable[str], settings: DedupSettings = DEFAULTS) -> int:
    """Take shots out, as a takedown asks: their fingerprints, descriptors, matches and places in groups. Returns the fingerprints removed.

    What others match stays found: no batch is matched again. Versions of the tables that still hold the rows are Lance's to remove.
    """
    gone, standing, expected = set(shot_ids), _standing(home), _expected(store, settings)
    fresh = {batch for batch, own in expected.items() if standing.get(batch) == own}
    num_removed = store.remove(gone)
    for batch in home.ledger.query("SELECT DISTINCT batch FROM matches")["batch"].to_pylist():
        rows = home.ledger.rows("matches", {"batch": batch}).to_pylist()
        stays = [row for row in rows if gone.isdisjoint((row["shot_id"], row["other_id"]))]
        if len(stays) < len(rows):
            home.ledger.replace("matches", batch, stays)
    pointers = {batch: own for batch, own in _expected(store, settings).items() if batch in fresh}
    home.ledger.merge("current", [{"name": _name(batch), "ref": own, "provenance": own} for batch, own in pointers.items()])
    find_duplicates(home, store, settings)
    return num_removed


def _standing(home: Home) -> dict[str, str]:
    """Batch -> what its matches were made from."""
    rows = home.ledger.rows("current", f"name LIKE '{_name('')}%'", ["name", "ref"]).to_pylist()
    return {row["name"].removeprefix(_name("")): row["ref"] for row in rows}


def _expected(store: FingerprintStore, settings: DedupSettings) -> dict[str, str]:
    """Batch -> what its matches would be made from now, in order: its own fingerprints and those of all batches before it."""
    versions = [DEDUP_VERSION, ALIGNMENT_VERSION, FINGERPRINT_VERSION, store.backend]
    own, found = "", {}
    for batch, content in store.batches().items():
        own = found[batch] = provenance("matches", [versions, asdict(settings), batch, own], [content])
    return found


def match_batch(store: FingerprintStore, batch: str, settings: DedupSettings = DEFAULTS) -> MatchResult:
    """Find what a batch's shots repeat, of earlier batches and of the batch itself; then index its descriptors."""
    known = store.descriptors_of(batch)
    wanted = candidates(store, batch, known, settings)
    rows: list[Row] = []
    num_compared = 0
    for chunk in _chunks(sorted(wanted), 64):
        loaded = store.load([*chunk, *itertools.chain.from_iterable(wanted[shot] for shot in chunk)])
        for shot, other in [(asker, answerer) for asker in chunk for answerer in wanted[asker]]:
            if shot not in loaded or other not in loaded:
                continue
            num_compared += 1
            found = compare(loaded[shot], loaded[other])
            if found is not None and found.similarity >= settings.similarity:
                rows.append({"shot_id": shot, "other_id": other, **asdict(found)})
    store.index(batch, known.owners, known.vectors)
    return MatchResult(num_shots=len(set(known.owners)), num_compared=num_compared, rows=rows)


def compare(shot: StoredShot, other: StoredShot) -> Alignment | None:
    """Align two stored shots; None for an image and a film's shot, which are no copies of each other."""
    return align(shot.track, other.track) if shot.media == other.media else None


def group_shots(home: Home, settings: DedupSettings = DEFAULTS) -> list[Row]:
    """Rows of `duplicates`, without provenance: one per shot that is connected with another by matches of enough overlap.

    The shot that stays has the most pixels, then the sharpest picture, then comes first (batch, place in its source).
    """
    edges = _edges(home, settings)
    if not edges:
        return []
    facts = _facts(home)
    rows = []
    for members in _connected(edges):
        kept = min(members, key=lambda shot: facts[shot])
        nearness = _nearness(kept, members, edges)
        rows += [{"shot_id": shot, "group_id": members[0], "kept_id": kept, "similarity": nearness[shot]} for shot in members]
    return sorted(rows, key=lambda row: row["shot_id"])


Edges = dict[str, dict[str, float]]
"""shot -> connected shot -> similarity, both ways."""


def _edges(home: Home, settings: DedupSettings) -> Edges:
    rows = home.ledger.query(
        """
        SELECT m.shot_id, m.other_id, m.similarity, m.duration_s, m.speed,
               this.end_s - this.start_s AS length_s, other.end_s - other.start_s AS other_length_s
        FROM matches m JOIN shots this ON this.shot_id = m.shot_id JOIN shots other ON other.shot_id = m.other_id
        """
    ).to_pylist()
    edges: Edges = {}
    for row in rows:
        if row["duration_s"] >= settings.overlap * min(row["length_s"], row["other_length_s"] / row["speed"]):
            edges.setdefault(row["shot_id"], {})[row["other_id"]] = row["similarity"]
            edges.setdefault(row["other_id"], {})[row["shot_id"]] = row["similarity"]
    return edges


def _facts(home: Home) -> dict[str, tuple[float, float, str, str, float, str]]:
    """shot -> what decides which one stays, best first."""
    rows = home.ledger.query(
        """
        SELECT shots.shot_id, shots.batch, source_id, start_s, width * height AS num_pixels, scores.value AS sharpness
        FROM shots LEFT JOIN sources USING (source_id)
        LEFT JOIN scores ON scores.shot_id = shots.shot_id AND scores.signal = 'sharpness'
        """
    ).to_pylist()
    return {
        row["shot_id"]: (
            -(row["num_pixels"] or 0), -(row["sharpness"] or 0.0), row["batch"], row["source_id"], row["start_s"], row["shot_id"],
        )
        for row in rows
    }  # fmt: skip


def _connected(edges: Edges) -> list[list[str]]:
    """Connected shots, each group sorted, by union-find."""
    parent = {shot: shot for shot in edges}

    def root(shot: str) -> str:
        while parent[shot] != shot:
            parent[shot] = shot = parent[parent[shot]]
        return shot

    for shot, others in edges.items():
        for other in others:
            parent[root(other)] = root(shot)
    groups: dict[str, list[str]] = defaultdict(list)
    for shot in sorted(edges):
        groups[root(shot)].append(shot)
    return sorted(groups.values())


def _nearness(kept: str, members: Sequence[str], edges: Edges) -> dict[str, float]:
    """Similarity to the kept shot; where two were never compared, that of the weakest link on the strongest way between them."""
    found, reached = {kept: 1.0}, dict(edges[kept])
    while len(found) < len(members):
        shot = min((shot for shot in reached if shot not in found), key=lambda shot: (-reached[shot], shot))
        found[shot] = reached[shot]
        for other, similarity in edges[shot].items():
            reached[other] = max(reached.get(other, -1.0), min(similarity, found[shot]))
    return found


def _write_groups(home: Home, rows: list[Row]) -> None:
    """Merge the rows; a shot that has left its group stands for itself from now on, since rows of this table cannot go."""
    grouped = {row["shot_id"] for row in rows}
    left = [
        {**row, "group_id": row["shot_id"], "kept_id": row["shot_id"], "similarity": 1.0}
        for row in home.ledger.rows("duplicates").to_pylist() if row["shot_id"] not in grouped
    ]  # fmt: skip
    if rows or left:
        home.ledger.merge("duplicates", [*rows, *left])


def _name(batch: str) -> str:
    return f"matches/{batch}"


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[first : first + size] for first in range(0, len(items), size))
