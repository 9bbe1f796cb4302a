"""The commands and their options."""

from pathlib import Path
from typing import Annotated

import typer

from skyreels_platform.cli.captions import captions
from skyreels_platform.cli.label import label
from skyreels_platform.cli.options import HomeOption, JsonOption, RecipeOption

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False,
    help="Footage in, trained video model and film out: the SkyReels-V2 recipe as one asset graph.\n\n"
    "Start with `skyreels demo`; then `skyreels demo --source MY_FOLDER`.",
)  # fmt: skip


@app.command()
def demo(
    source: Annotated[list[str] | None, typer.Option(help="Your own footage: a file, folder, glob or s3:// prefix. May be repeated. "
                                                     "Default: sample films, rendered now.", show_default=False)] = None,
    home: HomeOption = None,
    recipe: RecipeOption = None,
) -> None:  # fmt: skip
    """The whole recipe, footage to film, then where to look.

    Runs ingest, shots, scores, captions, pools, data set, latents, two training stages and a film. Killed anywhere, the same
    command goes on where it stopped.
    """
    from skyreels_platform.cli.demo import run_demo

    run_demo(source or [], home, recipe)


@app.command()
def ingest(
    uris: Annotated[list[str], typer.Argument(metavar="URI...", help="Files, folders, globs or s3:// prefixes of videos and images.")],
    home: HomeOption = None, recipe: RecipeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Register footage as a new batch: every file gets a status, and a reason if it is refused.

    Captions beside a file (`clip.txt`, `clip.json` beside `clip.mp4`) are kept as human-written fields. Files that were ingested
    before are passed over.
    """
    from skyreels_platform.cli.data import run_ingest

    run_ingest(uris, home, recipe, as_json)


@app.command()
def run(
    select: Annotated[str, typer.Option(help="Assets in Dagster's selection syntax: `shots`, `pool_256p*` (it and all after it)")] = "*",
    batch: Annotated[str | None, typer.Option(help="One ingest batch; default: all.", show_default=False)] = None,
    home: HomeOption = None, recipe: RecipeOption = None,
) -> None:  # fmt: skip
    """Materialize assets, with progress bars. What is up to date is passed over."""
    from skyreels_platform.cli.data import run_selection

    run_selection(select, batch, home, recipe)


@app.command()
def backfill(
    select: Annotated[str, typer.Option(help="Assets in Dagster's selection syntax: `scores`, `shots+` (it and its children)")],
    batches: Annotated[str, typer.Option(metavar="A...B", help="`b000001...b000010`, one batch, several with commas, or `*`.")],
    preview: Annotated[bool, typer.Option("--preview", help="Say what it would take and stop.")] = False,
    home: HomeOption = None, recipe: RecipeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a range of batches again where they are stale, one after another, after saying what it takes.

    Per batch and asset: the sources and rows that are stale by provenance, which signals, the core-seconds by what the step cost on
    other sources, and the time on the workers that SKYREELS_COMPUTE and SKYREELS_WORKERS choose.
    """
    from skyreels_platform.cli.backfill import run_backfill

    run_backfill(select, batches, preview, home, recipe, as_json)


@app.command()
def status(home: HomeOption = None, recipe: RecipeOption = None, as_json: JsonOption = False) -> None:
    """What there is: per batch its files, shots, captions and gates; per asset what it stands at."""
    from skyreels_platform.cli.data import show_status

    show_status(home, recipe, as_json)


@app.command()
def inspect(
    video: Annotated[Path, typer.Argument(help="A video or image file.", exists=True, dir_okay=False)],
    recipe: RecipeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Shots, scores, crop, captions and per-stage verdicts of one file; nothing is stored."""
    from skyreels_platform.cli.data import show_inspection

    show_inspection(video, recipe, as_json)


@app.command()
def thresholds(
    stage: Annotated[str, typer.Option(help="256p, 360p, 540p or sft_540p.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SIGNAL.KEY=VALUE", help="`motion.min=0.2`, `static.max=none`, "
                                                   "`logo.unknown=pass`. May be repeated.", show_default=False)] = None,
    commit: Annotated[bool, typer.Option("--commit", help="Let this home's pool judge by these bounds from now on.")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="Go back to the recipe's bounds.")] = False,
    note: Annotated[str, typer.Option(help="Why; kept with the commit.")] = "",
    sheet: Annotated[Path | None, typer.Option(help="Where the contact sheet goes (JPEG). Default: the home's reports/thresholds/.",
                                               show_default=False)] = None,
    home: HomeOption = None, recipe: RecipeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """What other thresholds of one stage would gain and lose, by reason, from stored scores alone.

    Prints shots, hours and concepts before and after, and writes a contact sheet of gained and lost shots. Nothing is judged again
    until the bounds are committed.
    """
    from skyreels_platform.cli.thresholds import run_thresholds

    run_thresholds(
        stage, set_ or [], is_commit=commit, is_revert=revert, note=note, sheet=sheet, home=home, recipe=recipe, as_json=as_json
    )


app.add_typer(captions, name="captions", help="The schema of captions; captions out to upstream's CSV and in from it.")
app.add_typer(label, name="label", help="The page on which people label shots for the shot expert; labels in from a file and out to one.")


@app.command()
def train(
    stage: Annotated[str, typer.Argument(help="pretrain_256p, pretrain_360p, pretrain_540p, sft_540p, diffusion_forcing or sft_720p.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate memory; exit code 1 if it does not fit.")] = False,
    home: HomeOption = None, recipe: RecipeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """One training stage by hand, without Dagster: the same code as the asset, resuming from its newest checkpoint."""
    from skyreels_platform.cli.training import show_preflight, train_by_hand

    (show_preflight if dry_run else train_by_hand)(stage, home, recipe, as_json)


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="What the film shows. Default: the recipe's, else the commonest training caption.")] = "",
    checkpoint: Annotated[str, typer.Option(help="Checkpoint id, or the stage whose newest one is used.")] = "sft_720p",
    seconds: Annotated[float | None, typer.Option(help="Length; the nearest legal frame count is used.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the recipe's.", show_default=False)] = None,
    enhance: Annotated[bool, typer.Option("--enhance", help="Let the recipe's writer model make a full description of it.")] = False,
    ar_step: Annotated[int | None, typer.Option(help="0 denoises all frames of a window together; larger values let earlier "
                                                "blocks run ahead.", show_default=False)] = None,
    home: HomeOption = None, recipe: RecipeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a film from a diffusion-forcing checkpoint; it is stored with its manifest and can be traced."""
    from skyreels_platform.cli.films import generate_film

    generate_film(prompt, checkpoint, seconds, seed, ar_step, home, recipe, as_json, is_enhanced=enhance)


@app.command()
def trace(
    ref: Annotated[str, typer.Argument(help="A film, checkpoint, snapshot, shot or source: id, path or URI.")],
    home: HomeOption = None, as_json: JsonOption = False,
    full: Annotated[bool, typer.Option("--full", help="Print every branch instead of the first of long lists.")] = False,
) -> None:  # fmt: skip
    """Follow a film back to its source files, or a source forward to every film that depends on it."""
    from skyreels_platform.cli.films import show_trace

    show_trace(ref, home, as_json, full)


@app.command()
def report(
    film: Annotated[str | None, typer.Argument(help="Film id; default: the newest.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("report.html"),
    home: HomeOption = None, recipe: RecipeOption = None,
) -> None:  # fmt: skip
    """One page about a film and everything it was made from."""
    from skyreels_platform.cli.films import write_report

    write_report(film, out, home, recipe)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """What this machine can run, and why not."""
    from skyreels_platform.cli.doctor import show_doctor

    show_doctor(as_json)
