"""Chapter 3, captions: what each shot shows, by field, and where each field came from."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.curation import step_result
from assets.partitions import ONE_BATCH_PER_RUN, ingest_batches
from resources.captioner import CaptionerResource
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.recipes import RecipeResource
from skyreels_platform.captioning.asking import Usage
from skyreels_platform.captioning.batches import CAPTIONS_VERSION, caption_batch
from skyreels_platform.recipe import EndpointSettings


@dg.asset(
    deps=["shots", "shot_expert"], partitions_def=ingest_batches, backfill_policy=ONE_BATCH_PER_RUN, group_name="captions",
    kinds={"lance", "vllm"}, owners=["team:data"], code_version=CAPTIONS_VERSION, pool="captioner",
)  # fmt: skip
def captions(
    context: dg.AssetExecutionContext, home: HomeResource, recipe: RecipeResource, compute: ComputeResource,
    captioner: CaptionerResource,
) -> dg.MaterializeResult:  # fmt: skip
    """One row per shot: structured caption in SkyCaptioner's schema, provenance per field, fused T2V and I2V texts."""
    opened, batch, chosen = home.open(), context.partition_key, recipe.load()
    with captioner.captioner_urls(chosen.captions, opened.work) as urls:
        result = caption_batch(
            opened, batch, chosen.captions, seed=chosen.seed, workers=compute.workers(), captioners=urls,
            writers=captioner.writer_urls(chosen.captions.writer),
        )  # fmt: skip
    made = step_result(opened, "captions", batch, result)
    usage = {
        **usage_metadata("captioner", result.captioner, chosen.captions.captioner),
        **usage_metadata("writer", result.writer, chosen.captions.writer),
    }
    return dg.MaterializeResult(data_version=made.data_version, metadata={**(made.metadata or {}), **usage})


def usage_metadata(name: str, usage: Usage, settings: EndpointSettings) -> Mapping[str, Any]:
    """What asking took: rates, queue and cost; nothing where nobody was asked. Rates are 0.0 where all answers were known."""
    if not usage.num_requests:
        return {}
    wall_s, asked, clips = usage.wall_s, usage.num_requests - usage.num_known, len(usage.about)
    shown: dict[str, Any] = {
        "requests": usage.num_requests, "requests_known": usage.num_known, "retries": usage.num_retries,
        "statuses": dg.MetadataValue.json(dict(usage.statuses)),
        "tokens_per_s": usage.completion_tokens / wall_s if asked else 0.0,
        "prompt_tokens_per_s": usage.prompt_tokens / wall_s if asked else 0.0,
        "requests_per_s": asked / wall_s, "in_flight": usage.num_in_flight,
        "clips": clips, "seconds_per_1000_clips": 1000 * wall_s / clips if clips else 0.0,
    }  # fmt: skip
    if usage.waiting:
        shown |= {"queue_depth": sum(usage.waiting) / len(usage.waiting), "queue_depth_most": max(usage.waiting)}
    if settings.cost_per_hour and clips:  # a clip may take several requests
        shown["cost_per_1000_clips"] = settings.cost_per_hour * wall_s / 3600 * 1000 / clips
    return {f"{name}_{key}": value for key, value in shown.items()}
