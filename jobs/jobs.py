"""Jobs: what is run together. The data chain runs per batch, everything after it over all batches whose gates hold."""

import dagster as dg

BATCH_ASSETS = ("source_videos", "shots", "scores", "embeddings", "captions")

batch_job = dg.define_asset_job(
    "batch_job",
    selection=dg.AssetSelection.assets(*BATCH_ASSETS) | dg.AssetSelection.checks_for_assets(*BATCH_ASSETS),
    description="One ingest batch: footage to captions, with its gates.",
)

film_job = dg.define_asset_job(
    "film_job",
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets(*BATCH_ASSETS),
    description="Pools, data sets, latents, every training stage and the film, over all batches whose gates hold.",
)
