"""Commands about labels: the page for people, files in and out."""

import json
from pathlib import Path
from typing import Annotated

import typer

from skyreels_platform.cli.options import HomeOption, JsonOption

label = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@label.command()
def page(
    labeller: Annotated[str, typer.Option(help="Who labels. Default: the name this machine knows you by.", show_default=False)] = "",
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback the page asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 3200,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Serve the page on which you label the shots that `shot_expert` picked, until Ctrl-C."""
    import getpass
    import secrets

    from resources.home import open_home
    from skyreels_platform.cli.runs import prepare_environment
    from skyreels_platform.review.guard import is_loopback
    from skyreels_platform.review.labelling import Labelling, labelling_app
    from skyreels_platform.review.serving import serve

    work = Labelling(open_home(prepare_environment(home, None).home), labeller or getpass.getuser())
    count = work.next()
    serve(
        lambda guard: labelling_app(work, guard), host=host, port=port, token="" if is_loopback(host) else secrets.token_urlsafe(24),
        on_ready=lambda guard: print(f"{count['left']} of {count['all']} shots to label: {guard.address}", flush=True),
    )  # fmt: skip


@label.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A CSV with shot_id, field, value.", exists=True, dir_okay=False)],
    labeller: Annotated[str, typer.Option(help="Who, or which program, made them.")],
    coarse: Annotated[bool, typer.Option("--coarse", help="They came in number and were not looked at one by one.")] = False,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Take labels from a file."""
    from resources.home import open_home
    from skyreels_platform.captioning.labels import import_labels
    from skyreels_platform.cli.runs import prepare_environment

    opened = open_home(prepare_environment(home, None).home)
    count, refused = import_labels(opened, path, labeller=labeller, grade="coarse" if coarse else "fine")
    if as_json:
        print(json.dumps({"taken": count, "refused": refused}, indent=2))
        return
    for where, reason in refused.items():
        print(f"refused {where}: {reason}")
    print(f"{count} labels taken; learn from them: skyreels run --select shot_expert")


@label.command("export")
def export_(
    out: Annotated[Path, typer.Option(help="Where the CSV goes.")] = Path("labels.csv"),
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write all labels to a file that `import` reads."""
    from resources.home import open_home
    from skyreels_platform.captioning.labels import export_labels
    from skyreels_platform.cli.runs import prepare_environment

    count = export_labels(open_home(prepare_environment(home, None).home), out)
    print(json.dumps({"out": str(out), "labels": count}) if as_json else f"{count} labels in {out}")
