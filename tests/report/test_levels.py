"""Which rows of the sampler's schedule a recipe's training covers, as the page says it."""

import re

from skyreels_platform.recipe import load_recipe
from skyreels_platform.report.levels import levels_section, stage_coverage


def test_the_laptop_recipe_trains_every_row_of_its_film() -> None:
    recipe = load_recipe("laptop")
    shares = stage_coverage(recipe.film, recipe.stages["diffusion_forcing"])
    assert set(shares) == {"first window", "later windows"}
    assert all(share > 0 for rows in shares.values() for share in rows)
    page = levels_section(recipe, "diffusion_forcing")
    assert page.count("<svg") == 2
    assert "never trained" not in page


def test_fopp_alone_is_seen_to_miss_rows() -> None:
    recipe = load_recipe("skyreels_v2_1.3b")
    stage = recipe.stages["diffusion_forcing"].model_copy(update={"p_fopp": 1.0, "p_sync": 0.0, "p_prefix": 0.0})
    recipe = recipe.model_copy(update={"stages": {"diffusion_forcing": stage}})
    page = levels_section(recipe, "diffusion_forcing")
    assert re.search(r"; \d+ rows never trained", page)
    assert page == levels_section(recipe, "diffusion_forcing")


def test_a_stage_outside_the_recipe_is_said() -> None:
    page = levels_section(load_recipe("laptop"), "dpo_9")
    assert "not in the recipe" in page
    assert "<svg" not in page
    assert levels_section(load_recipe("laptop"), None) == page
