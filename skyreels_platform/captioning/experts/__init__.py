"""Sub-experts: each looks at a shot and replaces the fields that it knows better than a general model (paper 3.2).

An expert that is not sure says nothing: a field keeps what the captioner said. Nobody published the paper's experts' weights. The ones
here that learn start without any and have to be trained; those that ask a language model need its server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skyreels_platform.captioning.origin import Provenance, origin
from skyreels_platform.captioning.schema import StructuredCaption


@dataclass(frozen=True, kw_only=True)
class Said:
    """What an expert says about one field."""

    value: str
    confidence: float
    """0..1."""
    remark: str = ""
    """What else is to be known about it."""


class Expert(Protocol):
    """One sub-expert."""

    @property
    def version(self) -> str:
        """Name and version; changes whenever it would speak otherwise."""
        ...

    def look(self, frames: np.ndarray) -> Mapping[str, Said]:
        """Field of the caption -> what it says, of frames (F, H, W, 3) uint8 RGB spread over one shot. Fields left out: not sure."""
        ...


def replace_fields(
    caption: StructuredCaption, fields: Provenance, experts: Sequence[Expert], frames: np.ndarray
) -> tuple[StructuredCaption, Provenance]:
    """The caption with the experts' fields in place of its own, later experts over earlier ones."""
    for expert in experts:
        said = expert.look(frames)
        caption = caption.model_copy(update={field: entry.value for field, entry in said.items()})
        fields = {**fields, **{field: origin("expert", expert.version, entry.confidence, entry.remark) for field, entry in said.items()}}
    return caption, fields
