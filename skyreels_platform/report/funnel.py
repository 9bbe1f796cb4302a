"""The way from handed-in files to training data in numbers: what is left after each step, and why the rest is not.

Counts are read from the ledger as it stands; nothing is decoded or judged again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.recipe import Recipe
from skyreels_platform.report.markup import count, duration

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Things that a step loses for one kind of cause."""

    text: str
    count: int
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason -> how many have it, most frequent first; one thing may have several."""
    named: list[tuple[str, str]] = field(default_factory=list)
    """(file, reason) where each one has its own."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is left after one step."""

    title: str
    count: int
    unit: str
    """file | source | shot; files and sources share one scale, shots have their own."""
    note: str = ""
    drops: list[Drop] = field(default_factory=list)
    """What was there before and is not any more; empty kinds left out."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One pool's verdicts."""

    stage: str
    counts: dict[str, int]
    """pass | fail | review -> shots."""
    reasons: dict[str, int]
    """Kind of reason -> shots that have it."""


def read_steps(ledger: Ledger, *, stage: str, snapshot_id: str | None, checkpoint_ids: list[str]) -> list[Step]:
    """Every step from files to what training saw, for pool `stage`, the film's snapshot and its line of checkpoints."""
    names = {row["source_id"]: row["name"] for row in ledger.rows("sources", columns=["source_id", "name"]).to_pylist()}
    failures: dict[str, list[tuple[str, str]]] = {}
    for row in ledger.rows("failures").to_pylist():
        failures.setdefault(row["step"], []).append((names.get(row["source_id"]) or row["source_id"], row["reason"]))
    shots = ledger.rows("shots", columns=["shot_id", "source_id"])
    steps = [
        *_source_steps(ledger),
        _shot_step(ledger, shots["source_id"].to_pylist(), failures.get("shots", [])),
        *_described_steps(ledger, shots.num_rows, failures),
        _pool_step(ledger, stage),
    ]
    if snapshot_id is not None:
        steps.append(_snapshot_step(ledger, stage, snapshot_id))
        steps.append(_seen_step(ledger, snapshot_id, checkpoint_ids))
    return steps


def read_pools(ledger: Ledger, recipe: Recipe) -> list[Pool]:
    """The recipe's pools from loose to strict."""
    from skyreels_platform.curation.pools import counts_by_reason

    pools = []
    for stage in recipe.pools:
        rows = ledger.rows("verdicts", {"stage": stage}, ["verdict", "reasons"]).to_pylist()
        counts = Counter(row["verdict"] for row in rows)
        pools.append(Pool(stage=stage, counts=dict(counts), reasons=counts_by_reason(rows)))
    return pools


def read_balance(ledger: Ledger) -> Pool:
    """The balanced pool; its reasons are counted by the concept that had too many."""
    rows = ledger.rows("verdicts", {"stage": "balanced"}, ["verdict", "reasons"]).to_pylist()
    concepts = Counter(reason.partition(":")[0] for row in rows for reason in row["reasons"])
    return Pool(stage="balanced", counts=dict(Counter(row["verdict"] for row in rows)), reasons=_by_count(concepts))


def footage_seconds(ledger: Ledger) -> float:
    """Seconds of all ready sources."""
    return sum(ledger.rows("sources", {"status": "ready"}, ["duration_s"])["duration_s"].drop_null().to_pylist())


def _source_steps(ledger: Ledger) -> list[Step]:
    files = ledger.rows("files", columns=["uri", "status", "reason"]).to_pylist()
    status = Counter(row["status"] for row in files)
    refused = [(_name(row["uri"]), row["reason"]) for row in files if row["status"] == "refused"]
    ready = ledger.rows("sources", {"status": "ready"}, ["source_id"]).num_rows
    return [
        Step(title="Files handed in", count=len(files), unit="file"),
        Step(title="Sources ready", count=ready, unit="source", note=f"{duration(footage_seconds(ledger))} of footage", drops=_some(
            Drop(text="refused", count=status["refused"], named=refused),
            Drop(text="the same content as an earlier file", count=status["duplicate"]),
            Drop(text="not read yet", count=status["listed"]),
        )),
    ]  # fmt: skip


def _shot_step(ledger: Ledger, owners: list[str], failures: list[tuple[str, str]]) -> Step:
    ready = set(ledger.rows("sources", {"status": "ready"}, ["source_id"])["source_id"].to_pylist())
    failed = set(ledger.rows("failures", {"step": "shots"}, ["source_id"])["source_id"].to_pylist())
    return Step(title="Shots", count=len(owners), unit="shot", note=f"from {count(len(set(owners)), 'source')}", drops=_some(
        Drop(text="sources that could not be cut", count=len(failures), named=failures),
        Drop(text="sources not cut yet", count=len(ready - set(owners) - failed)),
    ))  # fmt: skip


def _described_steps(ledger: Ledger, num_shots: int, failures: Mapping[str, list[tuple[str, str]]]) -> list[Step]:
    """Scored and captioned shots."""
    (scored,) = ledger.query("SELECT count(DISTINCT shot_id) AS n FROM scores JOIN shots USING (shot_id)")["n"].to_pylist()
    captions = ledger.query("SELECT status, captions.reason FROM captions JOIN shots USING (shot_id)").to_pylist()
    usable = sum(row["status"] == "ok" for row in captions)
    unusable = Counter(": ".join(filter(None, (row["status"], row["reason"]))) for row in captions if row["status"] != "ok")
    return [
        Step(title="Scored", count=scored, unit="shot", drops=_some(
            Drop(text="shots without scores", count=num_shots - scored),
            Drop(text="sources that could not be scored", count=len(failures.get("scores", [])), named=failures.get("scores", [])),
        )),
        Step(title="Captioned", count=usable, unit="shot", drops=_some(
            Drop(text="shots whose caption cannot be used", count=unusable.total(), reasons=_by_count(unusable)),
            Drop(text="shots without caption", count=num_shots - len(captions)),
            Drop(
                text="sources that could not be captioned", count=len(failures.get("captions", [])),
                named=failures.get("captions", []),
            ),
        )),
    ]  # fmt: skip


def _pool_step(ledger: Ledger, stage: str) -> Step:
    from skyreels_platform.curation.pools import counts_by_reason

    rows = ledger.rows("verdicts", {"stage": stage}, ["verdict", "reasons"]).to_pylist()
    by_verdict = {verdict: [row for row in rows if row["verdict"] == verdict] for verdict in ("pass", "fail", "review")}
    return Step(title=f"Pass pool {stage}", count=len(by_verdict["pass"]), unit="shot", drops=_some(
        Drop(text="rejected by the recipe's bounds", count=len(by_verdict["fail"]), reasons=counts_by_reason(by_verdict["fail"])),
        Drop(text="held for review", count=len(by_verdict["review"]), reasons=counts_by_reason(by_verdict["review"])),
    ))  # fmt: skip


def _snapshot_step(ledger: Ledger, stage: str, snapshot_id: str) -> Step:
    rows = ledger.rows("snapshots", {"snapshot_id": snapshot_id}).to_pylist()
    clips = ledger.rows("snapshot_clips", {"snapshot_id": snapshot_id}, ["shot_id"])["shot_id"].to_pylist()
    note = f"snapshot {snapshot_id}: {count(len(clips), 'clip')}"
    excluded: dict[str, str] = {}
    if rows:
        note += f", {duration(rows[0]['duration_s'] or 0.0)}"
        excluded = json.loads(rows[0]["excluded"] or "{}")
    passed = ledger.query(
        "SELECT shot_id, shots.batch, captions.status FROM verdicts JOIN shots USING (shot_id) LEFT JOIN captions USING (shot_id) "
        "WHERE stage = $stage AND verdict = 'pass' AND shot_id NOT IN (SELECT unnest($held))",
        {"stage": stage, "held": sorted(set(clips))},
    ).to_pylist()
    held_back = Counter(row["batch"] for row in passed if row["batch"] in excluded)
    others = [row for row in passed if row["batch"] not in excluded]
    wordless = sum(row["status"] != "ok" for row in others)
    return Step(title="In the snapshot", count=len(set(clips)), unit="shot", note=note, drops=_some(
        Drop(
            text="in batches that a gate holds back", count=held_back.total(),
            reasons={f"{batch}: {excluded[batch]}": count for batch, count in sorted(held_back.items())},
        ),
        Drop(text="without a usable caption", count=wordless),
        Drop(text="no clip of this length and rate fits, or passed only after the freeze", count=len(others) - wordless),
    ))  # fmt: skip


def _seen_step(ledger: Ledger, snapshot_id: str, checkpoint_ids: list[str]) -> Step:
    """Shots of the snapshot that an optimizer step of the film's line of checkpoints saw."""
    (row,) = ledger.query(
        "SELECT count(DISTINCT shot_id) AS shots, count(*) AS uses FROM seen WHERE checkpoint_id IN (SELECT unnest($ids)) "
        "AND shot_id IN (SELECT shot_id FROM snapshot_clips WHERE snapshot_id = $snapshot)",
        {"ids": checkpoint_ids, "snapshot": snapshot_id},
    ).to_pylist()
    held = len(set(ledger.rows("snapshot_clips", {"snapshot_id": snapshot_id}, ["shot_id"])["shot_id"].to_pylist()))
    return Step(
        title="Seen in training", count=row["shots"], unit="shot", note=f"{count(row['uses'], 'clip')} in all optimizer steps",
        drops=_some(Drop(text="never drawn into a batch", count=held - row["shots"])),
    )


def _some(*drops: Drop) -> list[Drop]:
    return [drop for drop in drops if drop.count > 0]


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _name(uri: str) -> str:
    return uri.rpartition("/")[2] or uri


def batch_gates(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """Gates that hold a batch back, and how many let theirs pass."""
    rows = sorted(rows, key=lambda row: (row["batch"], row["gate"]))
    return [row for row in rows if not row["passed"]], sum(bool(row["passed"]) for row in rows)
