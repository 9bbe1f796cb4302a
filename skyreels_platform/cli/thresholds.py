"""The command thresholds: what other bounds of one stage would change, and their commit."""

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resources.home import open_home
from skyreels_platform.cli.runs import prepare_environment
from skyreels_platform.curation.pool_versions import InForce, bounds_in_force, commit, committed, revert
from skyreels_platform.curation.preview import Preview, preview
from skyreels_platform.errors import LedgerError
from skyreels_platform.home import Home
from skyreels_platform.recipe import Bound, PoolSettings, Recipe, load_recipe

_KEYS = ("min", "max", "unknown")
_UNKNOWNS = ("fail", "pass", "review")
_MAX_CONCEPTS = 12


def run_thresholds(
    stage: str, changes: Sequence[str], *, is_commit: bool, is_revert: bool, note: str, sheet: Path | None, home: str | None,
    recipe: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Print what the changes gain and lose; commit them, or go back to the recipe's bounds, if asked to."""
    settings = prepare_environment(home, recipe)
    chosen, opened = load_recipe(settings.recipe), open_home(settings.home)
    pools: dict[str, PoolSettings] = {**chosen.pools}
    if stage not in pools:
        raise typer.BadParameter(f"{stage!r} is no stage of recipe {chosen.name}; {_nearest(stage, list(pools))}", param_hint="--stage")
    if is_revert and (changes or is_commit):
        raise typer.BadParameter("it goes back to the recipe's bounds and takes neither --set nor --commit", param_hint="--revert")
    if is_commit and not changes:
        raise typer.BadParameter("there is nothing to commit; say what changes with --set", param_hint="--commit")
    in_force = _in_force(opened, stage, pools[stage], is_revert=is_revert)
    wanted = pools[stage] if is_revert else changed(in_force.settings, changes)
    found = preview(opened, stage, in_force.settings, wanted, min_length_s=chosen.shots.min_length_s)
    place = _write_sheet(opened, found, sheet)
    outcome = _apply(opened, chosen, found, wanted, in_force, note, is_commit=is_commit, is_revert=is_revert)
    if as_json:
        print(json.dumps({**asdict(found), "diff": found.diff, "judged_by": _name(in_force), "sheet": place, **outcome}, indent=2))
        return
    console = Console(soft_wrap=True)
    console.print(_heading(chosen, stage, in_force))
    for part in (_pool_table(found), _reason_table(found), _concept_table(found)):
        console.print(part)
    console.print(f"contact sheet of gained and lost shots: {escape(place)}")
    console.print(escape(outcome["outcome"]))


def _in_force(home: Home, stage: str, settings: PoolSettings, *, is_revert: bool) -> InForce:
    """The bounds that hold now; for who goes back to the recipe, also if they are not in the ledger any more."""
    try:
        return bounds_in_force(home.ledger, stage, settings)
    except LedgerError:
        if not is_revert:
            raise
        return InForce(settings=settings, pool_version=committed(home.ledger)[stage])


def changed(settings: PoolSettings, changes: Sequence[str]) -> PoolSettings:
    """The bounds with `SIGNAL.KEY=VALUE` applied in turn; the value `none` takes a limit away. typer.BadParameter says what is wrong."""
    bounds = {name: bound.model_dump(exclude_none=True) for name, bound in settings.bounds.items()}
    for text in changes:
        signal, key, value = _parsed(text)
        bound = bounds.setdefault(signal, {})
        if value is None:
            bound.pop(key, None)
        else:
            bound[key] = value
    # A bound that lost its limits goes; a new one without any is a mistake.
    kept = {name: bound for name, bound in bounds.items() if bound.keys() & {"min", "max"} or name not in settings.bounds}
    return PoolSettings(bounds={name: _bound(name, bound) for name, bound in kept.items()})


def _bound(name: str, values: dict[str, Any]) -> Bound:
    try:
        return Bound.model_validate(values)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{name}: {message}", param_hint="--set") from error


def _parsed(text: str) -> tuple[str, str, float | str | None]:
    """Signal, key and value of one change."""
    from skyreels_platform.curation.pools import DUPLICATE
    from skyreels_platform.curation.signals import SIGNALS

    name, equals, value = (part.strip() for part in text.partition("="))
    signal, dot, key = name.partition(".")
    if not (equals and dot):
        raise typer.BadParameter(f"{text!r}: write SIGNAL.KEY=VALUE, for example motion.min=0.2", param_hint="--set")
    if signal not in SIGNALS and signal != DUPLICATE:
        raise typer.BadParameter(f"{text!r}: no signal {signal!r}; {_nearest(signal, [*SIGNALS, DUPLICATE])}", param_hint="--set")
    if key not in _KEYS:
        raise typer.BadParameter(f"{text!r}: no key {key!r}; {_nearest(key, _KEYS)}", param_hint="--set")
    if key == "unknown":
        if value not in _UNKNOWNS:
            raise typer.BadParameter(f"{text!r}: {_nearest(value, _UNKNOWNS)}", param_hint="--set")
        return signal, key, value
    if value == "none":
        return signal, key, None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f"{text!r}: {value!r} is no number; write one, or none for no limit", param_hint="--set")
    return signal, key, number


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _apply(
    home: Home, recipe: Recipe, found: Preview, wanted: PoolSettings, in_force: InForce, note: str, *, is_commit: bool, is_revert: bool
) -> dict[str, Any]:  # fmt: skip
    """Commit or revert; returns `pool_version` (None: the recipe's bounds hold) and the `outcome` in a sentence."""
    again = f"judge again with: skyreels run --select 'pool_{found.stage}*'"
    if is_revert:
        version = revert(home.ledger, found.stage)
        text = f"Pool {found.stage} judged by the recipe's bounds already." if version is None else (
            f"Pool {found.stage} judges by the recipe's bounds again, no longer by {version}; {again}")  # fmt: skip
        return {"pool_version": None, "outcome": text}
    if not is_commit:
        text = "Nothing was written; --commit lets the pool judge by these bounds."
        return {"pool_version": in_force.pool_version, "outcome": text}
    if wanted == in_force.settings:
        return {"pool_version": in_force.pool_version, "outcome": f"Pool {found.stage} judges by these very bounds already."}
    version = commit(
        home.ledger, found.stage, wanted, diff=found.diff, num_pass=found.after.counts.get("pass", 0), gained=found.gained,
        lost=found.lost, recipe_hash=recipe.hash(), note=note,
    )  # fmt: skip
    text = f"Pool {found.stage} judges by {version} from now on, not by the recipe's bounds; {again}"
    return {"pool_version": version, "outcome": text}


def _write_sheet(home: Home, found: Preview, sheet: Path | None) -> str:
    """Write the contact sheet, by default into the home's store; returns its place."""
    from skyreels_platform.curation.pictures import contact_sheet_of, tile_lines

    kinds = (
        ("gained, with the reasons that fall away", found.gained, found.gained_shots),
        ("lost, with the new reasons", found.lost, found.lost_shots),
    )
    groups = {
        f"{len(shots)} of {count:,} {title}": [(shot.shot_id, tile_lines(*shot)) for shot in shots] for title, count, shots in kinds
    }
    data = contact_sheet_of(home, groups)
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(data)
        return str(sheet)
    key = f"reports/thresholds/{found.stage}.jpg"
    home.store.write_bytes(key, data)
    return f"{home.store.uri}/{key}"


def _name(in_force: InForce) -> str:
    return in_force.pool_version or "recipe"


def _heading(recipe: Recipe, stage: str, in_force: InForce) -> str:
    if in_force.pool_version is None:
        return f"Pool {stage} judges by the bounds of recipe {escape(recipe.name)}."
    note = f" ({escape(in_force.note)})" if in_force.note else ""
    return f"Pool {stage} judges by the committed bounds {in_force.pool_version}{note}, not by those of recipe {escape(recipe.name)}."


def _pool_table(found: Preview) -> Table:
    table = Table("", "pass", "review", "fail", "hours", title=f"pool {found.stage}")
    for name, facts in (("now", found.before), ("with these bounds", found.after)):
        table.add_row(name, *(f"{facts.counts.get(verdict, 0):,}" for verdict in ("pass", "review", "fail")), f"{facts.hours:,.3f}")
    return table


def _reason_table(found: Preview) -> Table:
    table = Table("reason (a shot may have several)", "gained", "lost")
    for kind, counts in found.diff.items():
        table.add_row(kind, f"{counts['gained']:,}", f"{counts['lost']:,}")
    table.add_section()
    table.add_row("shots", f"{found.gained:,}", f"{found.lost:,}")
    return table


def _concept_table(found: Preview) -> Table:
    table = Table("concept", "shots now", "share", "with these bounds", "share")
    names = list(dict.fromkeys([*found.before.concepts, *found.after.concepts]))
    for name in names[:_MAX_CONCEPTS]:
        table.add_row(escape(name), *_count_and_share(found.before.concepts, name), *_count_and_share(found.after.concepts, name))
    if len(names) > _MAX_CONCEPTS:
        table.add_row(f"{len(names) - _MAX_CONCEPTS} others; --json lists them", "", "", "", "")
    return table


def _count_and_share(concepts: dict[str, int], name: str) -> tuple[str, str]:
    count, total = concepts.get(name, 0), sum(concepts.values())
    return f"{count:,}", f"{100 * count / total:.1f} %" if total else ""
