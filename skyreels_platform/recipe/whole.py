"""All sections together, and what one of them alone cannot see."""

import hashlib
import json
from typing import Literal, Self

from pydantic import model_validator

from skyreels_platform.recipe.captioning import CaptionerTraining, CaptionSettings, LabellingSettings
from skyreels_platform.recipe.curation import BalanceSettings, DatasetSettings, PoolSettings, ShotSettings, SignalSettings
from skyreels_platform.recipe.model import CodecSettings, FilmSettings, ModelSettings, TextSettings
from skyreels_platform.recipe.section import Section
from skyreels_platform.recipe.training import LaunchSettings, StageSettings


class Recipe(Section):
    """One whole run."""

    name: str
    seed: int
    shots: ShotSettings
    signals: SignalSettings = SignalSettings()
    captions: CaptionSettings
    labelling: LabellingSettings | None = None
    """None: this recipe teaches no shot expert."""
    captioner: CaptionerTraining | None = None
    """None: this recipe trains no captioner of its own."""
    pools: dict[Literal["256p", "360p", "540p", "sft_540p"], PoolSettings]
    balance: BalanceSettings
    codec: CodecSettings
    text: TextSettings
    model: ModelSettings
    datasets: dict[str, DatasetSettings]
    stages: dict[str, StageSettings]
    launch: LaunchSettings
    film: FilmSettings

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """What one section alone cannot see. Messages name both keys: there is no single place to point at."""
        if self.model.text_dim != self.text.dim:
            raise ValueError(f"model.text_dim is {self.model.text_dim} but text.dim is {self.text.dim}; make them equal")
        if self.model.out_channels != self.codec.channels:
            raise ValueError(f"model.out_channels is {self.model.out_channels} but codec.channels is {self.codec.channels}; "
                             "make them equal")  # fmt: skip
        shared = self.launch.sequence_parallel
        if self.model.num_attention_heads % shared:
            raise ValueError(f"launch.sequence_parallel is {shared}; write a divisor of model.num_attention_heads, "
                             f"{self.model.num_attention_heads}")  # fmt: skip
        if self.launch.hostfile is not None:
            return self
        if self.launch.num_ranks % shared:
            raise ValueError(f"launch.sequence_parallel is {shared}; write a divisor of launch.num_ranks, {self.launch.num_ranks}")
        for name, stage in self.stages.items():
            parts = self.launch.num_ranks // shared * stage.micro_batches
            if stage.batch_size % parts:
                raise ValueError(f"stages.{name}.batch_size is {stage.batch_size}; write a multiple of launch.num_ranks / "
                                 f"launch.sequence_parallel * micro_batches, {parts}")  # fmt: skip
        return self

    def hash(self) -> str:
        """16 hex digits over every value, independent of the file's order and comments."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]
