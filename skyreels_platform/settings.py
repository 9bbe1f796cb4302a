"""What the environment decides about a home and a recipe.

    SKYREELS_HOME     folder or s3://bucket/prefix; default `.skyreels` in the working folder
    SKYREELS_RECIPE   name or path; default `laptop`

Beside these two, `resources/compute.py` reads SKYREELS_COMPUTE and SKYREELS_WORKERS, `jobs/ingest.py` reads SKYREELS_WATCH and
SKYREELS_WATCH_FILES, and the command line SKYREELS_POSTGRES_URL.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from skyreels_platform.home import DEFAULT_HOME


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Deployment settings, resolved once per process."""

    home: str
    recipe: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables; relative homes become absolute, so that every process of a run means the same place."""
        home = environment.get("SKYREELS_HOME") or DEFAULT_HOME
        return cls(
            home=home if "://" in home else str(Path(home).expanduser().absolute()),
            recipe=environment.get("SKYREELS_RECIPE") or "laptop",
        )

    @property
    def state_dir(self) -> Path:
        """Dagster's own state: beside the home, or in the working folder for an s3:// home."""
        return Path(DEFAULT_HOME if "://" in self.home else self.home).absolute() / "dagster"
