"""Where one field of a caption is from: who said it, which model, which version, how sure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal["mllm", "expert", "human", "rule", "none"]

Provenance = dict[str, dict[str, Any]]
"""Field path (`camera_motion`, `subjects[0].action`) -> a FieldProvenance as plain values."""


class FieldProvenance(BaseModel):
    """Provenance of one field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    """mllm: the captioner; expert: a sub-expert; human: a person; rule: measured by a rule; none: nobody said anything."""
    model: str = ""
    """Id of the model or rule, '' where a person or nobody spoke."""
    version: str = ""
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """None: whoever said it gives no confidence. 0 with source `none`."""
    reason: str = ""
    """Why nobody said anything, or what is to be known about it."""


def origin(source: Source, version: str = "", confidence: float | None = None, reason: str = "", *, model: str = "") -> dict[str, Any]:
    """A checked FieldProvenance as plain values, empty `reason` left out. `model` defaults to the version without its number."""
    entry = FieldProvenance(
        source=source, model=model or version.rpartition("-")[0], version=version, confidence=confidence, reason=reason
    )  # fmt: skip
    return entry.model_dump(exclude=set() if reason else {"reason"})
