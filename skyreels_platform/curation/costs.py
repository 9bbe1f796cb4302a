"""What a step will cost before it runs: core-seconds per frame, from what it cost on other sources.

Table `work` holds, per source and step, the frames decoded and the core-seconds spent. The estimate is the median over all measured
frames (a source weighs as much as it has frames, so that many short clips do not outvote a film), and the spread is the middle 80 % of
them. Images are measured apart: almost all of their cost is opening the file. A step without a measurement gets a default, which says
so: it was measured on other footage on other processors, and may be wrong by several times.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from skyreels_platform.ledger.ledger import Ledger

DEFAULT_FRAME_S: Mapping[str, float] = {"source_videos": 0.0005, "shots": 0.012, "scores": 0.010, "captions": 0.002}
"""Core-seconds per frame of a 1080p video, by step: our choice, after runs of sample footage on one machine."""
DEFAULT_IMAGE_S = 0.2
"""Core-seconds of one image, any step (our choice)."""
_OTHER_FRAME_S = 0.01

_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Core-seconds per frame of one step on one kind of source."""

    low: float
    middle: float
    high: float
    num_sources: int
    """Measured sources; 0 for a default."""

    def __mul__(self, num_frames: float) -> "Estimate":
        return Estimate(
            low_s=self.low * num_frames, core_s=self.middle * num_frames, high_s=self.high * num_frames, is_measured=self.num_sources > 0
        )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Core-seconds of work not done yet."""

    low_s: float = 0.0
    """A tenth of what was measured cost less per frame."""
    core_s: float = 0.0
    high_s: float = 0.0
    """A tenth of what was measured cost more per frame."""
    is_measured: bool = True
    """False if any part of it rests on a default."""

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            low_s=self.low_s + other.low_s, core_s=self.core_s + other.core_s, high_s=self.high_s + other.high_s,
            is_measured=self.is_measured and other.is_measured,
        )  # fmt: skip

    def wall_s(self, num_workers: int, longest_s: float = 0.0) -> float:
        """Seconds on so many workers of one core each; never less than the longest single source takes."""
        return max(self.core_s / num_workers, longest_s)


def measured_rates(ledger: Ledger) -> dict[tuple[str, str], Rate]:
    """(step, media) -> its rate, over all sources that were measured."""
    rows = ledger.query(
        "SELECT step, media, work.num_frames, core_s FROM work JOIN sources USING (source_id) WHERE work.num_frames > 0 AND core_s > 0"
    ).to_pylist()
    groups: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for row in rows:
        groups.setdefault((row["step"], row["media"]), []).append((row["core_s"] / row["num_frames"], row["num_frames"]))
    return {key: _rate(group) for key, group in groups.items()}


def rate_of(rates: Mapping[tuple[str, str], Rate], step: str, media: str) -> Rate:
    """The measured rate of a step on videos or images, else the default."""
    if (step, media) in rates:
        return rates[step, media]
    default = DEFAULT_IMAGE_S if media == "image" else DEFAULT_FRAME_S.get(step, _OTHER_FRAME_S)
    return Rate(low=default, middle=default, high=default, num_sources=0)


def estimate(rates: Mapping[tuple[str, str], Rate], step: str, sources: Iterable[Mapping[str, object]]) -> tuple[Estimate, float]:
    """Core-seconds of a step over rows of `sources`, and those of the longest one."""
    total, longest_s = Estimate(), 0.0
    for source in sources:
        one = rate_of(rates, step, str(source["media"])) * max(1, int(str(source["num_frames"] or 1)))
        total, longest_s = total + one, max(longest_s, one.core_s)
    return total, longest_s


def _rate(group: list[tuple[float, int]]) -> Rate:
    """Quantiles of the cost of one frame, each source weighted by its frames."""
    ordered = sorted(group)
    costs = np.array([cost for cost, _ in ordered])
    ends = np.cumsum([frames for _, frames in ordered], dtype=np.float64)
    low, middle, high = (float(costs[np.searchsorted(ends, share * ends[-1])]) for share in (_LOW, _MIDDLE, _HIGH))
    return Rate(low=low, middle=middle, high=high, num_sources=len(group))
