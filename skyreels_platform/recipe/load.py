"""A recipe's file: found by name or path, read, and refused in one sentence per mistake: file, key, value, remedy."""

import difflib
import reprlib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from skyreels_platform.errors import RecipeError
from skyreels_platform.recipe.whole import Recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def load_recipe(reference: str | Path) -> Recipe:
    """Read a recipe by name (`laptop`) or path. Raises RecipeError naming file, key, value and remedy."""
    path = _find(reference)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(path, issue) for issue in error.errors())) from error


def _find(reference: str | Path) -> Path:
    for path in (Path(reference), RECIPES / f"{reference}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    raise RecipeError(f"no recipe {str(reference)!r}: give the path of a TOML file or one of: {known}")


_MESSAGES = {
    "int_type": "must be a whole number; write it without quotes or decimal point",
    "int_from_float": "must be a whole number; write it without decimal point",
    "float_type": "must be a number; write it without quotes",
    "finite_number": "must be an ordinary number; write one",
    "bool_type": "must be true or false; write it without quotes",
    "string_type": "must be text; put it in quotes",
    "dict_type": "must be a table; write [name] or { key = value }",
    "model_type": "must be a table; write [name] or { key = value }",
    "tuple_type": "must be a list; write [1, 2, 2] or the like",
}
"""By pydantic's error type, where its own message speaks of Python or does not say what to write."""


def _explain(path: Path, issue: Any) -> str:
    """One sentence for one pydantic error: file, key, value, remedy."""
    key = ".".join(str(part) for part in issue["loc"] if part != "[key]")
    shown = "" if isinstance(issue["input"], dict) else f" = {reprlib.repr(issue['input'])}"
    if issue["type"] == "extra_forbidden":
        known = sorted(_fields_at(issue["loc"][:-1]))
        near = difflib.get_close_matches(str(issue["loc"][-1]), known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"{path}: {key}{shown}: unknown key; {remedy}"
    if issue["type"] == "missing":
        return f"{path}: {key} is missing; add it (recipes/laptop.toml shows every key)"
    if issue["loc"] and issue["loc"][-1] == "[key]":  # the name of a table is wrong, and is itself the input
        shown = ""
    message = _MESSAGES.get(issue["type"], issue["msg"].removeprefix("Value error, ").replace("Input should be", "must be"))
    return f"{path}: {key}{shown}: {message}" if key else f"{path}: {message}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that the section at `location` accepts."""
    section: Any = Recipe
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:  # dict[str, Section] and tuple[Section, ...]: any key or place leads to the value's type
            section = section.__args__[0 if isinstance(part, int) else 1]
    if isinstance(section, type) and issubclass(section, BaseModel):
        return list(section.model_fields)
    return []
