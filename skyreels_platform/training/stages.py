"""One training stage from its inputs to a published checkpoint: plan, train, validate, publish.

The run folder is named by the hash of everything that decides the weights, so a killed stage finds its own checkpoints again and a
finished one is not repeated. The asset, `skyreels train` and the tests call these same functions.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.batch_sizes import batch_unit
from model.checkpoint import MANIFEST, find_checkpoints, verify_folder, write_folder, write_json
from model.journal import LOSSES, SEEN, read_lines
from model.spec import TrainSpec
from skyreels_platform.errors import LedgerError, TrainingError
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current, set_current
from skyreels_platform.ledger.ids import make_id
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.progress import bar
from skyreels_platform.recipe import Recipe
from skyreels_platform.training.launch import spec_values
from skyreels_platform.training.published import published_weights
from skyreels_platform.training.ranks import read_slots
from skyreels_platform.training.supervisor import incidents_of, train_supervised
from skyreels_platform.training.validation_films import encode_validation_films

TRAIN_VERSION = "train-2"
"""Raise it when the same spec would give other weights."""

SPEC = "spec.json"


@dataclass(frozen=True, kw_only=True)
class StageInputs:
    """Where a stage stands in the graph."""

    dataset: str
    """Name of the data set that it trains on."""
    parent: str | None
    """Stage whose current checkpoint it starts from; None = from scratch."""
    model_kind: str
    """full_sequence | diffusion_forcing: what the result may be used for; the config alone cannot tell."""
    embeds_fps: bool = False
    """Whether the model still carries the recipe's FPS embedding; it goes where all data has 24 frames per second (paper)."""

    @property
    def latents(self) -> str:
        """Asset whose current latents it trains on."""
        return f"latents_{self.dataset}"


def _stage(dataset: str, parent: str | None, model_kind: str, *, embeds_fps: bool = False) -> StageInputs:
    return StageInputs(dataset=dataset, parent=parent, model_kind=model_kind, embeds_fps=embeds_fps)


STAGES: dict[str, StageInputs] = {
    "pretrain_256p": _stage("256p", None, "full_sequence", embeds_fps=True),
    "pretrain_360p": _stage("360p", "pretrain_256p", "full_sequence", embeds_fps=True),
    "pretrain_540p": _stage("540p", "pretrain_360p", "full_sequence", embeds_fps=True),
    "sft_540p": _stage("sft_540p", "pretrain_540p", "full_sequence"),
    "diffusion_forcing": _stage("sft_540p", "sft_540p", "diffusion_forcing"),
    "sft_720p": _stage("sft_720p", "diffusion_forcing", "diffusion_forcing"),
}
"""In the paper's order (4.3): each starts from the one that it names as its parent, whatever the resolution."""

FILM_STAGE = [stage for stage, inputs in STAGES.items() if inputs.model_kind == "diffusion_forcing"][-1]
"""The stage that films are made from."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage with its inputs resolved."""

    stage: str
    spec: TrainSpec
    latents_id: str
    parent_id: str | None
    provenance: str

    @property
    def run_dir(self) -> Path:
        return Path(self.spec.run_dir)


def plan_stage(home: Home, recipe: Recipe, stage: str) -> StagePlan:
    """Resolve a stage's inputs from what the ledger says is current, and write its spec into the run folder."""
    if stage not in STAGES or stage not in recipe.stages:
        known = ", ".join(name for name in STAGES if name in recipe.stages)
        raise LedgerError(f"no stage {stage!r}; known, in the graph's order: {known}")
    latents_id = get_current(home.ledger, STAGES[stage].latents)
    parent_id, parent_dir = _parent(home, recipe, stage)
    settings, launch = recipe.stages[stage], recipe.launch
    parts = len(read_slots(launch.hostfile, launch.num_ranks)) // launch.sequence_parallel * settings.micro_batches
    values = {
        **spec_values(recipe, stage), "transformer": transformer_config(recipe, STAGES[stage]),
        "batch_unit": batch_unit(parts, settings.batch_size), "image_share": recipe.datasets[STAGES[stage].dataset].image_share,
        "latents_dir": str(home.fetch(f"latents/{latents_id}").absolute()), "parent_dir": str(parent_dir) if parent_dir else None,
        "inputs": {"latents": latents_id, **({"parent": parent_id} if parent_id else {})},
    }  # fmt: skip
    own = provenance(TRAIN_VERSION, TrainSpec(**values, run_dir="").hash(), [latents_id, parent_id or ""])
    run_dir = (home.work / "runs" / f"{stage}-{own}").absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    spec = TrainSpec(**values, run_dir=str(run_dir))
    write_json(run_dir / SPEC, spec.to_dict())
    return StagePlan(stage=stage, spec=spec, latents_id=latents_id, parent_id=parent_id, provenance=own)


def transformer_config(recipe: Recipe, inputs: StageInputs) -> dict[str, Any]:
    """diffusers config of a stage's model: the recipe's, without the FPS embedding where the stage has none."""
    config = recipe.model.model_dump(mode="json")
    return {**config, "inject_sample_info": config["inject_sample_info"] and inputs.embeds_fps}


def _parent(home: Home, recipe: Recipe, stage: str) -> tuple[str | None, Path | None]:
    """Id and folder of the weights that a stage starts from: published ones if the recipe names some, else the parent stage's."""
    if recipe.stages[stage].init_from:
        weights = published_weights(home, recipe, stage)
        return weights.identity, weights.folder
    parent = STAGES[stage].parent
    if parent is None:
        return None, None
    parent_id = get_current(home.ledger, parent)
    return parent_id, home.fetch(_checkpoint_row(home, parent_id)["path"]).absolute() / "transformer"


def train_stage(plan: StagePlan, recipe: Recipe, *, env: Mapping[str, str] | None = None,
                on_poll: Callable[[], None] = lambda: None) -> None:  # fmt: skip
    """Run DeepSpeed until the stage is complete, resuming from its newest good checkpoint. A complete, sound run returns at once."""
    if is_complete(plan) and not verify_folder(find_checkpoints(plan.run_dir)[-1].path):
        return
    with bar(plan.stage, total=plan.spec.num_steps) as progress:

        def poll() -> None:
            last = _last_line(plan.run_dir / LOSSES)
            if last:
                progress.to(last["step"] + 1, f"loss {last['loss']:.3f}")
            encode_validation_films(plan.run_dir)
            on_poll()

        train_supervised(plan.run_dir / SPEC, plan.spec, recipe.launch, env=env or {}, on_poll=poll)
    if not is_complete(plan):
        raise TrainingError(f"{plan.stage} stopped before its last step; run it again to go on from its newest checkpoint")


def is_complete(plan: StagePlan) -> bool:
    """Whether the run folder holds the checkpoint of the last step, written under this spec."""
    found = find_checkpoints(plan.run_dir)
    return bool(found) and found[-1].step == plan.spec.num_steps and found[-1].spec_hash == plan.spec.hash()


def validate_stage(plan: StagePlan) -> dict[str, float]:
    """Check a complete run before it is published: whole files, one log line per step, finite losses. Returns its metrics."""
    newest = find_checkpoints(plan.run_dir)[-1]
    if broken := verify_folder(newest.path):
        raise TrainingError(f"{newest.path}: files differ from their manifest: {broken}; delete this folder and train again")
    losses = [line["loss"] for line in read_lines(plan.run_dir / LOSSES)]
    seen = read_lines(plan.run_dir / SEEN)
    if len(losses) != plan.spec.num_steps or len(seen) != plan.spec.num_steps:
        raise TrainingError(f"{plan.run_dir}: {len(losses)} losses and {len(seen)} seen lines for {plan.spec.num_steps} steps")
    if not all(math.isfinite(loss) for loss in losses):
        raise TrainingError(f"{plan.stage}: a loss is not finite; lower stages.{plan.stage}.learning_rate")
    tenth = max(1, len(losses) // 10)
    return {"first_loss": sum(losses[:tenth]) / tenth, "final_loss": sum(losses[-tenth:]) / tenth}


def published(home: Home, plan: StagePlan) -> dict[str, Any] | None:
    """The ledger's row of this plan's checkpoint, if it was published before."""
    rows = home.ledger.rows("checkpoints", {"provenance": plan.provenance}).to_pylist()
    return rows[0] if rows and home.store.exists(f"{rows[0]['path']}/{MANIFEST}") else None


def publish_stage(home: Home, recipe: Recipe, plan: StagePlan, *, run_id: str) -> dict[str, Any]:
    """Copy the final weights to the store with a manifest, log the seen clips, make it the stage's current checkpoint."""
    row = published(home, plan) or _publish(home, recipe, plan, run_id)
    set_current(home.ledger, plan.stage, row["checkpoint_id"])
    return row


def _publish(home: Home, recipe: Recipe, plan: StagePlan, run_id: str) -> dict[str, Any]:
    from model.growth import removed_parameters

    metrics = validate_stage(plan)
    newest = find_checkpoints(plan.run_dir)[-1].path
    weights = newest / ("ema" if (newest / "ema").is_dir() else "transformer")
    files = json.loads((newest / MANIFEST).read_text(encoding="utf-8"))["files"]
    weights_hash = hash_json({name: digest for name, digest in files.items() if name.startswith(f"{weights.name}/")})
    seen = read_lines(plan.run_dir / SEEN)
    key = make_id("ckpt", plan.stage, plan.provenance, weights_hash)
    snapshot_id = home.ledger.rows("latents", {"latents_id": plan.latents_id}, ["snapshot_id"])["snapshot_id"][0].as_py()
    row = {
        "checkpoint_id": key, "stage": plan.stage, "parent_id": plan.parent_id, "snapshot_id": snapshot_id,
        "latents_id": plan.latents_id, "recipe_hash": recipe.hash(), "seed": plan.spec.seed, "code_version": TRAIN_VERSION,
        "seen_hash": hash_json(seen), "weights_hash": weights_hash, "num_steps": plan.spec.num_steps,
        "final_loss": metrics["final_loss"], "model_kind": STAGES[plan.stage].model_kind,
        "path": f"checkpoints/{plan.stage}/{key}", "run_id": run_id, "provenance": plan.provenance,
    }  # fmt: skip

    def fill(folder: Path) -> None:
        shutil.copytree(weights, folder / "transformer")
        if plan.spec.lora:
            from model.training_state import ADAPTERS

            shutil.copytree(newest / ADAPTERS[weights.name], folder / "adapter")
        for name in (LOSSES, SEEN, SPEC):
            shutil.copy(plan.run_dir / name, folder / name)
        for film in encode_validation_films(plan.run_dir):
            target = folder / film.video.relative_to(plan.run_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film.video, target)

    staged = home.work / "publish" / key
    parent = plan.spec.parent_dir
    manifest = {
        **row, "metrics": metrics, "recipe": recipe.model_dump(mode="json"), "weights": weights.name,
        "removed_parameters": removed_parameters(parent, plan.spec.transformer) if parent else [],
        "incidents": incidents_of(plan.run_dir),
    }  # fmt: skip
    write_folder(staged, fill, manifest)
    home.store.upload(staged, row["path"])
    shutil.rmtree(staged)
    _log_seen(home, key, seen, plan)
    home.ledger.merge("checkpoints", [row])
    return row


def _log_seen(home: Home, checkpoint_id: str, seen: list[dict[str, Any]], plan: StagePlan) -> None:
    shot_of = {row["clip_id"]: row["shot_id"]
               for row in home.ledger.rows("latents", {"latents_id": plan.latents_id}, ["clip_id", "shot_id"]).to_pylist()}  # fmt: skip
    home.ledger.replace("seen", checkpoint_id, [
        {"checkpoint_id": checkpoint_id, "step": line["step"], "position": position, "clip_id": clip_id,
         "shot_id": shot_of[clip_id], "provenance": plan.provenance}
        for line in seen for position, clip_id in enumerate(line["clips"])
    ])  # fmt: skip


def _checkpoint_row(home: Home, checkpoint_id: str) -> dict[str, Any]:
    return home.ledger.rows("checkpoints", {"checkpoint_id": checkpoint_id}).to_pylist()[0]


def _last_line(path: Path) -> dict[str, Any] | None:
    """The last complete line of a journal, reading its end alone."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")[:-1]
    return json.loads(lines[-1]) if lines else None
