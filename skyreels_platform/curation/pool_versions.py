"""Committed bounds: thresholds that a home has taken in place of its recipe's, one stage at a time, with what they changed.

A commit is a row of `pool_versions` that stays; which one a stage judges by is the pointer `bounds_<stage>` in `current`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.current import set_current
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.recipe import Bound, PoolSettings

COMMIT_VERSION = "pool-versions-1"
_POINTER = "bounds_"  # start of the names in `current`
_RECIPE = "recipe"  # what the pointer says where the recipe's bounds hold again


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The bounds that a stage judges by."""

    settings: PoolSettings
    pool_version: str | None
    """None: the recipe's."""
    note: str = ""
    """What was said when they were committed."""


def bounds_in_force(ledger: Ledger, stage: str, settings: PoolSettings) -> InForce:
    """The committed bounds of a stage, else the recipe's `settings`. LedgerError if the committed ones are not in the ledger."""
    version = committed(ledger).get(stage)
    if version is None:
        return InForce(settings=settings, pool_version=None)
    rows = ledger.rows("pool_versions", {"pool_version": version}, ["bounds", "note"]).to_pylist()
    if not rows:
        raise LedgerError(f"pool {stage} judges by {version}, which is not in the ledger; skyreels thresholds --stage {stage} --revert")
    bounds = {name: Bound.model_validate(bound) for name, bound in json.loads(rows[0]["bounds"]).items()}
    return InForce(settings=PoolSettings(bounds=bounds), pool_version=version, note=rows[0]["note"] or "")


def committed(ledger: Ledger) -> dict[str, str]:
    """Stage -> the pool version that stands in place of the recipe's bounds."""
    rows = ledger.rows("current", f"name LIKE '{_POINTER}%'", ["name", "ref"]).to_pylist()
    return {row["name"].removeprefix(_POINTER): row["ref"] for row in rows if row["ref"] != _RECIPE}


def commit(
    ledger: Ledger, stage: str, settings: PoolSettings, *, diff: Mapping[str, Mapping[str, int]], num_pass: int, gained: int, lost: int,
    recipe_hash: str, note: str = "",
) -> str:  # fmt: skip
    """Let a stage judge by these bounds from now on; returns the pool version, which its bounds and its predecessor determine.

    diff: reason kind -> {"gained", "lost"} shots, against the bounds in force so far.
    """
    row: dict[str, Any] = {
        "stage": stage, "bounds": json.dumps(settings.model_dump(mode="json")["bounds"]),  # their order is that of the reasons
        "recipe_hash": recipe_hash, "note": note, "num_pass": num_pass, "gained": gained, "lost": lost,
        "diff": json.dumps(diff, sort_keys=True),
    }  # fmt: skip
    parent = committed(ledger).get(stage, _RECIPE)
    version = f"pool_{hash_json([stage, row['bounds'], recipe_hash, parent])}"
    own = provenance(COMMIT_VERSION, settings, [recipe_hash, parent])
    ledger.merge("pool_versions", [{**row, "pool_version": version, "provenance": own}])
    set_current(ledger, f"{_POINTER}{stage}", version)
    return version


def revert(ledger: Ledger, stage: str) -> str | None:
    """Let a stage judge by its recipe again; returns the pool version that held until now, None if none did."""
    version = committed(ledger).get(stage)
    if version is not None:
        set_current(ledger, f"{_POINTER}{stage}", _RECIPE)
    return version
