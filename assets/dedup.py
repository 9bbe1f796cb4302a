"""Chapter 2, copies: fingerprints of every shot, and the groups of shots that repeat each other."""

import dagster as dg

from assets.curation import step_result
from assets.metadata import table_metadata
from assets.partitions import ONE_BATCH_PER_RUN, ingest_batches
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.vectors import VectorsResource


@dg.asset(
    deps=["shots"], group_name="curation", kinds={"lancedb", "opencv"}, owners=["team:data"], partitions_def=ingest_batches,
    backfill_policy=ONE_BATCH_PER_RUN,
)  # fmt: skip
def embeddings(
    context: dg.AssetExecutionContext, home: HomeResource, vectors: VectorsResource, compute: ComputeResource
) -> dg.MaterializeResult:
    """One fingerprint per shot, in LanceDB: descriptors for the index, and what decides whether two shots are copies.

    The decode that cuts the shots writes them; this fills in what is missing or of an older version.
    """
    from skyreels_platform.curation.embeddings import embed_batch

    opened, batch = home.open(), context.partition_key
    result = embed_batch(opened, vectors.open(opened), batch, compute.workers())
    return step_result(opened, "shots", batch, result)


@dg.asset(deps=["embeddings", "scores"], group_name="curation", kinds={"lancedb", "duckdb"}, owners=["team:data"])
def duplicate_groups(home: HomeResource, vectors: VectorsResource) -> dg.MaterializeResult:
    """One row per shot that repeats another or is repeated: its group, and the shot that stands for all of it."""
    from skyreels_platform.curation.dedup import find_duplicates

    opened = home.open()
    result = find_duplicates(opened, vectors.open(opened))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(result.data_version),
        metadata={
            "batches": result.num_batches, "batches_matched": result.num_matched, "matches": result.num_matches,
            "groups": result.num_groups, "duplicates": result.num_duplicates, **table_metadata(opened, "duplicates", {}),
        },
    )  # fmt: skip
