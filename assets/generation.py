"""Chapter 5, films: what the last diffusion-forcing checkpoint of the graph makes of a prompt."""

import json

import dagster as dg

from resources.home import HomeResource
from resources.recipes import RecipeResource
from resources.trainer import TrainerClient
from skyreels_platform.generation.film import FILM_VERSION
from skyreels_platform.training.stages import FILM_STAGE


@dg.asset(
    deps=[FILM_STAGE], group_name="generation", kinds={"torch"}, owners=["team:training"], code_version=FILM_VERSION,
    pool="trainer",
    check_specs=[dg.AssetCheckSpec("shows_its_prompt", asset="film", description="The pixels show the subject of the prompt.")],
)  # fmt: skip
def film(
    context: dg.AssetExecutionContext, home: HomeResource, recipe: RecipeResource, trainer: TrainerClient
) -> dg.MaterializeResult:  # fmt: skip
    """One generated film of at least three windows, with checkpoint, prompt, seed and schedule in its manifest."""
    from skyreels_platform.generation.film import make_film, plan_film
    from skyreels_platform.ledger.current import set_current

    opened, chosen = home.open(), recipe.load()
    with trainer.session(context.op_execution_context, {"stage": "film"}) as session:
        request = plan_film(opened, chosen, stage=FILM_STAGE)
        row = make_film(opened, chosen, request, env=session.get_bootstrap_env_vars())
    set_current(opened.ledger, "film", row["film_id"])
    check = json.loads(row["manifest"])["check"]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(row["film_id"]),
        metadata={
            "film_id": row["film_id"], "checkpoint_id": row["checkpoint_id"], "prompt": row["prompt"], "windows": row["num_windows"],
            "duration_s": row["num_frames"] / row["fps"], "dagster/uri": f"{opened.store.uri}/{row['path']}",
        },
        check_results=[
            # A warning, not an error: a weak film is a finding about the model, not a broken run.
            dg.AssetCheckResult(check_name="shows_its_prompt", passed=check["outcome"] != "fail", description=check["text"],
                                severity=dg.AssetCheckSeverity.WARN)
        ],
    )  # fmt: skip
