"""Commands about footage and data: ingest, run, status, inspect."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resources.home import open_home
from skyreels_platform.cli.runs import open_instance, phases, prepare_environment, register_partitions, run_assets, select_assets
from skyreels_platform.curation.pool_versions import committed
from skyreels_platform.errors import SkyreelsError
from skyreels_platform.footage import list_footage
from skyreels_platform.home import Home
from skyreels_platform.ingest import register_batch
from skyreels_platform.recipe import load_recipe


def register_footage(home: Home, uris: list[str]) -> str | None:
    """Register what is new below the URIs as the next batch; None if there is nothing new."""
    return register_batch(home.ledger, list_footage(uris, open_store=home.open_store))


def run_ingest(uris: list[str], home: str | None, recipe: str | None, as_json: bool) -> None:
    """Register a batch, read it, and print a status for every file."""
    settings = prepare_environment(home, recipe)
    opened = open_home(settings.home)
    batch = register_footage(opened, uris)
    if batch is None:
        _print({"batch": None, "files": []}, "Nothing new: every file here was ingested before.", as_json)
        return
    instance = open_instance(settings)
    register_partitions(instance, opened)
    run_assets(instance, "batch_job", ["source_videos"], batch=batch)
    files = opened.ledger.rows("files", {"batch": batch}, ["uri", "status", "reason", "source_id"]).to_pylist()
    _print({"batch": batch, "files": files}, _files_table(batch, files), as_json)


def run_selection(select: str, batch: str | None, home: str | None, recipe: str | None) -> None:
    """Materialize a selection: batch by batch where assets are partitioned, then the rest; what batches need of the rest in between."""
    settings = prepare_environment(home, recipe)
    load_recipe(settings.recipe)  # a bad recipe is refused before anything starts
    opened, instance = open_home(settings.home), open_instance(settings)
    per_batch, over_all = select_assets(select)
    batches = register_partitions(instance, opened)
    if batch is not None and batch not in batches:
        raise SkyreelsError(f"no batch {batch!r}; there are: {', '.join(batches) or 'none, ingest footage first'}")
    for name, chosen in phases(per_batch, over_all):
        for key in ([batch] if batch else batches) if name == "batch_job" else [None]:
            run_assets(instance, name, chosen, batch=key)
    Console(stderr=True).print(f"{len(per_batch) + len(over_all)} assets are up to date.")


def show_status(home: str | None, recipe: str | None, as_json: bool) -> None:
    """Counts per batch, gates, failures, verdicts per stage, and what each unpartitioned asset stands at."""
    settings = prepare_environment(home, recipe)
    opened = open_home(settings.home)
    batches = _batches(opened)
    # Names with a slash stand for parts of an asset, for example the batches that duplicates were sought in.
    current = {row["name"]: row["ref"] for row in opened.ledger.rows("current").to_pylist() if "/" not in row["name"]}
    verdicts = opened.ledger.query("SELECT stage, verdict, count(*) AS shots FROM verdicts GROUP BY ALL ORDER BY ALL").to_pylist()
    thresholds = committed(opened.ledger)
    data = {
        "home": settings.home, "batches": batches, "current": current, "committed_bounds": thresholds,
        "verdicts": verdicts,
    }
    table = Table("batch", "files", "ready", "refused", "shots", "captions", "failures", "gates", title=f"home {settings.home}")
    for row in batches:
        gates = "; ".join(f"{gate['gate']}: {'holds' if gate['passed'] else escape(gate['reason'])}" for gate in row["gates"])
        shown = [row[key] for key in ("files", "ready", "refused", "shots", "captions", "failures")]
        table.add_row(row["batch"], *map(str, shown), gates or "not checked")
    assets = Table("asset", "stands at")
    for name, ref in sorted(current.items()):
        assets.add_row(name, ref)
    notes = [f"Pool {stage} judges by the committed bounds {version}, not by the recipe's (skyreels thresholds --stage {stage})."
             for stage, version in sorted(thresholds.items())]  # fmt: skip
    _print(data, [table, assets, *notes], as_json)


def show_inspection(video: Path, recipe: str | None, as_json: bool) -> None:
    """Print one file's shots with everything that is known of them."""
    from skyreels_platform.inspection import inspect_file

    settings = prepare_environment(None, recipe)
    found = inspect_file(video, load_recipe(settings.recipe))
    source = found["source"]
    title = f"{source['path']}: {source['width']}x{source['height']}, {source['num_frames']} frames, {source['duration_s']:.2f} s"
    table = Table("shot", "frames", "seconds", "in", "caption", "verdicts", title=escape(title), show_lines=True)
    for number, shot in enumerate(found["shots"]):
        verdicts = "\n".join(f"{stage} {v['verdict']}" + "".join(f"\n  {escape(reason)}" for reason in v["reasons"])
                             for stage, v in shot["verdicts"].items())  # fmt: skip
        table.add_row(
            str(number), f"{shot['start_frame']}-{shot['end_frame']}", f"{shot['start_s']:.2f}-{shot['end_s']:.2f}",
            shot["transition_in"], escape(shot["caption"]["t2v"]), verdicts,
        )  # fmt: skip
    _print(found, table, as_json)


def _batches(home: Home) -> list[dict[str, Any]]:
    """One row per batch; every table is read once, however many batches there are."""
    files: dict[str, Counter[str]] = {}
    for row in home.ledger.query("SELECT batch, status, count(*) AS num FROM files GROUP BY ALL").to_pylist():
        files.setdefault(row["batch"], Counter())[row["status"]] = row["num"]
    counts: dict[str, dict[str, int]] = {}
    for table in ("shots", "captions", "failures"):
        found = home.ledger.query(f"SELECT batch, count(*) AS num FROM {table} GROUP BY ALL")
        counts[table] = dict(zip(found["batch"].to_pylist(), found["num"].to_pylist(), strict=True))
    gates: dict[str, list[dict[str, Any]]] = {}
    for row in home.ledger.rows("gates", columns=["batch", "gate", "passed", "reason"]).to_pylist():
        gates.setdefault(row.pop("batch"), []).append(row)
    return [
        {
            "batch": batch, "files": found.total(), "ready": found["ready"], "refused": found["refused"], "duplicates": found["duplicate"],
            "listed": found["listed"], **{table: counts[table].get(batch, 0) for table in counts}, "gates": gates.get(batch, []),
        }
        for batch, found in sorted(files.items())
    ]  # fmt: skip


def _files_table(batch: str, files: list[dict[str, Any]]) -> Table:
    table = Table("file", "status", "reason", title=f"batch {batch}")
    for row in files:
        table.add_row(escape(row["uri"]), row["status"], escape(row["reason"] or ""))
    return table


def _print(data: Any, text: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, indent=2))
        return
    console = Console(soft_wrap=True)
    for part in text if isinstance(text, list) else [text]:
        console.print(part)
