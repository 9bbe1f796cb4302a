"""When the data chain makes itself: new batches flow through, but never past a gate that does not hold."""

import dagster as dg

# on_missing() alone asks for a partition whose upstream check failed: a blocking check counts within its own run only.
# The shot expert is no condition: captions are made with it or without, and it may wait for people for days.
GATED = (
    dg.AutomationCondition.on_missing() & dg.AutomationCondition.all_deps_blocking_checks_passed()
).ignore(dg.AssetSelection.assets("shot_expert"))  # fmt: skip

automation = dg.AutomationConditionSensorDefinition(
    "data_chain",
    target=dg.AssetSelection.assets("shots", "scores", "embeddings", "captions"),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=60,
    description="Materializes shots, scores, embeddings and captions of new batches as soon as what they need is there and its gates "
    "hold. Batches that were there before it was switched on stay as they are: `skyreels run` makes them.",
)
