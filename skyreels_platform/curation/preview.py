"""What other bounds would change, from stored numbers alone: shots gained and lost by reason, hours and concepts, nothing written."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skyreels_platform.curation.pools import Found, Judged, judge_wide
from skyreels_platform.curation.standing import judged_by, shots_of_stage
from skyreels_platform.curation.wide import load_wide, spread
from skyreels_platform.home import Home
from skyreels_platform.recipe import PoolSettings

NUM_SHOWN = 12
"""Shots of each kind that are named."""


@dataclass(frozen=True, kw_only=True)
class PoolFacts:
    """A pool under one set of bounds."""

    counts: dict[str, int]
    """pass | review | fail -> shots."""
    hours: float
    """Length of the shots that pass."""
    concepts: dict[str, int]
    """Concept -> shots that pass, most frequent first."""


class Moved(NamedTuple):
    """One shot that comes in or goes out."""

    shot_id: str
    reasons: list[str]
    """Why it was out until now, or why it would be."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A pool before and after a change of bounds."""

    stage: str
    before: PoolFacts
    after: PoolFacts
    gained: int
    """Shots that pass only after the change."""
    lost: int
    """Shots that pass only before it."""
    gained_by: dict[str, int]
    """Reason kind -> gained shots that had it before; a shot with two counts under both."""
    lost_by: dict[str, int]
    """Reason kind -> lost shots that have it after."""
    gained_shots: list[Moved]
    """A sample spread evenly over the gained shots in order of batch and id."""
    lost_shots: list[Moved]

    @property
    def diff(self) -> dict[str, dict[str, int]]:
        """Reason kind -> {"gained", "lost"}."""
        kinds = sorted({*self.gained_by, *self.lost_by})
        return {kind: {"gained": self.gained_by.get(kind, 0), "lost": self.lost_by.get(kind, 0)} for kind in kinds}


def preview(
    home: Home, stage: str, before: PoolSettings, after: PoolSettings, *, min_length_s: float = 0.0, num_shown: int = NUM_SHOWN
) -> Preview:
    """Judge the stored scores of a stage's shots under both sets of bounds.

    RecipeError for a signal that does not exist, LedgerError for an SFT stage before there is a balanced pool. Only the first call
    after scores, shots or captions changed does more than read: it brings the columns up to date, with a progress bar.
    """
    wide = shots_of_stage(home, stage, load_wide(home))
    found: Found = {}
    old, new = (judge_wide(wide, judged_by(settings, min_length_s).bounds, found) for settings in (before, after))
    is_gained, is_lost = (new.codes == 0) & (old.codes != 0), (old.codes == 0) & (new.codes != 0)
    return Preview(
        stage=stage, before=_facts(old), after=_facts(new),
        gained=int(np.count_nonzero(is_gained)), lost=int(np.count_nonzero(is_lost)),
        gained_by=old.by_reason(is_gained), lost_by=new.by_reason(is_lost),
        gained_shots=_moved(old, is_gained, num_shown), lost_shots=_moved(new, is_lost, num_shown),
    )  # fmt: skip


def _facts(judged: Judged) -> PoolFacts:
    passes = judged.codes == 0
    hours = float(judged.wide.seconds[passes].sum()) / 3600
    return PoolFacts(counts=judged.counts, hours=hours, concepts=judged.wide.concepts(passes))


def _moved(judged: Judged, is_moved: np.ndarray, limit: int) -> list[Moved]:
    rows = spread(np.flatnonzero(is_moved), limit)
    return [Moved(*pair) for pair in zip(judged.wide.shot_ids(rows), judged.reasons(rows), strict=True)]
