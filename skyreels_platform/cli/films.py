"""Commands about films: generate, trace, report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from resources.home import open_home
from skyreels_platform.cli.runs import prepare_environment
from skyreels_platform.errors import SkyreelsError
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current
from skyreels_platform.ledger.trace import Node
from skyreels_platform.recipe import Recipe, load_recipe

_SHOWN = 8  # branches of a long list that `trace` prints without --full


def generate_film(
    prompt: str, checkpoint: str, seconds: float | None, seed: int | None, ar_step: int | None, home: str | None,
    recipe: str | None, as_json: bool, *, is_enhanced: bool = False,
) -> None:  # fmt: skip
    """Make one film with the recipe's film settings, changed by the options."""
    from model.schedule import legal_num_frames
    from skyreels_platform.generation.film import make_film, plan_film

    settings = prepare_environment(home, recipe)
    opened, chosen = open_home(settings.home), load_recipe(settings.recipe)
    changed: dict[str, Any] = {key: value for key, value in (("seed", seed), ("ar_step", ar_step)) if value is not None}
    if seconds is not None:
        if seconds <= 0:
            raise SkyreelsError(f"--seconds {seconds}: give a positive length")
        wish = round(seconds * chosen.film.fps)
        legal = legal_num_frames(wish, block_size=chosen.film.causal_block_size)
        changed["num_frames"] = min(legal, key=lambda count: abs(count - wish))
    request = plan_film(opened, chosen, stage=checkpoint, prompt=prompt)  # first: without a checkpoint nobody is asked
    if is_enhanced:
        request = replace(request, prompt=_enhanced(opened, chosen, prompt, chosen.film.seed if seed is None else seed))
    row = make_film(opened, chosen, replace(request, settings=chosen.film.model_copy(update=changed)))
    check = json.loads(row["manifest"])["check"]
    print(json.dumps(row, indent=2) if as_json else f"{opened.fetch(row['path'])}\n\"{row['prompt']}\"\ncheck: {check['text']}")


def _enhanced(home: Home, recipe: Recipe, prompt: str, seed: int) -> str:
    from resources.captioner import CaptionerResource
    from skyreels_platform.captioning.enhance import enhance

    if not prompt.strip():
        raise SkyreelsError("--enhance needs a --prompt to start from")
    writer = recipe.captions.writer
    urls = CaptionerResource.from_environment().writer_urls(writer)
    return enhance(home, prompt, writer, urls=urls, seed=seed)


def show_trace(ref: str, home: str | None, as_json: bool, full: bool) -> None:
    """Print the tree of everything that an id, path or URI came from or led to."""
    from skyreels_platform.ledger.trace import trace

    settings = prepare_environment(home, None)
    node = trace(open_home(settings.home).ledger, ref)
    if as_json:
        print(json.dumps(_plain(node), indent=2))
        return
    tree = Tree(_label(node))
    _grow(tree, node, full)
    Console(soft_wrap=True, highlight=False).print(tree)


def write_report(film: str | None, out: Path, home: str | None, recipe: str | None) -> None:
    """Write the page of one film."""
    from skyreels_platform.report.page import build_report

    settings = prepare_environment(home, recipe)
    opened = open_home(settings.home)
    print(build_report(opened, load_recipe(settings.recipe), film_id=film or get_current(opened.ledger, "film"), out=out))


def _label(node: Node) -> str:
    return f"[bold]{node.kind}[/] {escape(node.id)}  {escape(node.label)}"


def _grow(tree: Tree, node: Node, full: bool) -> None:
    shown = node.children if full else node.children[:_SHOWN]
    for child in shown:
        _grow(tree.add(_label(child)), child, full)
    if hidden := len(node.children) - len(shown):
        tree.add(f"[dim]and {hidden} more; --full prints all[/]")


def _plain(node: Node) -> dict[str, Any]:
    return {"kind": node.kind, "id": node.id, "label": node.label, "facts": dict(node.facts),
            "children": [_plain(child) for child in node.children]}  # fmt: skip
