"""Commands about training: one stage by hand, and what it would need."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from resources.home import open_home
from skyreels_platform.cli.runs import prepare_environment
from skyreels_platform.errors import TrainingError
from skyreels_platform.recipe import load_recipe


def train_by_hand(stage: str, home: str | None, recipe: str | None, as_json: bool) -> None:
    """Plan, train, validate and publish one stage."""
    from skyreels_platform.training.stages import plan_stage, publish_stage, published, train_stage

    settings = prepare_environment(home, recipe)
    opened, chosen = open_home(settings.home), load_recipe(settings.recipe)
    plan = plan_stage(opened, chosen, stage)
    if not published(opened, plan):
        train_stage(plan, chosen)
    row = publish_stage(opened, chosen, plan, run_id="by hand")
    text = f"{row['checkpoint_id']}  {row['num_steps']} steps, final loss {row['final_loss']:.4f}\n{opened.store.uri}/{row['path']}"
    print(json.dumps(row, indent=2) if as_json else text)


def show_preflight(stage: str, home: str | None, recipe: str | None, as_json: bool) -> None:
    """Print the memory that a stage would need; TrainingError if it would not fit."""
    from skyreels_platform.training.preflight import preflight
    from skyreels_platform.training.stages import plan_stage

    settings = prepare_environment(home, recipe)
    opened, chosen = open_home(settings.home), load_recipe(settings.recipe)
    found = preflight(plan_stage(opened, chosen, stage), chosen.launch)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        table = Table(title=f"{found.stage}: {found.batch}", title_justify="left")
        table.add_column("per rank")
        table.add_column("GiB", justify="right")
        for name, size in found.device.items():
            table.add_row(name, f"{size:.2f}")
        table.add_row("together, with a margin of a tenth", f"{found.needs:.2f}", style="bold")
        table.add_row("there is", "unknown; set launch.memory_gb" if found.has is None else f"{found.has:.2f}")
        for name, size in found.host.items():
            table.add_row(f"host memory: {name}", f"{size:.2f}")
        Console().print(table)
    if found.problem:
        raise TrainingError(found.problem)
