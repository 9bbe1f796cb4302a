"""How well reported shot boundaries agree with boundaries that somebody looked at.

A report is a pair (end of one shot, start of the next): equal for a plain boundary, apart where a transition was trimmed away. The
rules, which every number about shots in this project follows:

- A hard cut is found when a report lies within one frame of it. One report finds one cut; a gap is one report and finds a cut in it.
- A report left over that lies inside a gradual span, give or take three frames, is not false; any other report left over is. Spans
  that so touch (out to black and in again) count as one, since one gap may take them out together.
- A gradual span with a boundary is a shot change and is found when a report left over lies in it. A span without one (a fade within
  a shot, a title that fades) counts neither way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

CUT_TOLERANCE = 1
"""Frames by which a report may miss a hard cut."""
SPAN_TOLERANCE = 3
"""Frames by which a report may overlap the ends of a gradual span."""

Report = tuple[int, int]
"""(end_frame of the shot before, start_frame of the shot after), first <= second."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A visible mix of two pictures."""

    start: int
    """First mixed frame."""
    end: int
    """Last mixed frame."""
    is_change: bool
    """Whether the shot changes here; a fade within one shot does not change it."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The boundaries of one film."""

    cuts: tuple[int, ...]
    """First frame of each shot that a hard cut starts, ascending."""
    spans: tuple[Span, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read `{"cuts": [226], "gradual": [{"start": 120, "end": 137, "boundary": 126 or null}]}`; other keys are ignored."""
        spans = (
            Span(start=entry["start"], end=entry["end"], is_change=entry["boundary"] is not None) for entry in value["gradual"]
        )
        return cls(cuts=tuple(sorted(value["cuts"])), spans=tuple(sorted(spans, key=lambda span: span.start)))


@dataclass(frozen=True, kw_only=True)
class BoundaryScore:
    """Counts of one film, or of several added up with `+` (so that each boundary weighs the same)."""

    num_cuts: int = 0
    num_found: int = 0
    num_false: int = 0
    num_gradual: int = 0
    num_gradual_found: int = 0

    def __add__(self, other: "BoundaryScore") -> "BoundaryScore":
        return BoundaryScore(
            num_cuts=self.num_cuts + other.num_cuts,
            num_found=self.num_found + other.num_found,
            num_false=self.num_false + other.num_false,
            num_gradual=self.num_gradual + other.num_gradual,
            num_gradual_found=self.num_gradual_found + other.num_gradual_found,
        )

    @property
    def precision(self) -> float:
        """Found cuts per report that claims one; 1 where nothing was reported."""
        return _ratio(self.num_found, self.num_found + self.num_false)

    @property
    def recall(self) -> float:
        """Share of the hard cuts found; 1 where there are none."""
        return _ratio(self.num_found, self.num_cuts)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there was nothing to find and nothing was reported."""
        return _ratio(2 * self.num_found, self.num_found + self.num_false + self.num_cuts)

    @property
    def gradual_recall(self) -> float:
        """Share of the gradual shot changes found; 1 where there are none."""
        return _ratio(self.num_gradual_found, self.num_gradual)


def reports_of(shots: Sequence[Any]) -> list[Report]:
    """What a list of shots (`start_frame`, `end_frame`; ascending) reports: one boundary between each two neighbours."""
    return [(before.end_frame, after.start_frame) for before, after in pairwise(shots)]


def score(reports: Iterable[Report | int], truth: Truth) -> BoundaryScore:
    """Compare the reports of one film with its truth; a plain frame number is a report without a gap."""
    left = sorted(((report, report) if isinstance(report, int) else report for report in reports), key=lambda report: report[::-1])
    num_found = sum(_take(left, cut) for cut in truth.cuts)
    allowed = [report for report in left if _inside(report, truth.spans)]
    changes = [span for span in truth.spans if span.is_change]
    return BoundaryScore(
        num_cuts=len(truth.cuts),
        num_found=num_found,
        num_false=len(left) - len(allowed),
        num_gradual=len(changes),
        num_gradual_found=sum(_take_in(allowed, span) for span in changes),
    )


def _take(left: list[Report], cut: int) -> bool:
    """Use up the report that finds `cut` and ends first: with cuts in ascending order this finds as many as can be found."""
    for position, (end, start) in enumerate(left):
        if end - CUT_TOLERANCE <= cut <= start + CUT_TOLERANCE:
            del left[position]
            return True
    return False


def _take_in(allowed: list[Report], span: Span) -> bool:
    """Use up the first report that lies in the span, or in several of which this is one."""
    for position, (end, start) in enumerate(allowed):
        if end <= span.end + SPAN_TOLERANCE and start >= span.start - SPAN_TOLERANCE:
            del allowed[position]
            return True
    return False


def _inside(report: Report, spans: Sequence[Span]) -> bool:
    """Whether every frame of the report lies in some span, give or take the tolerance; spans are ascending."""
    end, start = report
    for span in spans:
        if span.start - SPAN_TOLERANCE <= end <= span.end + SPAN_TOLERANCE:
            end = span.end + SPAN_TOLERANCE
            if start <= end:
                return True
    return False


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
