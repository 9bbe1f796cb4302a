"""What a planned stage would need, as the command shows it: fitting, not fitting, and where nobody knows the GPU."""

import json
from pathlib import Path

import pytest

from skyreels_platform.cli.training import show_preflight
from skyreels_platform.errors import TrainingError
from skyreels_platform.recipe import Recipe
from skyreels_platform.training.preflight import preflight
from skyreels_platform.training.stages import plan_stage
from tests.micro import write_recipe
from tests.training.small_data import SmallData, small_recipe

STAGE = "pretrain_256p"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SmallData:
    made = SmallData(tmp_path_factory.mktemp("data"))
    made.snapshot("snap_1", ["a red circle", "a blue square"] * 3)
    made.encode("snap_1", small_recipe())
    return made


def launched(**launch: object) -> Recipe:
    values = small_recipe().model_dump()
    return Recipe.model_validate({**values, "launch": {**values["launch"], **launch}})


def test_a_stage_that_fits(data: SmallData) -> None:
    recipe = launched(memory_gb=4.0)
    found = preflight(plan_stage(data.home, recipe, STAGE), recipe.launch)
    assert found.problem is None
    assert found.has == 4.0
    assert 0.3 < found.needs < 0.8, "hardly more than an idle process"
    assert found.needs == pytest.approx(1.1 * sum(found.device.values()))
    assert "5x4x4 latents" in found.batch


def test_a_stage_that_does_not_fit_says_what_would(data: SmallData, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    recipe = launched(memory_gb=0.1)
    monkeypatch.setenv("SKYREELS_HOME", data.home.uri)
    path = write_recipe(tmp_path / "small.toml", json.loads(recipe.model_dump_json(exclude_none=True)))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(TrainingError, match=rf"{STAGE}: 4 clips per pass of 5x4x4 latents .* of 0\.1 GiB"):
        show_preflight(STAGE, data.home.uri, str(path), as_json=True)
    assert json.loads(capsys.readouterr().out)["has"] == pytest.approx(0.1)


def test_a_gpu_that_nobody_knows_has_no_limit(data: SmallData) -> None:
    recipe = launched(accelerator="cuda", dtype="bfloat16")
    found = preflight(plan_stage(data.home, recipe, STAGE), recipe.launch)
    assert (found.has, found.problem) == (None, None)
    assert {"activations", "checkpoint (rank 0)"} <= set(found.host)
