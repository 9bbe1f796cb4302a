"""Settings of captioning: who writes captions, the servers that do, and how a captioner of one's own is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from skyreels_platform.recipe.section import Count, Positive, Section, Share


class EndpointSettings(Section):
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


TRAINED = "trained"
"""In place of a folder of heads: the ones that this home's asset `shot_expert` stands at."""


class CaptionSettings(Section):
    """Who writes captions (paper 3.2)."""

    backend: Literal["rules", "vllm"]
    """`rules`: experts that measure pixels, no model. `vllm`: SkyCaptioner-V1 behind OpenAI-compatible servers."""
    captioner: EndpointSettings = EndpointSettings(model="Skywork/SkyCaptioner-V1")
    num_frames: Count = 16
    """Frames shown to the model, first and last included."""
    shot_expert: str = ""
    """`trained`: the heads of the asset `shot_expert` for shot type, angle, position and emotion, once there are any; or a folder of such
    heads; '' leaves these fields to the captioner."""
    camera_expert: bool = False
    """Let the measured camera motion replace the captioner's, where it is known. The backend `rules` has no other."""
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
        names = ("backend", "num_frames", "shot_expert", "camera_expert", "expression", "fusion", "field_dropout")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.backend == "vllm":
            values["captioner"] = self.captioner.model
        if self.fusion == "llm":
            values["writer"] = self.writer.model
        return values


class LabellingSettings(Section):
    """How the shot expert learns from people's labels (paper 3.2)."""

    features: str = "pixels"
    """What its heads look at: `pixels`, built in and without weights, or the folder of an image encoder in transformers' layout."""
    rounds: Count = 5
    """Of active learning (paper: 5, for the camera's)."""
    per_round: Count = 100
    """Shots picked for people in a round."""
    pool_size: Count = 2000
    """Shots without a label that a round looks at (paper: 100k)."""
    min_labels: Count = 20
    """That a field needs before it gets a head."""


class CaptionerTraining(Section):
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
