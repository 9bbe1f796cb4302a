"""Which shots each stage may use: pool verdicts, concept balance and batch gates, all derived from stored rows and never decoded again."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skyreels_platform.captioning.schema import concept_of
from skyreels_platform.curation.balance import BalanceItem, BalanceResult, balance
from skyreels_platform.curation.pools import counts_by_reason, judge_pool
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.recipe import BalanceSettings, Bound, PoolSettings

POOL_VERSION = "pools-1"
BALANCE_VERSION = "balance-1"
BALANCED = "balanced"
"""Stage name of the balanced pool's verdicts."""
GATES = {"no_source_lost": "shots", "captions_sound": "captions"}
"""Gate -> the table whose rows it judges; a batch needs every one of them."""

SOUND = ("ok", "empty")
"""Caption statuses that may train: a text, or the honest finding that there is none."""

_QUALITY = "sharpness"  # what balance prefers among shots of one concept, until an aesthetic score is there (our choice)

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PoolResult:
    """One pool after judging."""

    counts: dict[str, int]
    """pass | fail | review -> shots."""
    reasons: dict[str, int]
    """Kind of reason -> shots that have it."""
    data_version: str


def judge_stage(home: Home, stage: str, settings: PoolSettings, *, min_length_s: float = 0.0) -> PoolResult:
    """Hold every shot's stored scores against one stage's bounds, and the shortest length of all stages: table `verdicts`."""
    settings = with_shortest(settings, min_length_s)
    scores = home.ledger.rows("scores")
    shot_ids = home.ledger.rows("shots", columns=["shot_id"])["shot_id"].to_pylist()
    own = provenance(POOL_VERSION, settings, scores["provenance"].to_pylist())
    rows = [{**row, "stage": stage, "provenance": own} for row in judge_pool(scores, settings.bounds, shot_ids=shot_ids)]
    home.ledger.replace("verdicts", stage, rows)
    return PoolResult(
        counts=dict(Counter(row["verdict"] for row in rows)), reasons=counts_by_reason(rows),
        data_version=hash_json([[row["shot_id"], row["verdict"]] for row in rows]),
    )  # fmt: skip


def with_shortest(settings: PoolSettings, min_length_s: float) -> PoolSettings:
    """A pool's settings with the shortest shot length that holds for all stages; 0 asks for nothing."""
    if not min_length_s:
        return settings
    bound = settings.bounds.get("duration_s", Bound(min=min_length_s))
    raised = bound.model_copy(update={"min": max(bound.min or 0.0, min_length_s)})
    return settings.model_copy(update={"bounds": {**settings.bounds, "duration_s": raised}})


def balance_stage(home: Home, stage: str, settings: BalanceSettings) -> tuple[BalanceResult, str]:
    """Balance a pool by concept: verdicts of stage `balanced`. Returns the result and the data version."""
    rows = home.ledger.query(
        """
        SELECT shot_id, structured, scores.value AS quality, verdicts.provenance
        FROM verdicts JOIN captions USING (shot_id)
        LEFT JOIN scores ON scores.shot_id = verdicts.shot_id AND scores.signal = $quality
        WHERE stage = $stage AND verdict = 'pass' ORDER BY shot_id
        """,
        {"stage": stage, "quality": _QUALITY},
    ).to_pylist()
    items = [
        BalanceItem(key=row["shot_id"], concept=concept_of(json.loads(row["structured"])), quality=row["quality"] or 0.0)
        for row in rows
    ]
    result = balance(items, settings.shares, min_keep=settings.min_keep)
    own = provenance(BALANCE_VERSION, settings, [row["provenance"] for row in rows])
    kept = [{"shot_id": key, "verdict": "pass", "reasons": []} for key in result.kept]
    dropped = [{"shot_id": key, "verdict": "fail", "reasons": [reason]} for key, reason in result.dropped.items()]
    home.ledger.replace("verdicts", BALANCED, [{**row, "stage": BALANCED, "provenance": own} for row in kept + dropped])
    return result, hash_json(sorted(result.kept))


def set_gate(home: Home, batch: str, gate: str, *, passed: bool, reason: str) -> None:
    """Record the standing of one gate for one batch; other gates of the batch keep theirs."""
    row = {"batch": batch, "gate": gate, "passed": passed, "reason": reason, "provenance": _judged(home, batch, gate)}
    home.ledger.merge("gates", [row])


def failed_gates(home: Home) -> dict[str, str]:
    """Batch -> why it is held back: a gate that does not hold, was never checked, or was checked before its rows changed."""
    batches = set(home.ledger.rows("files", columns=["batch"])["batch"].to_pylist())
    standing = {(row["batch"], row["gate"]): row for row in home.ledger.rows("gates").to_pylist()}
    failed = {}
    for batch in sorted(batches):
        problems = [problem for gate in GATES if (problem := _problem(home, batch, gate, standing.get((batch, gate))))]
        if problems:
            failed[batch] = "; ".join(problems)
    return failed


def _problem(home: Home, batch: str, gate: str, row: Row | None) -> str | None:
    if row is None:
        return f"{gate}: not checked"
    if not row["passed"]:
        return f"{gate}: {row['reason']}"
    return None if row["provenance"] == _judged(home, batch, gate) else f"{gate}: checked before its rows changed"


def _judged(home: Home, batch: str, gate: str) -> str:
    """Provenance of the rows that a gate judges."""
    rows = home.ledger.rows(GATES[gate], {"batch": batch}, ["provenance"])
    return provenance("gates-1", {}, rows["provenance"].to_pylist())


def shots_gate(home: Home, batch: str) -> tuple[bool, str]:
    """Whether every ready source of a batch became shots or a failure with a reason, and at least one became shots."""
    ready = set(home.ledger.rows("sources", {"batch": batch, "status": "ready"}, ["source_id"])["source_id"].to_pylist())
    cut = set(home.ledger.rows("shots", {"batch": batch}, ["source_id"])["source_id"].to_pylist())
    failed = set(home.ledger.rows("failures", {"scope": f"{batch}/shots"}, ["source_id"])["source_id"].to_pylist())
    lost = sorted(ready - cut - failed)
    if lost:
        return False, f"{len(lost)} sources have neither shots nor a reason, for example {lost[0]}"
    if not ready:
        return True, "no source of this batch is ready"
    return (True, f"{len(cut)} sources cut") if cut else (False, f"none of {len(ready)} sources could be cut")


def captions_gate(home: Home, batch: str, *, min_share: float = 0.5) -> tuple[bool, str]:
    """Whether at least `min_share` (our choice) of a batch's shots have a sound caption; an empty one is sound: nobody could say."""
    shots = home.ledger.rows("shots", {"batch": batch}, ["shot_id"]).num_rows
    sound = home.ledger.rows("captions", {"batch": batch, "status": list(SOUND)}, ["shot_id"]).num_rows
    text = f"{sound} of {shots} shots have a sound caption"
    return sound >= min_share * shots, text if sound >= min_share * shots else f"{text}, the gate asks for {min_share:.0%}"


def concept_counts(home: Home, stage: str) -> Mapping[str, int]:
    """Concept -> shots that pass a stage, most frequent first."""
    rows = home.ledger.query(
        "SELECT structured FROM verdicts JOIN captions USING (shot_id) WHERE stage = $stage AND verdict = 'pass'", {"stage": stage}
    )
    return dict(Counter(concept_of(json.loads(text)) for text in rows["structured"].to_pylist()).most_common())
