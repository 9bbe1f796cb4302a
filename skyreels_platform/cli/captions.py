"""Commands about captions: their schema, out to upstream's CSV, in from it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from skyreels_platform.cli.options import HomeOption, JsonOption

captions = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@captions.command()
def schema() -> None:
    """Print the JSON schemas of a caption and of a field's provenance."""
    from skyreels_platform.captioning.origin import FieldProvenance
    from skyreels_platform.captioning.schema import json_schema

    print(json.dumps({"caption": json_schema(), "field_provenance": FieldProvenance.model_json_schema()}, indent=2))


@captions.command("export")
def export_(
    out: Annotated[Path, typer.Option(help="Where the CSV goes.")] = Path("captions.csv"),
    batch: Annotated[str | None, typer.Option(help="One ingest batch; default: all.", show_default=False)] = None,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write captions as upstream's scripts do, one row per shot."""
    from resources.home import open_home
    from skyreels_platform.captioning.exchange import export_captions
    from skyreels_platform.cli.runs import prepare_environment

    count = export_captions(open_home(prepare_environment(home, None).home), out, batch=batch)
    print(json.dumps({"out": str(out), "rows": count}) if as_json else f"{count} captions in {out}")


@captions.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A CSV with path or shot_id, and structural_caption.", exists=True, dir_okay=False)],
    model: Annotated[str, typer.Option(help="Who made them.")] = "Skywork/SkyCaptioner-V1",
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Take captions that upstream's captioner made; the next run of `captions` uses them instead of asking."""
    from resources.home import open_home
    from skyreels_platform.captioning.exchange import import_captions
    from skyreels_platform.cli.runs import prepare_environment

    result = import_captions(open_home(prepare_environment(home, None).home), path, model=model)
    if as_json:
        print(json.dumps({"rows": result.num_rows, "taken": result.num_taken, "refused": result.refused}, indent=2))
        return
    for where, reason in result.refused.items():
        print(f"refused {where}: {reason}")
    print(f"{result.num_taken} of {result.num_rows} captions taken; use them: skyreels run --select captions")
