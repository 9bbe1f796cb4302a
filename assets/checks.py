"""Gates of a batch: blocking checks that also write their standing into the ledger, where snapshots read it.

A blocking check stops its own run only; a later run would materialize downstream all the same. The ledger row is what holds.
"""

from collections.abc import Callable

import dagster as dg

from assets.partitions import ingest_batches
from resources.home import HomeResource
from skyreels_platform.home import Home


def _gate(asset: str, name: str, description: str, judge: Callable[[Home, str], tuple[bool, str]]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description, blocking=True, partitions_def=ingest_batches)
    def check(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
        from skyreels_platform.curation.standing import set_gate

        opened, batch = home.open(), context.partition_key
        passed, reason = judge(opened, batch)
        set_gate(opened, batch, name, passed=passed, reason=reason)
        return dg.AssetCheckResult(passed=passed, description=reason, severity=dg.AssetCheckSeverity.ERROR)

    return check


def _shots(home: Home, batch: str) -> tuple[bool, str]:
    from skyreels_platform.curation.standing import shots_gate

    return shots_gate(home, batch)


def _captions(home: Home, batch: str) -> tuple[bool, str]:
    from skyreels_platform.curation.standing import captions_gate

    return captions_gate(home, batch)


gates = [
    _gate("shots", "no_source_lost", "Every ready source became shots, or a failure with a reason.", _shots),
    _gate("captions", "captions_sound", "At least half of the shots have a sound caption.", _captions),
]
