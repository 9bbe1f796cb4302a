"""Training stages from plan to published checkpoint, through the launcher on one rank: the first, and the one that changes the model."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import find_checkpoints, verify_folder
from model.journal import LOSSES, SEEN, read_lines
from skyreels_platform.curation.datasets import POOL_OF
from skyreels_platform.errors import LedgerError, TrainingError
from skyreels_platform.ledger.current import get_current, set_current
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.training.stages import (
    FILM_STAGE,
    STAGES,
    StagePlan,
    is_complete,
    plan_stage,
    publish_stage,
    published,
    train_stage,
    validate_stage,
)
from tests.micro import NUM_STEPS
from tests.training.small_data import STARTS, SmallData, small_recipe

RECIPE = small_recipe()
TRAINED = ("pretrain_256p", "sft_540p")
BETWEEN = ("pretrain_360p", "pretrain_540p")
"""Stages that stand at the first one's checkpoint here: they differ from it in data and rates alone."""


class Trained:
    """A home in which two stages were trained and published."""

    def __init__(self, root: Path) -> None:
        self.data = SmallData(root)
        self.home = self.data.home
        self.data.snapshot("snap_1", ["a red circle", "a blue square"] * 3)
        self.latents = self.data.encode("snap_1", RECIPE)
        self.plans: dict[str, StagePlan] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        for stage in TRAINED:
            self.plans[stage], self.rows[stage] = self.make(stage)
            for other in BETWEEN:
                set_current(self.home.ledger, other, self.rows["pretrain_256p"]["checkpoint_id"])

    def make(self, stage: str) -> tuple[StagePlan, dict[str, Any]]:
        plan = plan_stage(self.home, RECIPE, stage)
        train_stage(plan, RECIPE)
        return plan, publish_stage(self.home, RECIPE, plan, run_id="test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("stage", TRAINED)
def test_a_published_checkpoint_is_whole_and_current(stage: str, trained: Trained):
    row = trained.rows[stage]
    folder = trained.home.fetch(row["path"])
    assert verify_folder(folder) == []
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {key: manifest[key] for key in row} == row
    assert manifest["recipe"]["name"] == "micro"
    assert get_current(trained.home.ledger, stage) == row["checkpoint_id"]
    assert (row["num_steps"], row["snapshot_id"], row["latents_id"]) == (NUM_STEPS, "snap_1", trained.latents.latents_id)
    assert row["model_kind"] == STAGES[stage].model_kind
    newest = find_checkpoints(trained.plans[stage].run_dir)[-1].path
    ema, stored = (load_file(path / "diffusion_pytorch_model.safetensors") for path in (newest / "ema", folder / "transformer"))
    assert all(torch.equal(ema[key], stored[key]) for key in ema), "what is published is the moving average"


def test_a_stage_starts_from_its_parents_weights(trained: Trained):
    first, second = (trained.rows[stage] for stage in TRAINED)
    assert (first["parent_id"], second["parent_id"]) == (None, first["checkpoint_id"])
    assert trained.plans["sft_540p"].spec.parent_dir == str(trained.home.fetch(first["path"]) / "transformer")
    assert first["weights_hash"] != second["weights_hash"]


def test_the_first_fine_tuning_removes_the_fps_embedding_and_its_manifest_names_what_went(trained: Trained):
    folders = [trained.home.fetch(trained.rows[stage]["path"]) for stage in TRAINED]
    configs = [json.loads((folder / "transformer" / "config.json").read_text()) for folder in folders]
    assert [config["inject_sample_info"] for config in configs] == [True, False]
    removed = [json.loads((folder / "manifest.json").read_text())["removed_parameters"] for folder in folders]
    names = [set(load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")) for folder in folders]
    assert removed == [[], sorted(names[0] - names[1])]
    assert {name.partition(".")[0] for name in removed[1]} == {"fps_embedding", "fps_projection"}


def test_the_table_of_stages_is_a_chain():
    """Every parent stands before its child, and films come from the end: another stage in between is a line of the table."""
    names = list(STAGES)
    assert [inputs.parent for inputs in STAGES.values()] == [None, *names[:-1]]
    assert [inputs.model_kind for inputs in STAGES.values()] == ["full_sequence"] * 4 + ["diffusion_forcing"] * 2
    assert [name for name, inputs in STAGES.items() if inputs.embeds_fps] == names[:3]
    assert (FILM_STAGE, {inputs.dataset for inputs in STAGES.values()}) == (names[-1], set(POOL_OF))


@pytest.mark.parametrize("stage", TRAINED)
def test_every_clip_of_every_step_is_in_the_ledger(stage: str, trained: Trained):
    rows = trained.home.ledger.rows("seen", {"checkpoint_id": trained.rows[stage]["checkpoint_id"]}).to_pylist()
    assert [(row["step"], row["position"]) for row in rows] == [(step, position) for step in range(NUM_STEPS) for position in range(4)]
    logged = read_lines(trained.plans[stage].run_dir / SEEN)
    assert [row["clip_id"] for row in rows] == [clip for line in logged for clip in line["clips"]]
    assert {row["clip_id"]: row["shot_id"] for row in rows} == {f"clip_{start}": f"shot_{start // 33}" for start in STARTS}


def test_a_repeat_trains_nothing_and_writes_nothing(trained: Trained):
    logs = {stage: (plan.run_dir / "train.log").stat().st_mtime_ns for stage, plan in trained.plans.items()}
    versions = {table: trained.home.ledger.version(table) for table in TABLES}
    for stage in TRAINED:
        plan, row = trained.make(stage)
        assert (plan, row) == (trained.plans[stage], trained.rows[stage])
        assert published(trained.home, plan) == row
    assert {stage: (plan.run_dir / "train.log").stat().st_mtime_ns for stage, plan in trained.plans.items()} == logs
    assert {table: trained.home.ledger.version(table) for table in TABLES} == versions


def test_another_rate_is_another_run_and_another_saving_interval_is_not(trained: Trained):
    plan = trained.plans["pretrain_256p"]
    other = plan_stage(trained.home, small_recipe(learning_rate=1e-5), "pretrain_256p")
    assert other.run_dir != plan.run_dir
    assert not is_complete(other)
    assert published(trained.home, other) is None
    same = plan_stage(trained.home, small_recipe(checkpoint_every=3), "pretrain_256p")
    assert same.run_dir == plan.run_dir
    assert is_complete(same)


# ---- what validation refuses ---------------------------------------------------------------------------------------------------


def flip(run: Path) -> None:
    path = find_checkpoints(run)[-1].path / "ema" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def lose_a_file(run: Path) -> None:
    (find_checkpoints(run)[-1].path / "optimizer.safetensors").unlink()


def rewrite(name: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        (run / name).write_text("".join(json.dumps(line) + "\n" for line in change(read_lines(run / name))))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, r"files differ from their manifest: \['ema/diffusion_pytorch_model.safetensors'\]"),
        (lose_a_file, r"files differ from their manifest: \['optimizer.safetensors'\]"),
        (rewrite(LOSSES, lambda lines: lines[:-1]), f"{NUM_STEPS - 1} losses and {NUM_STEPS} seen lines for {NUM_STEPS} steps"),
        (rewrite(SEEN, lambda lines: lines[1:]), f"{NUM_STEPS} losses and {NUM_STEPS - 1} seen lines"),
        (rewrite(LOSSES, lambda lines: [{**line, "loss": float("nan")} for line in lines]), "a loss is not finite"),
    ],
    ids=["flipped bit", "lost file", "lost loss", "lost seen line", "nan"],
)  # fmt: skip
def test_a_damaged_run_is_not_published(damage: Callable[[Path], None], message: str, trained: Trained, tmp_path: Path):
    plan = trained.plans["pretrain_256p"]
    shutil.copytree(plan.run_dir, tmp_path / "run")
    copy = replace(plan, spec=replace(plan.spec, run_dir=str(tmp_path / "run")), provenance="another")
    assert validate_stage(copy)["final_loss"] == pytest.approx(trained.rows["pretrain_256p"]["final_loss"])
    damage(tmp_path / "run")
    with pytest.raises(TrainingError, match=message):
        publish_stage(trained.home, RECIPE, copy, run_id="test")
    assert trained.home.ledger.rows("checkpoints").num_rows == len(TRAINED)


def test_a_stage_without_its_inputs_says_what_makes_them(tmp_path: Path):
    data = SmallData(tmp_path)
    with pytest.raises(LedgerError, match="latents_256p has not been made yet; make it with: skyreels run --select latents_256p"):
        plan_stage(data.home, RECIPE, "pretrain_256p")
    data.snapshot("snap_1", ["a red circle"])
    data.encode("snap_1", RECIPE)
    with pytest.raises(LedgerError, match="sft_540p has not been made yet"):
        plan_stage(data.home, RECIPE, "diffusion_forcing")
    with pytest.raises(LedgerError, match="no stage 'pretrain_512p'; known, in the graph's order: pretrain_256p, pretrain_360p"):
        plan_stage(data.home, RECIPE, "pretrain_512p")


def test_a_failing_launch_shows_the_end_of_its_log(trained: Trained):
    recipe = small_recipe(batch_size=3)
    two = recipe.model_copy(update={"launch": recipe.launch.model_copy(update={"num_ranks": 2})})
    plan = plan_stage(trained.home, two, "pretrain_256p")
    with pytest.raises(TrainingError, match="batch_size 3 does not divide among 2 ranks"):
        train_stage(plan, two)
    assert not list(plan.run_dir.glob("*.pid"))
