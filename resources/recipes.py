"""The recipe as a Dagster resource: selecting another one is all that changes between a laptop and a cluster."""

import dagster as dg

from skyreels_platform.recipe import Recipe, load_recipe


class RecipeResource(dg.ConfigurableResource):
    """Loads a recipe by name or path at each use, so an edited file counts from the next run on."""

    reference: str
    """`laptop`, another name of recipes/, or a path."""

    def load(self) -> Recipe:
        """The validated recipe; RecipeError names file, key, value and remedy."""
        return load_recipe(self.reference)
