"""Settings of training: one stage's steps, rates and noise levels, and how its ranks are started."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from skyreels_platform.recipe.section import Count, Positive, Section, Share


class PhaseSettings(Section):
    """Part of a stage with rates of its own."""

    until_step: Count
    """The phase ends before this step; the next begins there."""
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class LoraSettings(Section):
    """Small trainable factors beside frozen weights (peft)."""

    rank: Count
    alpha: Positive
    """The factors' product is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
    """Last names of the linear layers that get factors."""

    @field_validator("targets", mode="before")
    @classmethod
    def _list_of_targets(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class ValidationSettings(Section):
    """Films while a stage trains: the same prompts and seeds each time."""

    every_steps: Count
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    seed: int = 0
    """Of the first prompt; each further one takes the next."""
    num_steps: Count
    shift: Positive
    guidance_scale: Annotated[float, Field(ge=1)]

    @field_validator("prompts", mode="before")
    @classmethod
    def _list_of_prompts(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class StageSettings(Section):
    """One training stage."""

    num_steps: Count
    batch_size: Count
    """Clips per optimizer step over all ranks; a multiple of the rank count."""
    micro_batches: Count = 1
    """Forward and backward passes per optimizer step: each rank's clips are cut into this many equal parts."""
    phases: tuple[PhaseSettings, ...] = ()
    """Rates one after another, the last until num_steps; empty: learning_rate and weight_decay hold throughout."""
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "cosine"] = "constant"
    init_from: str | None = None
    """Weights to start from instead of the parent stage's: a folder in diffusers' layout or a Hugging Face id."""
    lora: LoraSettings | None = None
    """Train factors beside frozen weights; needs a parent or init_from."""
    activation_checkpointing: Literal["none", "all_but_attention", "all"] = "none"
    """What the backward pass computes again from each block's input: much less memory. `all` is a third more work; `all_but_attention`
    keeps one tensor more a block, which is most of that work where clips are long."""
    activation_offload: bool = False
    """Keep saved activations in host memory (GPUs)."""
    validation: ValidationSettings | None = None
    """Films on fixed prompts while training."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """0 keeps no moving average."""
    grad_clip: Positive = 1.0
    caption_dropout: Share = 0.1
    checkpoint_every: Count
    keep_last: Count = 2
    """Newest checkpoints that stay while the stage trains."""
    milestone_every: Annotated[int, Field(ge=0)] = 0
    """Checkpoints at multiples of this many steps stay for good; 0 keeps none."""
    timestep_mean: float = 0.0
    timestep_std: Positive = 1.0
    timestep_shift: Positive = 1.0
    """Logit-normal location, scale and shift of sigma for frames that share one timestep."""
    p_fopp: Share = 0.0
    p_sync: Share = 1.0
    p_prefix: Share = 0.0
    """Mixture of per-frame timesteps: FoPP, one timestep for all frames, clean prefix with the rest synchronous. Adds up to 1."""
    fopp_block: Count = 1
    """Latent frames that share a level in FoPP draws; 1 is the paper's, a schedule block's size trains that schedule's states."""
    loss_weighting: Literal["none", "cosmap"] = "none"
    """Weight of a frame's error by its noise level: none (paper) or Stable Diffusion 3's cosmap."""
    seed: int = 0

    @model_validator(mode="after")
    def _mixture(self) -> Self:
        if abs(self.p_fopp + self.p_sync + self.p_prefix - 1) > 1e-6:
            raise ValueError(f"p_fopp + p_sync + p_prefix is {self.p_fopp + self.p_sync + self.p_prefix:g}; it must be 1")
        return self

    @field_validator("phases", mode="before")
    @classmethod
    def _list_of_phases(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value  # TOML has lists only

    @model_validator(mode="after")
    def _phases(self) -> Self:
        ends = [phase.until_step for phase in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[-1] != self.num_steps):
            raise ValueError(f"phases end at steps {ends}; let them rise and the last end at num_steps, {self.num_steps}")
        if ends and self.schedule != "constant":
            raise ValueError(f"phases set the rates and schedule = {self.schedule!r} would bend them; write schedule = \"constant\"")
        return self

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup_steps > self.num_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} lies above num_steps {self.num_steps}; lower it")
        return self


class LaunchSettings(Section):
    """How DeepSpeed is started."""

    num_ranks: Count
    """Processes on this machine; with a hostfile, the hostfile's slots count instead."""
    zero_stage: Literal[0, 1, 2, 3]
    """What DeepSpeed shards over the ranks: 1 optimizer state, 2 and gradients, 3 and weights."""
    offload: Literal["none", "optimizer", "all"] = "none"
    """`optimizer`: master weights, moments and moving average in host memory. `all`: weights between uses too (zero_stage 3)."""
    sequence_parallel: Count = 1
    """Ranks that share the tokens of the same clips (Ulysses); divides the ranks and the model's attention heads."""
    accelerator: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]
    threads_per_rank: Count = 1
    hostfile: str | None = None
    memory_gb: Positive | None = None
    """GiB of one GPU, or of this machine with accelerator cpu; left out: what is found where the training runs."""
    grace_s: Positive = 20.0
    """Seconds a cancelled run gets to write a checkpoint before its group is killed."""
    hang_floor_s: Positive = 60.0
    """A rank without a new step is hung after this time, or after 20 times the slowest recent step if that is longer."""
    start_timeout_s: Positive = 900.0
    """The same for what has no measured time: loading, building, the first step, a checkpoint, a validation film."""
    max_restarts: Annotated[int, Field(ge=0)] = 5
    """Restarts after faults without a new checkpoint in between; then the stage fails with the log."""
    restart_wait_s: Positive = 2.0
    """Seconds before the first restart; twice as long before each further one, at most a minute."""

    @model_validator(mode="after")
    def _sharding(self) -> Self:
        least = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(f"offload = {self.offload!r} needs zero_stage {least} or more; it is {self.zero_stage}")
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError("dtype = \"bfloat16\" with zero_stage = 0 keeps no fp32 master weights; write zero_stage = 1 or more")
        return self
