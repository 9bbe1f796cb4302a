"""Chapter 4, training: latents, and one graph-backed asset per stage: prepare -> train -> validate -> publish.

`train` launches DeepSpeed out of process; cancelling the run ends every rank. What is passed between the ops is the ledger and the run
folder, so each op can be retried alone and no value goes through an IO manager.
"""

from collections.abc import Callable, Iterator

import dagster as dg

from assets.metadata import incidents_metadata, training_metadata
from resources.home import HomeResource
from resources.recipes import RecipeResource
from resources.trainer import TrainerClient
from skyreels_platform.curation.datasets import POOL_OF
from skyreels_platform.training.encode import ENCODE_VERSION
from skyreels_platform.training.stages import STAGES, TRAIN_VERSION, StageInputs

_OWNERS = ["team:training"]
_AFTER = {"after": dg.In(dg.Nothing)}
_DONE = dg.Out(dg.Nothing)


def _latents_asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=f"latents_{name}", deps=[f"dataset_{name}"], group_name="latents", kinds={"torch", "safetensors"}, owners=_OWNERS,
        code_version=ENCODE_VERSION, pool="codec",  # one at a time: the next one finds the clips that it shares with this one
        description=f"Latents and text features of data set {name}, sharded safetensors, keyed by clip, codec and text encoder.",
    )  # fmt: skip
    def latents(home: HomeResource, recipe: RecipeResource) -> dg.MaterializeResult:
        from skyreels_platform.ledger.current import get_current
        from skyreels_platform.training.encode import encode_dataset

        opened, chosen = home.open(), recipe.load()
        result = encode_dataset(opened, name, get_current(opened.ledger, f"dataset_{name}"), chosen)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(result.latents_id),
            metadata={
                "clips": result.num_clips, "clips_encoded": result.num_encoded, "dagster/uri": f"{opened.store.uri}/{result.path}",
            },
        )  # fmt: skip

    return latents


latents = [_latents_asset(name) for name in POOL_OF]


def _prepare(stage: str, inputs: StageInputs) -> dg.OpDefinition:
    ins = {"latents": dg.In(dg.Nothing), **({"parent": dg.In(dg.Nothing)} if inputs.parent else {})}

    @dg.op(name=f"{stage}_prepare", ins=ins, out=_DONE, tags={"stage": stage})
    def prepare(context: dg.OpExecutionContext, home: HomeResource, recipe: RecipeResource) -> None:
        from skyreels_platform.training.stages import plan_stage

        plan = plan_stage(home.open(), recipe.load(), stage)
        context.log.info(f"{plan.spec.num_steps} steps of {plan.spec.batch_size} clips from {plan.latents_id} in {plan.run_dir}")

    return prepare


def _train(stage: str) -> dg.OpDefinition:
    @dg.op(name=f"{stage}_train", ins=_AFTER, out=_DONE, pool="trainer", tags={"stage": stage})
    def train(
        context: dg.OpExecutionContext, home: HomeResource, recipe: RecipeResource, trainer: TrainerClient
    ) -> Iterator[object]:  # fmt: skip
        from skyreels_platform.training.stages import plan_stage, published, train_stage

        opened, chosen = home.open(), recipe.load()
        plan = plan_stage(opened, chosen, stage)
        if row := published(opened, plan):
            context.log.info(f"{row['checkpoint_id']} was published from the same inputs before: nothing to train")
            yield dg.Output(None)
        else:
            with trainer.session(context, {"stage": stage}) as session:
                train_stage(plan, chosen, env=session.get_bootstrap_env_vars())
            yield from session.get_results()  # the op's output among them

    return train


def _validate(stage: str) -> dg.OpDefinition:
    @dg.op(name=f"{stage}_validate", ins=_AFTER, out=_DONE)
    def validate(context: dg.OpExecutionContext, home: HomeResource, recipe: RecipeResource) -> None:
        from skyreels_platform.training.stages import plan_stage, published, validate_stage

        opened = home.open()
        plan = plan_stage(opened, recipe.load(), stage)
        if not published(opened, plan):
            context.log.info(f"{stage}: {validate_stage(plan)}")

    return validate


def _publish(stage: str) -> dg.OpDefinition:
    @dg.op(name=f"{stage}_publish", ins=_AFTER, out=_DONE, code_version=TRAIN_VERSION)
    def publish(context: dg.OpExecutionContext, home: HomeResource, recipe: RecipeResource) -> dg.Output[None]:
        from skyreels_platform.training.stages import plan_stage, publish_stage
        from skyreels_platform.training.supervisor import incidents_of

        opened, chosen = home.open(), recipe.load()
        plan = plan_stage(opened, chosen, stage)
        row = publish_stage(opened, chosen, plan, run_id=context.run_id)
        shown = ("checkpoint_id", "parent_id", "snapshot_id", "weights_hash", "num_steps", "final_loss", "model_kind")
        metadata = {key: row[key] for key in shown if row[key] is not None}
        metadata |= {
            **incidents_metadata(incidents_of(plan.run_dir)), **training_metadata(plan.run_dir),
            "dagster/uri": f"{opened.store.uri}/{row['path']}",
        }  # fmt: skip
        return dg.Output(None, metadata=metadata, data_version=dg.DataVersion(row["weights_hash"]))

    return publish


def _stage_asset(stage: str, inputs: StageInputs) -> dg.AssetsDefinition:
    prepare, train, validate, publish = _prepare(stage, inputs), _train(stage), _validate(stage), _publish(stage)

    def rest(ready: object) -> object:
        return publish(after=validate(after=train(after=ready)))

    def from_scratch(latents):
        return rest(prepare(latents=latents))

    def from_parent(latents, parent):
        return rest(prepare(latents=latents, parent=parent))

    ins = {"latents": dg.AssetIn(inputs.latents, dagster_type=dg.Nothing)}
    if inputs.parent:
        ins["parent"] = dg.AssetIn(inputs.parent, dagster_type=dg.Nothing)
    compose: Callable[..., object] = from_parent if inputs.parent else from_scratch
    return dg.graph_asset(
        name=stage, ins=ins, group_name="training", kinds={"deepspeed", "torch"}, owners=_OWNERS,
        description=f"Checkpoint of stage {stage}: weights in diffusers' layout with a manifest of everything it came from.",
    )(compose)  # type: ignore[return-value]


stages = [_stage_asset(stage, inputs) for stage, inputs in STAGES.items()]
