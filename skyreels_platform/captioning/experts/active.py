"""Active learning: which items people should label next.

What the model is least sure of, the same number of every class that it sees. Uncertain alone would pick one confusing class over and
over; balanced alone would pick what is known.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


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


def by_hash(ids: Sequence[str], seed: int) -> list[str]:
    """The ids in an order that says nothing about them and is the same everywhere."""
    return sorted(ids, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
