"""The pages say what is there: commands, options, targets, links, and a picture of the graph that is."""

import importlib.util
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest
import typer

from skyreels_platform.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "LOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SVG = "{http://www.w3.org/2000/svg}"


@cache
def docs_module(name: str) -> ModuleType:
    """A script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands() -> dict[str, click.Command]:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    return dict(group.commands)  # type: ignore[attr-defined]


def code_lines(page: Path) -> list[str]:
    """Lines of indented code blocks, comments cut off."""
    return [line.strip().partition("  #")[0].strip() for line in text_of(page).splitlines() if line.startswith("    ")]


# ---- commands ------------------------------------------------------------------------------------------------------------------


def test_readme_lists_the_commands_that_the_help_lists_in_the_same_words() -> None:
    shown = subprocess.run([str(Path(sys.executable).with_name("skyreels")), "--help"], capture_output=True, text=True, check=True)
    in_help = re.findall(r"^\W+([a-z]+)  +\w", shown.stdout.partition("Commands")[2], flags=re.MULTILINE)
    rows = re.findall(r"^\| `skyreels ([a-z]+)[^`]*` \| (.+) \|$", text_of(ROOT / "README.md"), flags=re.MULTILINE)
    assert [name for name, _ in rows] == in_help == list(commands())
    for name, words in rows:
        help_text = commands()[name].help or ""
        assert words == " ".join(help_text.split("\n\n")[0].split()), f"skyreels {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_skyreels_command_has_its_options(page: Path) -> None:
    known = commands()
    for line in code_lines(page):
        for match in re.finditer(r"(?:^|\s)(?:\.venv/bin/)?skyreels ([a-z].*)$", line):
            name, *words = shlex.split(match[1])
            assert name in known, f"{page.name}: {line}"
            command = known[name]
            if isinstance(command, click.Group) or hasattr(command, "commands"):
                assert words[0] in command.commands, f"{page.name}: {line}"  # type: ignore[attr-defined]
                command = command.commands[words[0]]  # type: ignore[attr-defined]
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= options, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    named = re.findall(r"(?:^    (?:\w+=\S+ )*|`)make ([a-z]+)", text_of(page), flags=re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_selection_selects_something(page: Path) -> None:
    from skyreels_platform.cli.runs import select_assets

    for line in code_lines(page):
        if "skyreels run" in line and "--select" in line:
            words = shlex.split(line)
            assert any(select_assets(words[words.index("--select") + 1])), line


def test_readme_and_recipes_agree_on_names() -> None:
    linked = re.findall(r"\]\(recipes/(\w[\w.]*)\.toml\)", text_of(ROOT / "README.md"))
    assert sorted(linked) == sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))


def test_settings_that_a_page_names_are_read_somewhere() -> None:
    named = {name for page in PAGES for name in re.findall(r"\bSKYREELS_[A-Z_]+\b", text_of(page))}
    code = [path for pattern in ("skyreels_platform/**/*.py", "resources/*.py", "deploy/*") for path in ROOT.glob(pattern)]
    code += [ROOT / "tests" / "conftest.py", ROOT / ".ci" / "run"]
    read = {name for path in code for name in re.findall(r"\bSKYREELS_[A-Z_]+\b", text_of(path))}
    assert named <= read


# ---- links ---------------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page)) + re.findall(r'(?:src|href)="([^"]+)"', text_of(page))
    for target in targets:
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert found.is_relative_to(ROOT), f"{page.name}: {target} leaves the checkout"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_place_of_somebodys_machine(page: Path) -> None:
    found = re.findall(r"(?<![\w.}/>])/(?:home|root|tmp|work|mnt|opt|Users|data)/\S*", text_of(page))
    assert not found
    assert not re.search(r"file://|(?<!\d)(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+", text_of(page))


def test_pages_are_ascii_and_of_a_readable_length() -> None:
    for page in PAGES:
        assert text_of(page).isascii(), page.name
    for page in (ROOT / "docs").glob("*.md"):
        assert len(text_of(page).splitlines()) <= 150, page.name


# ---- the picture and the table -------------------------------------------------------------------------------------------------


def test_the_picture_is_what_the_definitions_give() -> None:
    module = docs_module("draw_graph")
    assert text_of(module.OUT) == module.draw(module.read_graph()), "run .venv/bin/python docs/draw_graph.py"


def test_the_picture_names_every_asset_and_every_dependency() -> None:
    from skyreels_platform.definitions import defs

    graph = defs.resolve_asset_graph()
    picture = ElementTree.parse(ROOT / "docs" / "asset_graph.svg").getroot()
    drawn = {group.attrib["data-asset"]: [text.text for text in group.iter(f"{SVG}text")] for group in picture.iter(f"{SVG}g")}
    checks = {key.to_user_string(): [check.name for check in graph.get_check_keys_for_assets({key})] for key in graph.get_all_asset_keys()}
    assert {name: [name, *found] for name, found in checks.items()} == drawn
    arrows = {(path.get("data-from"), path.get("data-to")) for path in picture.iter(f"{SVG}path") if path.get("class") == "edge"}
    depends = {(parent.to_user_string(), key.to_user_string())
               for key in graph.get_all_asset_keys() for parent in graph.get(key).parent_keys}  # fmt: skip
    assert arrows == depends


def boxes(picture: ElementTree.Element) -> dict[str, tuple[float, float, float, float]]:
    found = {}
    for group in picture.iter(f"{SVG}g"):
        front = list(group.iter(f"{SVG}rect"))[-1]
        x, y, width, height = (float(front.attrib[name]) for name in ("x", "y", "width", "height"))
        found[group.attrib["data-asset"]] = (x, y, x + width, y + height)
    return found


def check_layout(picture: ElementTree.Element) -> None:
    """Boxes lie apart and inside the picture, and texts (0.6 em a character, as monospace fonts have) inside their boxes."""
    places = boxes(picture)
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for name, (left, top, right, bottom) in places.items():
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, name  # noqa: PT018
        for other, (left2, top2, right2, bottom2) in places.items():
            apart = right + 8 <= left2 or right2 + 8 <= left or bottom + 8 <= top2 or bottom2 + 8 <= top
            assert name == other or apart, f"{name} and {other}"
    for group in picture.iter(f"{SVG}g"):
        left, top, right, bottom = places[group.attrib["data-asset"]]
        for text in group.iter(f"{SVG}text"):
            half = len(text.text or "") * 0.6 * float(text.attrib["font-size"]) / 2
            middle = float(text.attrib["x"])
            assert left < middle - half and middle + half < right and top < float(text.attrib["y"]) < bottom, text.text  # noqa: PT018


def test_the_picture_is_readable() -> None:
    check_layout(ElementTree.parse(ROOT / "docs" / "asset_graph.svg").getroot())


def test_a_graph_with_edges_past_columns_and_back_is_drawn_whole() -> None:
    module = docs_module("draw_graph")

    def asset(name: str, group: str, level: int, *parents: str) -> object:
        return module.Asset(name=name, group=group, level=level, parents=parents, is_partitioned=level < 2, checks=(f"{name}_holds",))

    assets = [
        asset("a", "first", 0), asset("b", "second", 1, "a"), asset("c", "third", 2, "b"), asset("d", "third", 3, "c"),
        asset("e", "third", 4, "d", "c", "a"), asset("f", "first", 5, "e"), asset("a_very_long_name_indeed", "fourth", 6, "f", "a", "b"),
    ]  # fmt: skip
    picture = ElementTree.fromstring(module.draw(assets))
    assert set(boxes(picture)) == {"a", "b", "c", "d", "e", "f", "a_very_long_name_indeed"}
    arrows = [(path.get("data-from"), path.get("data-to")) for path in picture.iter(f"{SVG}path") if path.get("class") == "edge"]
    assert len(arrows) == len(set(arrows)) == 10
    check_layout(picture)


def test_the_table_of_tables_is_what_the_ledger_has() -> None:
    module = docs_module("list_tables")
    page = text_of(module.PAGE)
    assert module.updated(page) == page, "run .venv/bin/python docs/list_tables.py"
    with pytest.raises(ValueError, match="there must be one"):
        module.updated("no place for it")
