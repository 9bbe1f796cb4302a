"""`skyreels backfill`: what making a range of batches again will take, and then, without --preview, doing it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from resources.compute import ComputeResource
from resources.home import open_home
from resources.vectors import open_vectors
from skyreels_platform.cli.runs import open_instance, prepare_environment, register_partitions, run_assets, select_assets
from skyreels_platform.errors import SkyreelsError
from skyreels_platform.home import Home
from skyreels_platform.progress import track
from skyreels_platform.recipe import load_recipe

_NAMED = 8  # signals that are named one by one


def run_backfill(select: str, batches: str, preview: bool, home: str | None, recipe: str | None, as_json: bool) -> None:
    """Print the plan; then launch it, batch by batch, unless it is a preview. Batches that are up to date are passed over."""
    settings = prepare_environment(home, recipe)
    opened = open_home(settings.home)
    per_batch, over_all = select_assets(select)
    if not per_batch:
        raise SkyreelsError(f"--select {select!r} has no asset that is made per batch; make it with: skyreels run --select '{select}'")
    known = sorted(set(opened.ledger.rows("files", columns=["batch"])["batch"].to_pylist()))
    keys = select_batches(batches, known)
    plan = make_plan(opened, keys, per_batch, over_all, settings.recipe)
    if as_json and preview:
        print(json.dumps(plan, indent=2))
    else:
        _show(plan, Console(soft_wrap=True, highlight=False, stderr=as_json))
    if preview:
        return
    stale = list(dict.fromkeys(entry["batch"] for entry in plan["backlog"] if entry["num_stale"]))
    instance = open_instance(settings)
    register_partitions(instance, opened)
    for key in track(stale, "backfill"):
        run_assets(instance, "batch_job", per_batch, batch=key)
    if as_json:
        print(json.dumps({**plan, "made": stale}, indent=2))
    Console(stderr=True).print(f"{len(stale)} of {len(keys)} batches were made; the others were up to date.")


def select_batches(text: str, known: Sequence[str]) -> list[str]:
    """`A...B` (both included), one batch, several with commas between them, or `*`. SkyreelsError names what is not there."""
    there = f"there are: {known[0]}...{known[-1]}" if known else "there are none, ingest footage first"
    chosen: set[str] = set()
    for part in text.split(","):
        first, dots, last = (word.strip() for word in part.partition("..."))
        if part.strip() == "*" and known:
            chosen |= set(known)
            continue
        for key in (first, last) if dots else (first,):
            if key not in known:
                raise SkyreelsError(f"--batches {text!r}: no batch {key!r}; {there}")
        if dots and first > last:
            raise SkyreelsError(f"--batches {text!r}: {first} comes after {last}; write {last}...{first}")
        chosen |= {key for key in known if first <= key <= (last or first)}
    return sorted(chosen)


def make_plan(home: Home, batches: Sequence[str], per_batch: Sequence[str], over_all: Sequence[str], recipe: str) -> dict[str, Any]:
    """The backlog of every batch and asset, its cost in all, and the wall time on the chosen workers, as plain values."""
    from skyreels_platform.curation.backlog import backlog
    from skyreels_platform.curation.costs import Estimate, measured_rates

    chosen, compute = load_recipe(recipe), ComputeResource.from_environment()
    num_workers = compute.workers().num_workers
    rates = measured_rates(home.ledger)
    fingerprints = open_vectors(f"{home.uri}/vectors")
    found = [entry for batch in batches for entry in backlog(home, fingerprints, batch, per_batch, chosen, rates)]
    total = sum((entry.cost for entry in found), Estimate())
    return {
        "batches": list(batches), "assets": list(per_batch), "afterwards": list(over_all),
        "backlog": [asdict(entry) for entry in found],
        "total": {
            **asdict(total), "num_stale": sum(entry.num_stale for entry in found),
            "num_stale_rows": sum(entry.num_stale_rows for entry in found),
            "wall_s": sum(entry.cost.wall_s(num_workers, entry.longest_s) for entry in found),
        },
        "workers": {"backend": compute.backend, "num_workers": num_workers},
        "rates": {
            f"{step} of {media}": {"core_s_per_frame": rate.middle, "low": rate.low, "high": rate.high, "num_sources": rate.num_sources}
            for (step, media), rate in sorted(rates.items())
        },
    }  # fmt: skip


def _show(plan: dict[str, Any], console: Console) -> None:
    table = Table("batch", "asset", "sources", "to make", "rows made again", "core-seconds")
    for entry in plan["backlog"]:
        cost = entry["cost"]
        table.add_row(
            entry["batch"], entry["asset"], str(entry["num_sources"]), str(entry["num_stale"]), str(entry["num_stale_rows"]),
            _cost(cost) if entry["num_stale"] else "up to date",
        )  # fmt: skip
    console.print(table)
    for entry in plan["backlog"]:
        if text := _what(entry):
            console.print(f"{entry['batch']} {entry['asset']}: {text}")
    total, workers = plan["total"], plan["workers"]
    text = f"{total['num_stale']} sources to work on, {_cost(total)} core-seconds"
    console.print(f"{text}, about {_duration(total['wall_s'])} on {workers['num_workers']} {workers['backend']} workers.")
    if not total["is_measured"]:
        console.print("* rests on a default, because that step was never measured here: it may be wrong by several times.")
    if plan["afterwards"]:
        selection = " or ".join(f"key:{name}" for name in plan["afterwards"])
        console.print(f"Over all batches, and not part of this: skyreels run --select '{selection}'")


def _what(entry: dict[str, Any]) -> str:
    signals = entry["signals"]
    named = f"{len(signals)} signals"
    if len(signals) <= _NAMED:
        named = ", ".join(f"{name} in {signals[name]} sources" for name in sorted(signals))
    return "; ".join(filter(None, [f"recomputes {named}, and no other signal" if signals else "", entry["note"]]))


def _cost(cost: dict[str, Any]) -> str:
    if not cost["is_measured"]:
        return f"{cost['core_s']:,.1f}*"
    return f"{cost['core_s']:,.1f} ({cost['low_s']:,.1f} to {cost['high_s']:,.1f})"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
