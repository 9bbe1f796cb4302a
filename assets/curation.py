"""Chapter 2, curation: shots, scores, stage pools, concept balance and frozen data sets."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.metadata import pictures_metadata, table_metadata
from assets.partitions import ONE_BATCH_PER_RUN, ingest_batches
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.recipes import RecipeResource
from resources.vectors import VectorsResource
from skyreels_platform.curation.batches import SHOTS_VERSION, observe_batch, score_batch
from skyreels_platform.curation.datasets import POOL_OF
from skyreels_platform.curation.steps import StepResult, decodes_per_source
from skyreels_platform.home import Home

_BATCHED: Mapping[str, object] = {
    "partitions_def": ingest_batches, "backfill_policy": ONE_BATCH_PER_RUN, "owners": ["team:data"],
}  # fmt: skip


@dg.asset(deps=["source_videos"], group_name="curation", kinds={"lance", "torch"}, code_version=SHOTS_VERSION, **_BATCHED)  # type: ignore[arg-type]
def shots(
    context: dg.AssetExecutionContext, home: HomeResource, recipe: RecipeResource, compute: ComputeResource, vectors: VectorsResource
) -> dg.MaterializeResult:
    """One row per shot: source, first and last frame, seconds, votes of each detector, transition kind.

    The same decode measures the shots; `scores` finds its rows there.
    """
    opened, batch, chosen = home.open(), context.partition_key, recipe.load()
    result = observe_batch(opened, batch, chosen.shots, chosen.signals, compute.workers(), vectors.open(opened))
    return step_result(opened, "shots", batch, result)


@dg.asset(deps=["shots"], group_name="curation", kinds={"lance", "opencv"}, **_BATCHED)  # type: ignore[arg-type]
def scores(
    context: dg.AssetExecutionContext, home: HomeResource, recipe: RecipeResource, compute: ComputeResource
) -> dg.MaterializeResult:
    """One row per shot and signal: raw number, unit, version, and whether it was measured, unknown or not applicable.

    Measures again what has changed since the shots were made: one signal, if only that one did.
    """
    from skyreels_platform.curation.pictures import batch_pictures

    opened, batch, chosen = home.open(), context.partition_key, recipe.load()
    result = score_batch(opened, batch, chosen.signals, compute.workers())
    pools_by_stage = {str(stage): pool for stage, pool in chosen.pools.items()}
    pictures = batch_pictures(opened, batch, pools_by_stage, min_length_s=chosen.shots.min_length_s)
    return step_result(opened, "scores", batch, result, pictures_metadata(opened, pictures))


def step_result(
    home: Home, table: str, batch: str, result: StepResult, pictures: Mapping[str, Any] | None = None
) -> dg.MaterializeResult:
    """Materialization of one step over one batch."""
    failures = dg.MetadataValue.json(dict(list(result.failures.items())[:20]))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(result.data_version),
        metadata={
            "sources": result.num_sources, "sources_made": result.num_made, "sources_failed": len(result.failures),
            "failures": failures, "decodes_per_source": decodes_per_source(home, batch),
            **table_metadata(home, table, {"batch": batch}), **(pictures or {}),
        },
    )  # fmt: skip


def _pool_asset(stage: str, *parents: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=f"pool_{stage}", deps=list(parents), group_name="pools", kinds={"lance", "duckdb"}, owners=["team:data"],
        description=f"One verdict per shot under the thresholds of stage {stage}, with every reason.",
    )  # fmt: skip
    def pool(home: HomeResource, recipe: RecipeResource) -> dg.MaterializeResult:
        from skyreels_platform.curation.standing import judge_stage

        opened, chosen = home.open(), recipe.load()
        result = judge_stage(opened, stage, chosen.pools[stage], min_length_s=chosen.shots.min_length_s)  # type: ignore[index]
        counts = {verdict: result.counts.get(verdict, 0) for verdict in ("pass", "fail", "review")}
        return dg.MaterializeResult(
            data_version=dg.DataVersion(result.data_version),
            metadata={
                **counts, "judged_by": result.pool_version or "recipe", "reasons": dg.MetadataValue.json(result.reasons),
                **table_metadata(opened, "verdicts", {"stage": stage}),
            },
        )

    return pool


pools = [
    *(_pool_asset(stage, "scores", "duplicate_groups") for stage in ("256p", "360p", "540p")),
    _pool_asset("sft_540p", "balanced_pool"),
]


@dg.asset(deps=["pool_540p", "captions"], group_name="pools", kinds={"lance", "duckdb"}, owners=["team:data"])
def balanced_pool(home: HomeResource, recipe: RecipeResource) -> dg.MaterializeResult:
    """One verdict per shot of the 540p pool after concept balance."""
    from skyreels_platform.curation.pictures import balance_pictures
    from skyreels_platform.curation.standing import balance_stage

    opened = home.open()
    result, version = balance_stage(opened, "540p", recipe.load().balance)
    shares = {"before": result.before, "after": result.after, "target": result.target}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "kept": len(result.kept), "dropped": len(result.dropped), "shares": dg.MetadataValue.json(shares),
            "short": dg.MetadataValue.json(result.short), **pictures_metadata(opened, balance_pictures(opened, result)),
        },
    )  # fmt: skip


def _dataset_asset(name: str, pool: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=f"dataset_{name}", deps=[f"pool_{pool}", "captions"], group_name="datasets", kinds={"lance"}, owners=["team:data"],
        description=f"Frozen snapshot {name}, one row per clip: span, crop, caption and bucket; its content hash is the data version.",
    )  # fmt: skip
    def dataset(home: HomeResource, recipe: RecipeResource) -> dg.MaterializeResult:
        from skyreels_platform.curation.snapshot import freeze

        opened = home.open()
        snapshot = freeze(opened, name, recipe=recipe.load())
        return dg.MaterializeResult(
            data_version=dg.DataVersion(snapshot.snapshot_id),
            metadata={
                "snapshot_id": snapshot.snapshot_id, "clips": snapshot.num_clips, "images": snapshot.num_images,
                "shots": snapshot.num_shots, "duration_s": snapshot.duration_s,
                "excluded_batches": dg.MetadataValue.json(snapshot.excluded), "unusable_shots": len(snapshot.unusable),
                "unusable_reasons": dg.MetadataValue.json(dict(list(snapshot.unusable.items())[:20])),
                **table_metadata(opened, "snapshot_clips", {"snapshot_id": snapshot.snapshot_id}),
            },
        )  # fmt: skip

    return dataset


datasets = [_dataset_asset(name, pool) for name, pool in POOL_OF.items()]
