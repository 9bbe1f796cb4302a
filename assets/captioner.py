"""Chapter 3, the captioner itself: an expert taught by people, what the published captioner was distilled from, and one of one's own."""

import dagster as dg

from resources.captioner import CaptionerResource
from resources.home import HomeResource
from resources.recipes import RecipeResource
from resources.trainer import TrainerClient

_UNTAUGHT = "the recipe teaches no shot expert: it has no section [labelling]"
_NONE = "the recipe trains no captioner: it has no section [captioner]"


@dg.asset(
    deps=["shots"], group_name="captions", kinds={"torch", "safetensors"}, owners=["team:data"], code_version="shot-expert-1",
)  # fmt: skip
def shot_expert(home: HomeResource, recipe: RecipeResource) -> dg.MaterializeResult:
    """Heads for shot type, angle, position and emotion, learned from people's labels; and the shots that people should label next.

    One materialization is one step of active learning; `skyreels label page` is where people answer. `captions` uses the heads.
    """
    opened, chosen = home.open(), recipe.load()
    if chosen.labelling is None:
        return dg.MaterializeResult(metadata={"status": _UNTAUGHT})
    from skyreels_platform.captioning.experts.rounds import shown, train_expert

    result = train_expert(opened, chosen.labelling, seed=chosen.seed)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(result.expert_id),
        metadata={
            "round": result.round, "picked": result.num_picked, "not_labelled_yet": result.num_open,
            "labels": dg.MetadataValue.json(result.learned), "scores": dg.MetadataValue.md(shown(result.scores)),
            "dagster/uri": f"{opened.store.uri}/experts/{result.expert_id}",
        },
    )  # fmt: skip


@dg.asset(deps=["balanced_pool", "captions"], group_name="captions", kinds={"safetensors"}, owners=["team:data"])
def dataset_captioner(home: HomeResource, recipe: RecipeResource) -> dg.MaterializeResult:
    """Frozen set of balanced shots with complete captions, one clip per shot: pictures and the answer to learn."""
    from skyreels_platform.captioning.distill import freeze_dataset

    opened, chosen = home.open(), recipe.load()
    if chosen.captioner is None:
        return dg.MaterializeResult(metadata={"status": _NONE})
    result = freeze_dataset(opened, chosen.captions)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(result.dataset_id),
        metadata={
            "clips": result.num_clips, "incomplete": result.num_incomplete, "concepts": dg.MetadataValue.json(result.concepts),
            "dagster/uri": f"{opened.store.uri}/captioner_data/{result.dataset_id}",
        },
    )  # fmt: skip


@dg.asset(
    deps=["dataset_captioner"], group_name="captions", kinds={"torch", "deepspeed"}, owners=["team:training"], pool="trainer",
    code_version="captioner-1",
)  # fmt: skip
def skycaptioner(
    context: dg.AssetExecutionContext, home: HomeResource, recipe: RecipeResource, trainer: TrainerClient, captioner: CaptionerResource
) -> dg.MaterializeResult:
    """A fine-tuned Qwen2.5-VL that answers with structured captions, in a folder that vLLM serves; scored where people wrote captions."""
    from skyreels_platform.captioning.distill import evaluate_captioner, shown, train_captioner

    opened, chosen = home.open(), recipe.load()
    if chosen.captioner is None:
        return dg.MaterializeResult(metadata={"status": _NONE})
    with trainer.session(context.op_execution_context, {"stage": "skycaptioner"}) as session:
        result = train_captioner(opened, chosen.captioner, chosen.launch, seed=chosen.seed, env=session.get_bootstrap_env_vars())
    scores = []
    with captioner.serve(str(opened.fetch(result.path)), opened.work) as url:
        if url:
            scores = evaluate_captioner(opened, chosen.captions, model=result.captioner_id, urls=[url], seed=chosen.seed)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(result.captioner_id),
        metadata={
            "captioner_id": result.captioner_id, "steps": result.num_steps, "first_loss": result.first_loss,
            "final_loss": result.final_loss, "dagster/uri": f"{opened.store.uri}/{result.path}",
            "scores": dg.MetadataValue.md(shown(scores)),
        },
    )  # fmt: skip
