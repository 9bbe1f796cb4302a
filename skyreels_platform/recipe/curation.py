"""Settings of curation: how footage becomes shots, what is measured, what stays, and what one data set feeds the model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skyreels_platform.recipe.section import Count, Frames, Positive, Section, Share


class ShotSettings(Section):
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


class QualityBackend(Section):
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


class SignalSettings(Section):
    """How shots are measured."""

    ocr: bool = False
    """Look for text with RapidOCR (extra `ocr`, some tenths of a second per shot); without it text_area and overlay_text are unknown."""
    quality: dict[Literal["aesthetic", "iqa", "vqa", "vtss"], QualityBackend] = Field(default={})
    """Pretrained scorers in place of the built-in estimators."""


class Bound(Section):
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


class PoolSettings(Section):
    """The thresholds of one stage: signal name -> bound. Looser to stricter from 256p to 540p (paper 3.1)."""

    bounds: dict[str, Bound]


class BalanceSettings(Section):
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


class DurationSettings(Section):
    """One duration of the buckets."""

    num_frames: Annotated[Frames, Field(ge=5)]
    """Frames per clip, 4k + 1 for the causal codec, at the training rate; one frame is an image and no duration."""
    keep: Share = 1.0
    """Share of the shots that fill this duration and stay in it; the others are cut to the next shorter one, or left out."""


class DatasetSettings(Section):
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
