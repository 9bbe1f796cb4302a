"""What every signal shares: the score it gives, the shot it is told about, the frames it sees.

A signal is a class in a file of its own. One instance measures one shot: it is made with the shot, sees every frame of the shot's
span once and in order, then gives its score. It keeps running sums, never frames, so memory does not grow with the shot's length.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np

from skyreels_platform.media.pyramid import Still

Outcome = Literal["measured", "unknown", "not_applicable"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Score:
    """One signal of one shot; its fields are columns of the ledger's table `scores`."""

    signal: str
    value: float | None
    """None unless measured."""
    unit: str
    version: str
    """Changes whenever the same pixels could give another value."""
    outcome: Outcome
    reason: str
    """Why it is not measured; beside a measured value at most a remark, which verdicts repeat."""


@dataclass(frozen=True, kw_only=True)
class ShotInfo:
    """What is known of a shot before its frames are seen."""

    media: str
    """video | image."""
    num_frames: int
    """Final only when the scores are asked for: while a shot streams, nobody knows its end."""
    duration_s: float
    """As num_frames."""
    fps: float
    """Average rate of the source; 0 for an image."""
    width: int
    """Displayed width of the source in pixels, not of the frames that signals see."""
    height: int
    bitrate: int | None = None
    """Bits per second of the whole file; None for an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """Optical flow from an earlier frame of the shot to this one, split into what the camera does and what is left."""

    flow: np.ndarray
    """(h, w, 2) float32: x and y displacement in pixels of the picture, at every `step`-th pixel on both axes."""
    camera: np.ndarray
    """As `flow`: the affine motion that most of the frame follows."""
    per_second: float
    """Factor from pixels to frame heights per second."""
    step: int
    """Pixels of the picture from one point to the next: 4, less in pictures of less than about 90 pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One frame of a shot as signals see it: every frame small, about 8 a second as a picture, about 2 a second in detail."""

    rgb: np.ndarray
    """(81, 144, 3) uint8, stretched to 16:9 whatever the source's shape."""
    grey: np.ndarray
    """(81, 144) uint8 full-range luma."""
    luma: float
    """Mean of `grey`, 0 to 1."""
    contrast: float
    """Standard deviation of `grey`, 0 to 0.5."""
    time_s: float
    """Seconds since the source's first frame."""
    picture: np.ndarray | None = None
    """(h, w, 3) uint8, square pixels, at most 256 on the short side and 768 on the long one; None between sampled frames."""
    plane: np.ndarray | None = None
    """(h, w) uint8: the one of luma, R, G and B of `picture` that has the largest contrast in `rgb` (luma alone does not see a red
    ball on grey ground of equal luma)."""
    motion: Motion | None = None
    """Motion since the sampled frame before; None on the shot's first sampled frame and between sampled frames."""
    still: Still | None = None
    """With every fourth picture or so."""
    index: int = 0
    """Of the frame in its source."""
    known: dict[Callable[["Sample"], Any], Any] = field(default_factory=dict, repr=False, compare=False)
    """What `once` has found."""

    @property
    def small(self) -> np.ndarray:
        """`rgb`, by the name that it has in the pyramid."""
        return self.rgb

    def once(self, function: Callable[["Sample"], T]) -> T:
        """function(sample), computed at the first call: several signals read the same of a frame. What follows from the frame alone,
        and is dear, can so be computed before anybody knows which shot the frame belongs to (see `Signal.of_sample`)."""
        if function not in self.known:
            self.known[function] = function(self)
        return self.known[function]


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Where in the frame something was found that a crop may have to avoid; shares of width and height, 0 to 1."""

    kind: str
    """Name of the signal that found it."""
    x0: float
    y0: float
    x1: float
    y1: float

    def covers(self, x0: float, y0: float, x1: float, y1: float) -> float:
        """Share of a rectangle, in shares of the frame, that lies in this region."""
        width, height = min(x1, self.x1) - max(x0, self.x0), min(y1, self.y1) - max(y0, self.y0)
        return max(0.0, width) * max(0.0, height) / ((x1 - x0) * (y1 - y0))


OfSample = tuple[Callable[[Sample], Any], ...]
"""Functions of a frame alone."""


class Shared(Protocol):
    """Running sums that several signals of one shot read; made once per shot and fed before the signals."""

    of_sample: ClassVar[OfSample]
    """As `Signal.of_sample`."""

    def __init__(self, shot: ShotInfo) -> None: ...

    def add(self, sample: Sample) -> None: ...


class Signal(ABC):
    """Measures one property of one shot."""

    name: ClassVar[str]
    """As in recipes and in the ledger."""
    unit: ClassVar[str]
    version: ClassVar[str]
    video_only: ClassVar[bool] = False
    """An image gets `not_applicable`, for the reason `still`."""
    still: ClassVar[str] = "an image does not move"
    needs_pixels: ClassVar[bool] = True
    """False: the value follows from ShotInfo alone and stands even if no frame can be decoded."""

    shared: ClassVar[type["Shared"] | None] = None
    """What this signal reads together with others of the same shot, if anything."""

    of_sample: ClassVar[OfSample] = ()
    """Functions that `add` asks `Sample.once` for; they are computed while the next frames are still being decoded."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Names of the signals that this one follows from; it sees no frames then, and must be measured together with them."""

    def __init__(self, shot: ShotInfo) -> None:
        self.shot = shot
        self.shared_state: Any = None
        """This shot's instance of `shared`."""

    def add(self, sample: Sample) -> None:  # noqa: B027 (a signal that needs no pixels leaves it as it is)
        """See the next frame of the shot."""

    def settle(self, scores: Mapping[str, Score], regions: Sequence[Region]) -> None:  # noqa: B027 (only signals with `needs` look)
        """See the scores of the signals that this one needs, and the regions of all; comes before `result`."""

    @abstractmethod
    def result(self) -> Score:
        """The score, once every frame of the shot has been seen."""

    def regions(self) -> list[Region]:
        """What was found, and where; most signals find nothing that has a place."""
        return []

    @classmethod
    def measured(cls, value: float, remark: str = "") -> Score:
        return cls._score(float(value), "measured", remark)

    @classmethod
    def unknown(cls, reason: str) -> Score:
        return cls._score(None, "unknown", reason)

    @classmethod
    def not_applicable(cls, reason: str) -> Score:
        return cls._score(None, "not_applicable", reason)

    @classmethod
    def _score(cls, value: float | None, outcome: Outcome, reason: str) -> Score:
        return Score(signal=cls.name, value=value, unit=cls.unit, version=cls.version, outcome=outcome, reason=reason)


class MeanSignal(Signal):
    """A signal whose value is the mean of one number per frame, or per frame that has one."""

    nothing: ClassVar[str] = "no frame could be measured"
    """Why a shot has no value when no frame has one."""

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._sum, self._count = 0.0, 0

    @abstractmethod
    def of_frame(self, sample: Sample) -> float | None:
        """This frame's number; None leaves the frame out."""

    def add(self, sample: Sample) -> None:
        value = self.of_frame(sample)
        if value is not None:
            self._sum += value
            self._count += 1

    def result(self) -> Score:
        return self.measured(self._sum / self._count) if self._count else self.unknown(self.nothing)
