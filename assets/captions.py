"""Chapter 3, captions: what each shot shows, by field, and where each field came from."""

import dagster as dg

from assets.curation import step_result
from assets.partitions import ONE_BATCH_PER_RUN, ingest_batches
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.recipes import RecipeResource
from skyreels_platform.captioning.batches import CAPTIONS_VERSION, caption_batch


@dg.asset(
    deps=["shots"], partitions_def=ingest_batches, backfill_policy=ONE_BATCH_PER_RUN, group_name="captions",
    kinds={"lance", "vllm"}, owners=["team:data"], code_version=CAPTIONS_VERSION,
)  # fmt: skip
def captions(
    context: dg.AssetExecutionContext, home: HomeResource, recipe: RecipeResource, compute: ComputeResource
) -> dg.MaterializeResult:
    """One row per shot: structured caption in SkyCaptioner's schema, provenance per field, fused T2V and I2V texts."""
    opened, batch, chosen = home.open(), context.partition_key, recipe.load()
    result = caption_batch(opened, batch, chosen.captions, seed=chosen.seed, workers=compute.workers())
    return step_result(opened, "captions", batch, result)
