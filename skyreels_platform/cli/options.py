"""Options that many commands take."""

from typing import Annotated

import typer

HomeOption = Annotated[str | None, typer.Option("--home", help="Folder or s3://bucket/prefix that holds everything. "
                                                "Default: $SKYREELS_HOME, else .skyreels", show_default=False)]  # fmt: skip
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="Name in recipes/ or path of a TOML file. "
                                                  "Default: $SKYREELS_RECIPE, else laptop", show_default=False)]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
