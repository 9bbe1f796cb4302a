"""What every section of a recipe is made of: strict frozen models and the bounded numbers that most settings are."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _whole_latents(num_frames: int) -> int:
    if num_frames % 4 != 1:
        below = max(1, (num_frames - 1) // 4 * 4 + 1)
        raise ValueError(f"the codec needs 4k + 1 frames; write {below} or {below + 4}")
    return num_frames


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Frames = Annotated[int, Field(ge=1), AfterValidator(_whole_latents)]
"""Pixel frames that a causal codec turns into whole latents: the first on its own, then four to a latent."""


class Section(BaseModel):
    """Strict: "3" is no number and true is no count. Infinity and NaN, which TOML can spell, are no settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
