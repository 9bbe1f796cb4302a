"""Make a film in a process that kills itself at a chosen point: `python -m tests.generation.dying HOME POINT`.

Generation, a process of its own otherwise, happens in this one, so that the point may lie anywhere.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from model.generate import generate
from resources.home import open_home
from skyreels_platform.generation import film
from skyreels_platform.recipe import Recipe
from tests.micro import micro_values

POINTS = {
    "first window": ("model.sampler", "_row", 2),
    "between windows": ("model.sampler", "_row", 3),
    "last row": ("model.sampler", "_row", 4),
    "frames written": ("model.generate", "save_file", 1),
    "result": ("model.sampler:FilmPlan", "windows", 3),
    "check": ("skyreels_platform.generation.film", "check_film", 1),
    "first picture": ("skyreels_platform.media.encode", "_to_yuv", 1),
    "some pictures": ("skyreels_platform.media.encode", "_to_yuv", 20),
    "upload": ("skyreels_platform.store:LocalStore", "upload", 1),
    "manifest": ("skyreels_platform.store:LocalStore", "write_bytes", 1),
    "row": ("skyreels_platform.ledger.ledger:Ledger", "merge", 1),
}
"""Name -> where a function is found, and which call of it is the last thing that happens."""


def die_at(place: str, name: str, number: int) -> None:
    """Kill this process once the function's call `number` is done."""
    module, _, owner = place.partition(":")
    found = importlib.import_module(module)
    found = getattr(found, owner) if owner else found
    original: Callable[..., Any] = getattr(found, name)
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = original(*arguments, **options)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(found, name, call)


def main(root: str, point: str) -> None:
    def generate_here(command: Sequence[str], **options: Any) -> None:
        generate(json.loads(Path(command[-1]).read_text(encoding="utf-8")))

    recipe = Recipe.model_validate(micro_values())
    home = open_home(root)
    request = film.plan_film(home, recipe, stage="diffusion_forcing")
    film.run_group = generate_here
    die_at(*POINTS[point])
    film.make_film(home, recipe, request)


if __name__ == "__main__":
    main(*sys.argv[1:])
