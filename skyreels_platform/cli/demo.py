"""`skyreels demo`: footage to film in one command, resumable anywhere."""

import json
import time
from pathlib import Path

from rich.console import Console

from model.checkpoint import write_json
from resources.home import open_home
from skyreels_platform.cli.data import register_footage
from skyreels_platform.cli.runs import open_instance, prepare_environment, register_partitions, run_assets, select_assets
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current
from skyreels_platform.recipe import load_recipe

_TRUTH = ".truth.json"  # hidden, so not footage; written last: the sample films beside it are complete


def run_demo(sources: list[str], home: str | None, recipe: str | None) -> None:
    """Render or take footage, run the whole graph, write the report, say where to look."""
    started = time.monotonic()
    settings = prepare_environment(home, recipe)
    chosen = load_recipe(settings.recipe)
    opened = open_home(settings.home)
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[bold]skyreels demo[/] recipe {chosen.name}, home {settings.home}")
    register_footage(opened, sources or [str(_sample_films(opened))])
    instance = open_instance(settings)
    per_batch, over_all = select_assets("*")
    for batch in register_partitions(instance, opened):
        run_assets(instance, "batch_job", per_batch, batch=batch)
    run_assets(instance, "film_job", over_all)
    _finish(opened, settings.recipe, time.monotonic() - started)


def _sample_films(home: Home) -> Path:
    from skyreels_platform.media.sample_film import sample_library
    from skyreels_platform.media.sample_stills import sample_stills
    from skyreels_platform.progress import bar

    folder = home.work.parent / "footage"
    if not (folder / _TRUTH).is_file():
        with bar("sample films") as progress:
            films = sample_library(folder)
            progress.advance(len(films) + len(sample_stills(folder)))
        truth = {path.name: json.loads(truth.to_json()) for path, truth in films}
        write_json(folder / _TRUTH, truth)
    return folder


def _finish(home: Home, recipe: str, seconds: float) -> None:
    from skyreels_platform.report.page import build_report

    film_id = get_current(home.ledger, "film")
    film = home.ledger.rows("films", {"film_id": film_id}).to_pylist()[0]
    page = build_report(home, load_recipe(recipe), film_id=film_id, out=home.work.parent / "report.html")
    check = json.loads(film["manifest"])["check"]
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\nDone in {seconds:.0f} s.")
    console.print(f"  film    {home.fetch(film['path'])}   \"{film['prompt']}\"")
    console.print(f"  check   {check['outcome']}: {check['text']}")
    console.print(f"  report  {page}")
    console.print(f"  lineage skyreels trace {film_id}{_home_option(home)}")
    console.print(f"  UI      {'' if _is_default(home) else f'SKYREELS_HOME={home.uri} '}make ui")


def _is_default(home: Home) -> bool:
    from skyreels_platform.home import DEFAULT_HOME

    return home.uri == str(Path(DEFAULT_HOME).absolute())


def _home_option(home: Home) -> str:
    return "" if _is_default(home) else f" --home {home.uri}"
