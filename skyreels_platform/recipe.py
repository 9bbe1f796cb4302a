"""A recipe: every threshold, rate, step count, resolution, schedule and model size of one whole run, in one TOML file.

A recipe is the only difference between a laptop and a cluster. It is validated on load: unknown keys are refused with the
nearest right key named, impossible values with file, key, value and remedy. `recipes/` holds the named ones; each number there
carries a comment saying `paper`, `code` (upstream's published code) or `our choice`.
"""

import difflib
import hashlib
import json
import reprlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from skyreels_platform.errors import RecipeError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"



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


class _Section(BaseModel):
    # Strict: "3" is no number and true is no count. Infinity and NaN, which TOML can spell, are no settings.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ShotSettings(_Section):
    """How a source is cut into shots (paper 3.1: PySceneDetect and TransNetV2)."""

    transnet: bool
    """Let TransNetV2 vote (needs torch); without it PySceneDetect and the black rule decide alone."""
    min_length_s: Positive
    """Shorter shots keep their row but fail every pool."""
    max_length_s: Positive
    """Longer shots are split into equal parts no longer than this."""

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_length_s > self.max_length_s:
            raise ValueError(f"min_length_s {self.min_length_s:g} lies above max_length_s {self.max_length_s:g}; swap them")
        return self


class QualityBackend(_Section):
    """Who gives one quality score; see curation.quality."""

    backend: Literal["estimator", "clip_mlp", "onnx"]
    weights: str = ""
    """Folder (clip_mlp) or file (onnx) of the weights; empty for the estimator."""

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if (self.backend == "estimator") == bool(self.weights):
            remedy = "leave weights empty" if self.weights else "give the path of its weights"
            raise ValueError(f"backend {self.backend!r} with weights {self.weights!r}; {remedy}")
        return self


class SignalSettings(_Section):
    """How shots are measured."""

    ocr: bool = False
    """Look for text with RapidOCR (extra `ocr`, some tenths of a second per shot); without it text_area and overlay_text are unknown."""
    quality: dict[Literal["aesthetic", "iqa", "vqa", "vtss"], QualityBackend] = {}
    """Pretrained scorers in place of the built-in estimators."""


class Bound(_Section):
    """What one signal must measure for a shot to stay in a pool."""

    min: float | None = None
    max: float | None = None
    unknown: Literal["fail", "pass", "review"] = "fail"
    """Verdict when the signal could not be measured; `not_applicable` always passes."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} lies above max {self.max:g}; swap them")
        return self


class PoolSettings(_Section):
    """The thresholds of one stage: signal name -> bound. Looser to stricter from 256p to 540p (paper 3.1)."""

    bounds: dict[str, Bound]


class EndpointSettings(_Section):
    """OpenAI-compatible servers of one model, such as vLLM. Only `model` decides what they say; the rest is how they are worked."""

    model: str
    urls: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("http://127.0.0.1:8000/v1",)  # TOML has lists only
    """Base URLs with `/v1`; requests go where the fewest are in flight. The captioner resource may name others."""
    concurrency: Count = 64
    """Requests in flight over all endpoints."""
    timeout_s: Positive = 180.0
    """Of one attempt."""
    max_attempts: Count = 5
    cost_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """Of all endpoints together, in any currency; 0 shows no cost."""

    @field_validator("urls")
    @classmethod
    def _with_scheme(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no base URL; write http://HOST:PORT/v1")
        return urls


class CaptionSettings(_Section):
    """Who writes captions (paper 3.2)."""

    backend: Literal["rules", "vllm"]
    """`rules`: experts that measure pixels, no model. `vllm`: SkyCaptioner-V1 behind OpenAI-compatible servers."""
    captioner: EndpointSettings = EndpointSettings(model="Skywork/SkyCaptioner-V1")
    num_frames: Count = 16
    """Frames shown to the model, first and last included."""
    shot_expert: str = ""
    """Folder of trained heads for shot type, angle and position (captioning.experts.shots); '' leaves them to the captioner."""
    expression: bool = False
    """Ask the captioner's servers about faces too (captioning.experts.expression): one more request per shot with a person or animal."""
    fusion: Literal["template", "llm"] = "template"
    """Who makes texts of fields: a fixed template, or the model of `writer` (code: Qwen2.5-32B-Instruct)."""
    writer: EndpointSettings = EndpointSettings(model="Qwen/Qwen2.5-32B-Instruct")
    """Also enhances prompts of `skyreels generate`."""
    field_dropout: Share = 0.1
    """Share of appearance, position and lighting fields left out of a shot's training text (code: 0.1); no other text lacks them."""

    def identity(self) -> dict[str, Any]:
        """What decides a caption's words: where a server stands and how hard it is worked does not."""
        names = ("backend", "num_frames", "shot_expert", "expression", "fusion", "field_dropout")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.backend == "vllm":
            values["captioner"] = self.captioner.model
        if self.fusion == "llm":
            values["writer"] = self.writer.model
        return values


class CaptionerTraining(_Section):
    """How a captioner of one's own is trained (paper 3.2)."""

    base: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    """Folder or hub id of the weights to start from."""
    num_epochs: Count = 2
    batch_size: Count = 512
    """Clips per optimizer step over all ranks, accumulated one by one."""
    learning_rate: Positive = 1e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    grad_clip: Positive = 1.0
    checkpoint_every: Count = 100
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """0 trains all weights; else LoRA factors of this rank in the language model's attention and feed-forward layers."""

    def lora(self) -> dict[str, Any] | None:
        """rank, alpha (twice the rank, our choice) and targets; None without LoRA."""
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        return {"rank": self.lora_rank, "alpha": 2 * self.lora_rank, "targets": targets} if self.lora_rank else None


class BalanceSettings(_Section):
    """Concept balance by the main subject's type (paper 3.1, figure 5)."""

    shares: dict[str, Share]
    """Target share per concept; what is left of 1 goes to the concepts not named, as they come."""
    min_keep: Share
    """At least this share of the pool is kept, even if a target is missed."""

    @model_validator(mode="after")
    def _sum(self) -> Self:
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(self.shares.values()):.3f}; they must not exceed 1; lower one")
        return self


class CodecSettings(_Section):
    """Pixels to latents."""

    backend: Literal["dct", "wan"]
    """`dct`: a fixed orthonormal DCT of 4x8x8 blocks, no weights. `wan`: AutoencoderKLWan (needs weights)."""
    channels: Count = 16
    weights: str | None = None
    """Folder or hub id of the production weights."""


class TextSettings(_Section):
    """Prompts to features."""

    backend: Literal["hash", "umt5"]
    """`hash`: one fixed random vector per word. `umt5`: umT5-xxl (needs weights)."""
    dim: Count
    length: Count
    """Tokens per prompt; shorter ones are padded with zero vectors, longer ones cut."""
    weights: str | None = None


class ModelSettings(_Section):
    """The DiT; field names are diffusers' `SkyReelsV2Transformer3DModel` config."""

    patch_size: Annotated[tuple[Count, Count, Count], Field(strict=False)] = (1, 2, 2)  # TOML has lists only
    """Latents, latent rows and latent columns per token."""
    num_attention_heads: Count
    attention_head_dim: Count
    in_channels: Count = 16
    out_channels: Count = 16
    text_dim: Count = 4096
    freq_dim: Count = 256
    ffn_dim: Count
    num_layers: Count
    cross_attn_norm: bool = True
    eps: Positive = 1e-6
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    inject_sample_info: bool = False
    """A learned embedding of the frame rate, 16 or 24."""

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.attention_head_dim % 2:
            raise ValueError(f"attention_head_dim is {self.attention_head_dim}; rotary positions need an even number")
        return self


class DurationSettings(_Section):
    """One duration of the buckets."""

    num_frames: Annotated[Frames, Field(ge=5)]
    """Frames per clip, 4k + 1 for the causal codec, at the training rate; one frame is an image and no duration."""
    keep: Share = 1.0
    """Share of the shots that fill this duration and stay in it; the others are cut to the next shorter one, or left out."""


class DatasetSettings(_Section):
    """What one frozen data set feeds the model."""

    resolution: Count
    """Side in pixels of a square clip of this stage; other aspect ratios keep its area."""
    durations: Annotated[tuple[DurationSettings, ...], Field(strict=False, min_length=1)]
    """Clip lengths; a shot gives clips of the longest that it fills."""
    train_fps: Annotated[tuple[Literal[16, 24], ...], Field(strict=False, min_length=1)]
    """Training rates that are taken; footage that normalizes to another one stays out."""
    image_share: Annotated[float, Field(ge=0, lt=1)]
    """Share of the optimizer steps that see images, clips of one frame; 0 leaves images out."""
    max_clips_per_shot: Count
    """Clips cut from one shot, evenly spread, overlapping if the shot is short."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        counts = [duration.num_frames for duration in self.durations]
        if len(set(counts)) < len(counts):
            raise ValueError(f"durations of {counts} frames; each may come once")
        return self


class PhaseSettings(_Section):
    """Part of a stage with rates of its own."""

    until_step: Count
    """The phase ends before this step; the next begins there."""
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class LoraSettings(_Section):
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


class ValidationSettings(_Section):
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


class StageSettings(_Section):
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


class LaunchSettings(_Section):
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


class FilmSettings(_Section):
    """The film at the end of the graph."""

    prompt: str
    """Empty: the most frequent caption of the training snapshot."""
    num_frames: Frames
    base_num_frames: Frames
    """Frames per window."""
    overlap_history: Frames
    """Pixel frames of the film so far that start the next window."""
    num_steps: Count
    shift: Positive
    guidance_scale: Annotated[float, Field(ge=1)]
    ar_step: Annotated[int, Field(ge=0)]
    causal_block_size: Count
    addnoise_condition: Annotated[int, Field(ge=0, le=60)]
    """Noise level (of 1000) on history latents."""
    seed: int
    fps: Literal[16, 24]
    dataset: str = ""
    """Data set whose commonest clip size the film has, such as 540p; empty: that of the clips that its checkpoint was trained on."""
    upscale: Count = 1
    """Nearest-neighbour enlargement of the written file, so that a 32-pixel film can be watched."""

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.overlap_history >= self.base_num_frames:
            raise ValueError(f"overlap_history {self.overlap_history} leaves nothing new in a window of base_num_frames "
                             f"{self.base_num_frames}; make it smaller")  # fmt: skip
        num_latents = (self.base_num_frames - 1) // 4 + 1
        if num_latents % self.causal_block_size:
            raise ValueError(f"causal_block_size {self.causal_block_size} does not divide the {num_latents} latents of "
                             f"base_num_frames {self.base_num_frames}; choose a divisor")  # fmt: skip
        return self


class Recipe(_Section):
    """One whole run."""

    name: str
    seed: int
    shots: ShotSettings
    signals: SignalSettings = SignalSettings()
    captions: CaptionSettings
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


def load_recipe(reference: str | Path) -> Recipe:
    """Read a recipe by name (`laptop`) or path. Raises RecipeError naming file, key, value and remedy."""
    path = _find(reference)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(path, issue) for issue in error.errors())) from error


def _find(reference: str | Path) -> Path:
    for path in (Path(reference), RECIPES / f"{reference}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    raise RecipeError(f"no recipe {str(reference)!r}: give the path of a TOML file or one of: {known}")


_MESSAGES = {
    "int_type": "must be a whole number; write it without quotes or decimal point",
    "int_from_float": "must be a whole number; write it without decimal point",
    "float_type": "must be a number; write it without quotes",
    "finite_number": "must be an ordinary number; write one",
    "bool_type": "must be true or false; write it without quotes",
    "string_type": "must be text; put it in quotes",
    "dict_type": "must be a table; write [name] or { key = value }",
    "model_type": "must be a table; write [name] or { key = value }",
    "tuple_type": "must be a list; write [1, 2, 2] or the like",
}
"""By pydantic's error type, where its own message speaks of Python or does not say what to write."""


def _explain(path: Path, issue: Any) -> str:
    """One sentence for one pydantic error: file, key, value, remedy."""
    key = ".".join(str(part) for part in issue["loc"] if part != "[key]")
    shown = "" if isinstance(issue["input"], dict) else f" = {reprlib.repr(issue['input'])}"
    if issue["type"] == "extra_forbidden":
        known = sorted(_fields_at(issue["loc"][:-1]))
        near = difflib.get_close_matches(str(issue["loc"][-1]), known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"{path}: {key}{shown}: unknown key; {remedy}"
    if issue["type"] == "missing":
        return f"{path}: {key} is missing; add it (recipes/laptop.toml shows every key)"
    if issue["loc"] and issue["loc"][-1] == "[key]":  # the name of a table is wrong, and is itself the input
        shown = ""
    message = _MESSAGES.get(issue["type"], issue["msg"].removeprefix("Value error, ").replace("Input should be", "must be"))
    return f"{path}: {key}{shown}: {message}" if key else f"{path}: {message}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that the section at `location` accepts."""
    section: Any = Recipe
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:  # dict[str, Section] and tuple[Section, ...]: any key or place leads to the value's type
            section = section.__args__[0 if isinstance(part, int) else 1]
    if isinstance(section, type) and issubclass(section, BaseModel):
        return list(section.model_fields)
    return []
