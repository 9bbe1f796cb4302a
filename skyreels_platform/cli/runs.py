"""Runs from the command line: the same jobs as in the UI, in this process, recorded in the same Dagster instance."""

import os
import shutil
import socket
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import dagster as dg

from model.guard import supervisor_id
from skyreels_platform.errors import SkyreelsError
from skyreels_platform.home import Home
from skyreels_platform.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
_PROCESS = "skyreels/process"  # tag of a run: the host and process that it lives in
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # bars and one sentence for people, the rest for the UI


def prepare_environment(home: str | None, recipe: str | None) -> Settings:
    """Let the options decide over the environment, for this process and the ones that it starts."""
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.simplefilter("ignore", category)  # used on purpose; versions are pinned
    if home:
        os.environ["SKYREELS_HOME"] = home
    if recipe:
        os.environ["SKYREELS_RECIPE"] = recipe
    settings = Settings.from_environment()
    os.environ.update(
        SKYREELS_HOME=settings.home, DAGSTER_HOME=str(settings.state_dir),
        DAGSTER_DISABLE_TELEMETRY="yes",
    )  # fmt: skip
    return settings


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The Dagster instance of a home, configured by the checkout's dagster.yaml (PostgreSQL if SKYREELS_POSTGRES_URL is set)."""
    name = "deploy/dagster.postgres.yaml" if os.environ.get("SKYREELS_POSTGRES_URL") else "dagster.yaml"
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    temporary = settings.state_dir / f".dagster.yaml.{os.getpid()}"
    shutil.copyfile(_ROOT / name, temporary)
    temporary.rename(settings.state_dir / "dagster.yaml")
    instance = dg.DagsterInstance.get()
    _end_dead_runs(instance)
    return instance


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Close runs of commands that were killed: they would stay `started` and hold their pool's slot, and the next run would wait."""
    alive = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=alive, tags={"skyreels/trigger": "cli"})):
        host, _, process = run.tags.get(_PROCESS, "").rpartition("/")
        if host == socket.gethostname() and supervisor_id(int(process.partition(":")[0])) != process:
            instance.report_run_failed(run, "The command that this run lived in was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def register_partitions(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Make every batch of the ledger a partition; returns all batches in order."""
    from assets.partitions import INGEST_BATCHES

    batches = sorted(set(home.ledger.rows("files", columns=["batch"])["batch"].to_pylist()))
    if batches:
        instance.add_dynamic_partitions(INGEST_BATCHES, batches)
    return batches


def run_assets(instance: dg.DagsterInstance, job: str, assets: Iterable[str], *, batch: str | None = None) -> None:
    """Materialize `assets` through `job`; SkyreelsError with the failed step and its cause if one fails."""
    from skyreels_platform.definitions import defs

    keys = [dg.AssetKey(asset) for asset in assets]
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=batch, asset_selection=keys, raise_on_error=False, run_config=_QUIET,
        tags={
            "skyreels/trigger": "cli", _PROCESS: f"{socket.gethostname()}/{supervisor_id(os.getpid())}",
            **({"skyreels/batch": batch} if batch else {}),
        },
    )  # fmt: skip
    if result.success:
        return
    where = f"{job} of {batch}" if batch else job
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            while error.cause:
                error = error.cause
            kind, _, sentence = error.message.strip().partition(": ")
            text = sentence if kind.startswith(f"{SkyreelsError.__module__}.") else error.message.strip()
            raise SkyreelsError(f"{where}: {event.step_key}: {text} (run {result.run_id} in the UI)")
    raise SkyreelsError(f"{where} failed; look at run {result.run_id} in the UI")


def select_assets(selection: str) -> tuple[list[str], list[str]]:
    """Dagster's selection syntax to (assets per batch, assets over all batches), each in the graph's order."""
    from jobs.jobs import BATCH_ASSETS
    from skyreels_platform.definitions import defs

    graph = defs.resolve_asset_graph()
    try:
        chosen = dg.AssetSelection.from_string(selection).resolve(graph)
    except (dg.DagsterError, ValueError) as error:
        known = ", ".join(sorted(key.to_user_string() for key in graph.get_all_asset_keys()))
        raise SkyreelsError(f"--select {selection!r}: {str(error).splitlines()[0]}; assets: {known}") from error
    ordered = [key.to_user_string() for level in graph.toposorted_asset_keys_by_level for key in sorted(level) if key in chosen]
    return [name for name in ordered if name in BATCH_ASSETS], [name for name in ordered if name not in BATCH_ASSETS]


def phases(per_batch: Sequence[str], over_all: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(job, assets) in the order in which a selection is made, none of them empty.

    Captions of a batch use the shot expert, which learns from the shots of all: it stands between two passes over the batches.
    """
    from skyreels_platform.definitions import defs

    graph = defs.resolve_asset_graph()
    behind = {
        name: {key.to_user_string() for key in dg.AssetSelection.assets(name).downstream(include_self=False).resolve(graph)}
        for name in over_all
    }  # fmt: skip
    between = [name for name in over_all if behind[name] & set(per_batch)]
    later = set().union(*(behind[name] for name in between))
    found = [
        ("batch_job", [name for name in per_batch if name not in later]), ("film_job", between),
        ("batch_job", [name for name in per_batch if name in later]), ("film_job", [name for name in over_all if name not in between]),
    ]  # fmt: skip
    return [(job, assets) for job, assets in found if assets]
