"""skyreels thresholds: what it prints, what it writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from resources.home import open_home
from skyreels_platform.cli.app import app
from skyreels_platform.cli.thresholds import changed
from skyreels_platform.curation.standing import judge_stage
from skyreels_platform.home import Home
from skyreels_platform.recipe import Bound, PoolSettings, load_recipe

BATCH = "b000001"
RECIPE = load_recipe("laptop")
LUMA = RECIPE.pools["360p"].bounds["luma"]
assert LUMA.min is not None
assert LUMA.max is not None
SPAN = LUMA.max - LUMA.min
LUMAS = {"dark": LUMA.min + 0.1 * SPAN, "middle": LUMA.min + 0.5 * SPAN, "light": LUMA.min + 0.9 * SPAN, "black": LUMA.min / 2}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Four shots of half an hour that meet every bound of pool 360p but for their luma."""
    opened = open_home(str(tmp_path / "home"))
    rows = []
    for shot, luma in LUMAS.items():
        values = {name: bound.max if bound.min is None else bound.min for name, bound in RECIPE.pools["360p"].bounds.items()}
        values |= {"duration_s": 1800.0, "luma": luma}
        rows += [{"shot_id": shot, "signal": name, "value": value, "outcome": "measured", "unit": "u"} for name, value in values.items()]
    put(opened, "scores", rows)
    put(opened, "shots", [{"shot_id": shot, "source_id": "src_1", "start_s": 0.0, "end_s": 1800.0} for shot in LUMAS])
    caption = json.dumps({"subjects": [{"TYPES": {"type": "Human"}}]})
    put(opened, "captions", [{"shot_id": shot, "structured": caption} for shot in LUMAS])
    return opened


def put(home: Home, table: str, rows: list[dict[str, Any]]) -> None:
    home.ledger.replace(table, BATCH, [{"provenance": "p", "batch": BATCH, **row} for row in rows])


def call(home: Home, *words: str) -> Result:
    return CliRunner().invoke(app, ["thresholds", "--stage", "360p", "--home", home.uri, "--recipe", "laptop", *words])


def values(home: Home, *words: str) -> dict[str, Any]:
    result = call(home, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


STRICTER = f"luma.min={LUMA.min + 0.3 * SPAN}"
LOOSER = "luma.min=0"


def test_a_stricter_bound_loses_a_shot_by_its_reason(home: Home):
    found = values(home, "--set", STRICTER)
    assert (found["gained"], found["lost"], found["lost_by"]) == (0, 1, {"luma < min": 1})
    assert found["lost_shots"][0][0] == "dark"
    assert (found["before"]["hours"], found["after"]["hours"]) == (1.5, 1.0)
    assert (found["before"]["concepts"], found["after"]["concepts"]) == ({"Human": 3}, {"Human": 2})
    assert found["judged_by"] == "recipe"
    assert home.ledger.rows("pool_versions").num_rows == 0


def test_several_changes_count_together(home: Home):
    found = values(home, "--set", LOOSER, "--set", f"luma.max={LUMAS['light'] - 0.1 * SPAN}")
    assert found["diff"] == {"luma < min": {"gained": 1, "lost": 0}, "luma > max": {"gained": 0, "lost": 1}}


def test_the_text_names_reasons_hours_concepts_and_the_sheet(home: Home, tmp_path: Path):
    sheet = tmp_path / "sheets" / "change.jpg"
    result = call(home, "--set", LOOSER, "--sheet", str(sheet))
    assert result.exit_code == 0
    for part in ("judges by the bounds of recipe laptop", "luma < min", "1.500", "2.000", "Human", str(sheet), "Nothing was written"):
        assert part in result.stdout
    with Image.open(sheet) as image:
        assert image.format == "JPEG"


def test_the_sheet_goes_into_the_home_by_default(home: Home):
    found = values(home, "--set", LOOSER)
    assert found["sheet"] == f"{home.store.uri}/reports/thresholds/360p.jpg"
    assert home.store.exists("reports/thresholds/360p.jpg")


def test_a_commit_holds_from_then_on_until_it_is_reverted(home: Home):
    settings = RECIPE.pools["360p"]
    found = values(home, "--set", STRICTER, "--commit", "--note", "too dark")
    (row,) = home.ledger.rows("pool_versions").to_pylist()
    assert (row["pool_version"], row["note"], row["lost"], row["num_pass"]) == (found["pool_version"], "too dark", 1, 2)
    assert row["recipe_hash"] == RECIPE.hash()
    assert judge_stage(home, "360p", settings).counts["pass"] == 2
    assert values(home)["judged_by"] == found["pool_version"], "the next preview starts from the committed bounds"
    assert "committed bounds" in call(home).stdout
    status = CliRunner().invoke(app, ["status", "--home", home.uri])
    assert f"360p judges by the committed bounds {found['pool_version']}" in " ".join(status.stdout.split())
    reverted = values(home, "--revert")
    assert (reverted["pool_version"], reverted["gained"]) == (None, 1)
    assert judge_stage(home, "360p", settings).counts["pass"] == 3
    assert "committed bounds" not in CliRunner().invoke(app, ["status", "--home", home.uri]).stdout


def test_committing_what_holds_already_writes_nothing(home: Home):
    assert "already" in values(home, "--set", f"luma.min={LUMA.min}", "--commit")["outcome"]
    assert home.ledger.rows("pool_versions").num_rows == 0
    assert "already" in values(home, "--revert")["outcome"]


def test_bounds_that_are_gone_from_the_ledger_can_be_reverted(home: Home):
    home.ledger.merge("current", [{"name": "bounds_360p", "ref": "pool_gone", "provenance": "p"}])
    assert "--revert" in str(call(home).exception)
    assert "no longer by pool_gone" in values(home, "--revert")["outcome"]
    assert values(home)["judged_by"] == "recipe"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "lumma.min=0.1"], "did you mean 'luma'?"),
        (["--set", "luma.mim=0.1"], "did you mean 'min'?"),
        (["--set", "luma.unknown=revue"], "did you mean 'review'?"),
        (["--set", "luma.min=dark"], "is no number"),
        (["--set", "luma.min=nan"], "'nan' is no number"),
        (["--set", "luma=0.1"], "write SIGNAL.KEY=VALUE"),
        (["--set", "luma.min=2"], "lies above max"),
        (["--set", "resolution.min=none", "--set", "aspect.unknown=pass"], "give min, max or both"),
        (["--commit"], "nothing to commit"),
        (["--revert", "--set", LOOSER], "neither --set nor --commit"),
        (["--stage", "36p"], "did you mean '360p'?"),
    ],
)
def test_wrong_usage_is_refused_with_the_remedy(words: list[str], message: str, tmp_path: Path):
    result = call(open_home(str(tmp_path)), *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_changes_add_alter_and_remove_bounds():
    settings = PoolSettings(bounds={"luma": Bound(min=0.2, max=0.9), "motion": Bound(min=0.1, unknown="review")})
    done = changed(settings, ["luma.max=none", "motion.min=none", "static.max=0.3", "static.unknown=pass", "luma.min = 0.3"])
    assert done.bounds == {"luma": Bound(min=0.3), "static": Bound(max=0.3, unknown="pass")}
