"""Active learning: which items people should label next, and the rounds of it (paper 3.2: five).

A round predicts everything that has no label, picks what the model is least sure of, the same number of every class that it sees, lets
people label those, and trains on all labels so far. Uncertain alone would pick one confusing class over and over; balanced alone
would pick what is known.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 5  # paper


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round."""

    asked: tuple[str, ...]
    """Ids that were given to people."""
    num_labels: int
    """Labels after it."""
    per_class: dict[str, int]
    """Labels by class after it."""
    accuracy: float | None
    """On the held-out set, after training; None without one."""


def uncertainty(probabilities: np.ndarray) -> np.ndarray:
    """(N,): 1 minus the margin between the two likeliest classes of (N, C); 1 is a coin toss, 0 certainty."""
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    top = np.sort(probabilities, axis=1)[:, -2:]
    return 1.0 - (top[:, 1] - top[:, 0])


def pick(ids: Sequence[str], probabilities: np.ndarray, number: int) -> list[str]:
    """Up to `number` ids to label: taken in turn from every predicted class, the most uncertain of each first. Ties by id."""
    if len(ids) != len(probabilities):
        raise ValueError(f"{len(ids)} ids for {len(probabilities)} predictions; give one each")
    doubt, classes = uncertainty(probabilities), probabilities.argmax(axis=1)
    queues = {
        kind: sorted((index for index in range(len(ids)) if classes[index] == kind), key=lambda index: (-doubt[index], ids[index]))
        for kind in sorted(set(classes.tolist()))
    }
    chosen: list[str] = []
    while len(chosen) < number and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < number:
                chosen.append(ids[queue.pop(0)])
    return chosen


def learn(
    vectors: Mapping[str, np.ndarray], labels: Mapping[str, str], *, train: Callable[[np.ndarray, list[str]], None],
    predict: Callable[[np.ndarray], np.ndarray], label: Callable[[Sequence[str]], Mapping[str, str]], per_round: int, rounds: int = ROUNDS,
    measure: Callable[[], float] | None = None,
) -> tuple[dict[str, str], list[Round]]:  # fmt: skip
    """All labels after `rounds` rounds, and what each did.

    vectors: id -> features of everything. labels: those to start from; `train` sees them first. label: asks people; it may leave ids
    out, which may then be asked about again. Ends early when nothing is left to ask about.
    """
    known, history = dict(labels), []

    def fit() -> None:
        order = sorted(known)
        train(np.stack([vectors[key] for key in order]), [known[key] for key in order])

    fit()
    for _ in range(rounds):
        left = sorted(set(vectors) - set(known))
        if not left:
            break
        asked = pick(left, predict(np.stack([vectors[key] for key in left])), per_round)
        known |= {key: value for key, value in label(asked).items() if key in vectors}
        fit()
        history.append(Round(
            asked=tuple(asked), num_labels=len(known), per_class=dict(Counter(known.values())), accuracy=measure() if measure else None,
        ))  # fmt: skip
    return known, history
