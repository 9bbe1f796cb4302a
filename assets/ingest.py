"""Chapter 1, footage: from files that somebody handed in to sources with a status and a reason."""

import dagster as dg

from assets.metadata import table_metadata
from assets.partitions import ONE_BATCH_PER_RUN, ingest_batches
from resources.home import HomeResource
from skyreels_platform.ingest import CODE_VERSION


@dg.asset(
    partitions_def=ingest_batches, backfill_policy=ONE_BATCH_PER_RUN, group_name="footage", kinds={"lance"},
    owners=["team:data"], code_version=CODE_VERSION,
)  # fmt: skip
def source_videos(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """One row per content (by SHA-256) that a batch brought: probe, licence, human captions, status and reason."""
    from skyreels_platform.media.intake import read_batch

    opened, batch = home.open(), context.partition_key
    summary = read_batch(opened, batch)
    for uri, reason in summary.refused.items():
        context.log.warning(f"refused {uri}: {reason}")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.data_version),
        metadata={
            "ready": summary.num_ready, "duplicates": summary.num_duplicates, "refused": summary.num_refused,
            **table_metadata(opened, "files", {"batch": batch}),
        },
    )  # fmt: skip
