"""The code location: every asset, check, job, sensor and resource, built once from explicit lists."""

from typing import cast

import dagster as dg

from assets import captioner, captions, checks, curation, dedup, generation, ingest, training
from jobs.automation import GATED, automation
from jobs.ingest import footage_watch, nightly_ingest
from jobs.jobs import batch_job, film_job
from jobs.sensors import orphan_reaper
from resources.captioner import CaptionerResource
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.recipes import RecipeResource
from resources.trainer import TrainerClient
from resources.vectors import VectorsResource
from skyreels_platform.settings import Settings

settings = Settings.from_environment()

_batched = cast(list[dg.AssetsDefinition], [curation.shots, curation.scores, dedup.embeddings, captions.captions])
_gated = dg.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=GATED), _batched)

defs = dg.Definitions(
    assets=[
        ingest.source_videos, *_gated, dedup.duplicate_groups, *curation.pools, curation.balanced_pool, *curation.datasets,
        *training.latents, *training.stages, generation.film, captioner.shot_expert, captioner.dataset_captioner,
        captioner.skycaptioner,
    ],
    asset_checks=checks.gates,
    jobs=[batch_job, film_job],
    schedules=[nightly_ingest],
    sensors=[automation, orphan_reaper, footage_watch],
    resources={
        "home": HomeResource(uri=settings.home),
        "compute": ComputeResource.from_environment(),
        "captioner": CaptionerResource.from_environment(),
        "vectors": VectorsResource(),
        "recipe": RecipeResource(reference=settings.recipe),
        "trainer": TrainerClient(),
    },
    executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),  # a step holds a decoder or a model: two fill a laptop
)  # fmt: skip
