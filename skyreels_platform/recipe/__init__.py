"""A recipe: every threshold, rate, step count, resolution, schedule and model size of one whole run, in one TOML file.

A recipe is the only difference between a laptop and a cluster. It is validated on load: unknown keys are refused with the
nearest right key named, impossible values with file, key, value and remedy. `recipes/` holds the named ones; each number there
carries a comment saying `paper`, `code` (upstream's published code) or `our choice`.
"""

from skyreels_platform.recipe.captioning import TRAINED, CaptionerTraining, CaptionSettings, EndpointSettings, LabellingSettings
from skyreels_platform.recipe.curation import (
    BalanceSettings,
    Bound,
    DatasetSettings,
    DurationSettings,
    PoolSettings,
    QualityBackend,
    ShotSettings,
    SignalSettings,
)
from skyreels_platform.recipe.load import RECIPES, load_recipe
from skyreels_platform.recipe.model import CodecSettings, FilmSettings, ModelSettings, TextSettings
from skyreels_platform.recipe.training import LaunchSettings, LoraSettings, PhaseSettings, StageSettings, ValidationSettings
from skyreels_platform.recipe.whole import Recipe

__all__ = [
    "RECIPES", "TRAINED", "BalanceSettings", "Bound", "CaptionSettings", "CaptionerTraining", "CodecSettings", "DatasetSettings",
    "DurationSettings", "EndpointSettings", "FilmSettings", "LabellingSettings", "LaunchSettings", "LoraSettings", "ModelSettings",
    "PhaseSettings", "PoolSettings", "QualityBackend", "Recipe", "ShotSettings", "SignalSettings", "StageSettings", "TextSettings",
    "ValidationSettings", "load_recipe",
]  # fmt: skip
