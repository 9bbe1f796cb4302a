"""Which shots each stage may use: pool verdicts, concept balance and batch gates, all derived from stored rows and never decoded again."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyreels_platform.captioning.schema import concept_of
from skyreels_platform.curation.balance import BalanceItem, BalanceResult, balance
from skyreels_platform.curation.pool_versions import bounds_in_force
from skyreels_platform.curation.pools import NO_COPIES, judge_wide
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.curation.wide import DUPLICATE, WideScores, load_wide
from skyreels_platform.errors import LedgerError
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.recipe import BalanceSettings, Bound, PoolSettings

POOL_VERSION = "pools-2"
BALANCE_VERSION = "balance-1"
BALANCED = "balanced"
"""Stage name of the balanced pool's verdicts."""
GATES = {"no_source_lost": "shots", "captions_sound": "captions"}
"""Gate -> the table whose rows it judges; a batch needs every one of them."""

SOUND = ("ok", "empty")
"""Caption statuses that may train: a text, or the honest finding that there is none."""

QUALITY = next(name for name in ("aesthetic", "sharpness") if name in SIGNALS)
"""Signal that balance prefers among shots of one concept (our choice)."""

_FINE_TUNING = "sft_"  # start of the stages whose pools are taken from the balanced one

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PoolResult:
    """One pool after judging."""

    counts: dict[str, int]
    """pass | fail | review -> shots."""
    reasons: dict[str, int]
    """Kind of reason -> shots that have it."""
    pool_version: str | None
    """The committed bounds that were judged by; None: the recipe's."""
    data_version: str


def judge_stage(home: Home, stage: str, settings: PoolSettings, *, min_length_s: float = 0.0) -> PoolResult:
    """Hold the stored scores of a stage's shots against its bounds in force and the shortest length of all stages: table `verdicts`.

    settings: the recipe's; bounds that this home has committed for the stage take their place.
    """
    in_force = bounds_in_force(home.ledger, stage, settings)
    asked = judged_by(in_force.settings, min_length_s)
    wide = shots_of_stage(home, stage, load_wide(home))
    judged = judge_wide(wide, asked.bounds)
    table = judged.table()
    own = provenance(POOL_VERSION, asked, wide.provenance)
    rows = table.append_column("stage", _repeated(stage, len(wide))).append_column("provenance", _repeated(own, len(wide)))
    home.ledger.replace("verdicts", stage, rows)
    verdicts = table.sort_by("shot_id")
    lines = map(" ".join, zip(verdicts["shot_id"].to_pylist(), verdicts["verdict"].to_pylist(), strict=True))
    return PoolResult(
        counts=judged.counts, reasons=judged.by_reason(), pool_version=in_force.pool_version,
        data_version=hash_json("\n".join(lines)),  # one text: a list of a million would be walked item by item
    )  # fmt: skip


def shots_of_stage(home: Home, stage: str, wide: WideScores) -> WideScores:
    """The shots that a stage's pool judges: all, or for an SFT stage those that the balanced pool keeps (paper 3.1).

    LedgerError for an SFT stage before there is a balanced pool.
    """
    if not stage.startswith(_FINE_TUNING):
        return wide
    rows = home.ledger.rows("verdicts", {"stage": BALANCED}, ["shot_id", "verdict"])
    if not rows.num_rows:
        raise LedgerError(f"pool {stage} is taken from the balanced pool, which is not there; make it: skyreels run --select balanced_pool")
    return wide.only(rows.filter(pc.field("verdict") == "pass")["shot_id"])


def judged_by(settings: PoolSettings, min_length_s: float) -> PoolSettings:
    """What a pool's shots are held against: its bounds, the shortest length of all stages, and no copies unless a bound allows them."""
    full = with_shortest(settings, min_length_s)
    return full.model_copy(update={"bounds": {**full.bounds, DUPLICATE: full.bounds.get(DUPLICATE, NO_COPIES)}})


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
        {"stage": stage, "quality": QUALITY},
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


def _repeated(text: str, count: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(count, np.int8)))


def set_gate(home: Home, batch: str, gate: str, *, passed: bool, reason: str) -> None:
    """Record the standing of one gate for one batch; other gates of the batch keep theirs."""
    judged = home.ledger.rows(GATES[gate], {"batch": batch}, ["provenance"])["provenance"].to_pylist()
    row = {"batch": batch, "gate": gate, "passed": passed, "reason": reason, "provenance": _judged(judged)}
    home.ledger.merge("gates", [row])


def failed_gates(home: Home) -> dict[str, str]:
    """Batch -> why it is held back: a gate that does not hold, was never checked, or was checked before its rows changed."""
    batches = set(home.ledger.rows("files", columns=["batch"])["batch"].to_pylist())
    standing = {(row["batch"], row["gate"]): row for row in home.ledger.rows("gates").to_pylist()}
    judged = {gate: _judged_by_batch(home, table) for gate, table in GATES.items()}
    failed = {}
    for batch in sorted(batches):
        problems = [
            problem for gate in GATES if (problem := _problem(gate, standing.get((batch, gate)), judged[gate].get(batch, _judged([]))))
        ]
        if problems:
            failed[batch] = "; ".join(problems)
    return failed


def _problem(gate: str, row: Row | None, judged: str) -> str | None:
    if row is None:
        return f"{gate}: not checked"
    if not row["passed"]:
        return f"{gate}: {row['reason']}"
    return None if row["provenance"] == judged else f"{gate}: checked before its rows changed"


def _judged(parents: list[str]) -> str:
    """Provenance of the rows that a gate judges, in order of their keys."""
    return provenance("gates-1", {}, parents)


def _judged_by_batch(home: Home, table: str) -> dict[str, str]:
    """The same of all batches at once: one read, however many there are."""
    parents: dict[str, list[str]] = {}
    rows = home.ledger.rows(table, columns=["batch", "provenance"])
    for batch, own in zip(rows["batch"].to_pylist(), rows["provenance"].to_pylist(), strict=True):
        parents.setdefault(batch, []).append(own)
    return {batch: _judged(found) for batch, found in parents.items()}


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
