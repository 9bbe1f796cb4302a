"""The page's section about noise levels: which states of the sampler the film's training stage has seen."""

from skyreels_platform.recipe import FilmSettings, Recipe, StageSettings
from skyreels_platform.report.markup import Html, html, sentence

NUM_DRAWS = 20_000


def levels_section(recipe: Recipe, stage: str | None) -> Html:
    """Per row of the sampler's step matrix, the share of the stage's training draws that are near it; seeded, so always the same."""
    from model.coverage import TOLERANCE
    from skyreels_platform.report.plots import coverage_plot

    settings = recipe.stages.get(stage or "")
    if settings is None:
        lead = "The film's training stage is not in the recipe: nothing to compare the sampler with."
        return html("<section><h2>Noise levels</h2>{lead}</section>", lead=sentence(lead))
    shares = stage_coverage(recipe.film, settings)
    figures = [
        html("<figure>{svg}<figcaption>{caption}</figcaption></figure>", svg=coverage_plot(share, 1 / NUM_DRAWS), caption=caption)
        for share, caption in ((share, _caption(title, share)) for title, share in shares.items())
    ]
    return html(
        '<section><h2>Noise levels: sampler against training</h2>{lead}<div class="plots large">{figures}</div></section>',
        lead=sentence(
            f"Each row of the sampler's schedule is one forward pass. The height is the share of {NUM_DRAWS:,} training draws of "
            f"{stage} within {TOLERANCE:g} of the row's noise level in every frame; what no draw came near lies on the floor."
        ),
        figures=figures,
    )


def stage_coverage(film: FilmSettings, stage: StageSettings) -> dict[str, list[float]]:
    """Shares per row for the first window of a film and, if it has later ones, for a window with history."""
    import torch

    from model.coverage import row_coverage, sampled_levels
    from model.forcing import sample_sigmas
    from model.schedule import windows

    plan = windows(film.num_frames, film.base_num_frames, film.overlap_history, block_size=film.causal_block_size)
    kinds = {"first window": plan[0], "later windows": plan[1]} if len(plan) > 1 else {"the window": plan[0]}
    shares = {}
    for title, window in kinds.items():
        rows = sampled_levels(
            window.partition(film.causal_block_size), film.num_steps, film.ar_step, film.shift,
            window.num_history_latents, film.addnoise_condition / 1000,
        )  # fmt: skip
        drawn = sample_sigmas(
            NUM_DRAWS, window.num_latents, p_fopp=stage.p_fopp, p_sync=stage.p_sync, p_prefix=stage.p_prefix,
            mean=stage.timestep_mean, std=stage.timestep_std, shift=stage.timestep_shift, fopp_block=stage.fopp_block,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        shares[title] = row_coverage(rows, drawn.sigma_BF).share_R.tolist()
    return shares


def _caption(title: str, shares: list[float]) -> str:
    never = sum(share == 0 for share in shares)
    least = min(range(len(shares)), key=shares.__getitem__)
    text = f"{title}: {len(shares)} rows, median {100 * sorted(shares)[len(shares) // 2]:.2g} % of draws"
    return f"{text}, least {100 * shares[least]:.2g} % at row {least + 1}" + (f"; {never} rows never trained" if never else "")
