"""New footage by itself: a sensor that watches a place all day, and a schedule that looks at it once a night. Both start stopped.

    SKYREELS_WATCH          folder or s3://bucket/prefix
    SKYREELS_WATCH_FILES    files of one batch at most; default 1,000
"""

import os
import time
from collections.abc import Mapping

import dagster as dg

from assets.partitions import INGEST_BATCHES
from jobs.jobs import batch_job
from resources.home import HomeResource
from skyreels_platform.errors import SkyreelsError
from skyreels_platform.watch import Cursor, Watch, look, sweep, unread_batches

_NIGHTLY_SETTLE_S = 600.0  # a single look has only a file's age to tell that it is complete (our choice)


def watch_from(environment: Mapping[str, str], **changes: float) -> Watch | None:
    """What the environment says is watched; None if nothing is. SkyreelsError names a value that cannot be used."""
    uri, files = environment.get("SKYREELS_WATCH", ""), environment.get("SKYREELS_WATCH_FILES") or "1000"
    if not files.isdecimal():
        raise SkyreelsError(f"SKYREELS_WATCH_FILES = {files!r}: give a whole number of files")
    return Watch(uri=uri, batch_size=int(files), **changes) if uri else None  # type: ignore[arg-type]


_UNSET = "SKYREELS_WATCH is not set: it names the folder or s3://bucket/prefix to watch"


@dg.sensor(
    job=batch_job, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED,
    description="Forms ingest batches of the footage that arrives in SKYREELS_WATCH and runs batch_job for each.",
)  # fmt: skip
def footage_watch(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    """One bounded look per tick. A batch that was registered by a tick which then failed is asked for by the next one."""
    watch = watch_from(os.environ)
    if watch is None:
        return dg.SkipReason(_UNSET)
    opened = home.open()
    found = look(
        watch, Cursor.from_json(context.cursor), ledger=opened.ledger, open_store=opened.open_store, now_s=time.time()
    )
    requested = set(context.instance.get_dynamic_partitions(INGEST_BATCHES))
    batches = [batch for batch in unread_batches(watch, opened.ledger) if batch not in requested]
    if not batches:
        text = f"{found.num_listed} files listed, {found.num_waiting} new ones wait until they are complete"
        return dg.SensorResult(skip_reason=text, cursor=found.cursor.to_json())
    return dg.SensorResult(
        run_requests=[_request(batch, "watch") for batch in batches], cursor=found.cursor.to_json(),
        dynamic_partitions_requests=[dg.AddDynamicPartitionsRequest(INGEST_BATCHES, batches)],
    )  # fmt: skip


@dg.schedule(
    job=batch_job, cron_schedule="0 2 * * *", default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night at two: ingest batches of everything new in SKYREELS_WATCH, and batch_job for each.",
)  # fmt: skip
def nightly_ingest(context: dg.ScheduleEvaluationContext, home: HomeResource) -> list[dg.RunRequest] | dg.SkipReason:
    """One look at the whole place; what does not fit is left to the next night, with a warning."""
    watch = watch_from(os.environ, settle_s=_NIGHTLY_SETTLE_S)
    if watch is None:
        return dg.SkipReason(_UNSET)
    opened = home.open()
    found = sweep(watch, ledger=opened.ledger, open_store=opened.open_store, now_s=time.time())
    if not found.is_whole:
        context.log.warning(f"{watch.uri}: only {found.num_listed} files were looked at; the sensor footage_watch gets through more")
    requested = set(context.instance.get_dynamic_partitions(INGEST_BATCHES))
    batches = [batch for batch in unread_batches(watch, opened.ledger) if batch not in requested]
    if not batches:
        return dg.SkipReason(f"{found.num_listed} files listed, nothing new; {found.num_waiting} were changed too recently")
    context.instance.add_dynamic_partitions(INGEST_BATCHES, batches)
    return [_request(batch, "schedule") for batch in batches]


def _request(batch: str, trigger: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"ingest-{batch}", partition_key=batch, tags={"skyreels/trigger": trigger, "skyreels/batch": batch}
    )
