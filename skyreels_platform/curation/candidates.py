"""Which earlier shots a shot is aligned with: those whose descriptors come close to its own.

1. Every second descriptor asks the index, and those of its own batch, for their nearest ones. Few of the answers come from copies.
2. Where the answers give a hint, all descriptors of both shots are compared, which costs next to nothing. An alignment costs a
   thousand times as much, and the more shots there are, the more of them answer by chance: as many as possible must be kept from it.
"""

from dataclasses import dataclass

import numpy as np

from skyreels_platform.curation.fingerprint_store import Descriptors, FingerprintStore, Neighbours


@dataclass(frozen=True, kw_only=True)
class DedupSettings:
    """What counts as a copy (all our choice)."""

    similarity: float = 0.8
    """Of the aligned part, from which a shot is a copy."""
    near: float = 0.6
    """Cosine of two descriptors from which one is an answer to the other."""
    neighbours: int = 24
    """Nearest descriptors that each descriptor asks for."""
    hint: float = 0.08
    """By which the best answers to what a shot asked must exceed `near` on average, for all descriptors of both shots to be compared: an
    index of many cells does not give every answer that there is."""
    support: float = 0.12
    """By which the best of all descriptors of another shot must exceed `near`, on average over this shot's, for the two to be aligned.
    Copies reach 0.2, but for those under a large overlay."""
    crowd: float = 0.01
    """Added to `support` each time that the earlier descriptors double from CROWD_FROM on: of soft textures, twice as many answer by
    chance then, and half as many with 0.02 more."""
    striking: float = 0.9
    """Cosine of two descriptors from which their shots are aligned whatever the others say: one may hold a short part of the other."""
    candidates: int = 16
    """Shots that each shot is aligned with at most: those that answered best first."""
    most_candidates: int = 32
    """The same for shots of which there are many copies: further ones need a descriptor that is `certain`."""
    certain: float = 0.93
    """Cosine of two descriptors that unlike shots rarely reach."""
    overlap: float = 0.5
    """Share of the shorter shot that both show, from which two copies form a group."""


DEFAULTS = DedupSettings()
CROWD_FROM = 50_000
"""Earlier descriptors up to which `support` is enough (our choice)."""


def candidates(store: FingerprintStore, batch: str, known: Descriptors, settings: DedupSettings) -> dict[str, list[str]]:
    """Shot of the batch -> the shots that it is aligned with, those whose descriptors are nearest to its own first."""
    owners = np.array(known.owners, dtype=str)
    found = _joined(
        store.search(known.vectors[known.is_asked], batch=batch, count=settings.neighbours, near=settings.near),
        _neighbours_within(owners, known, settings),
    )
    hinted = _hinted(owners[known.is_asked], found, settings)
    shots, firsts = np.unique(owners, return_index=True)  # a shot's descriptors lie together
    own = dict(zip(shots.tolist(), np.split(known.vectors, firsts[1:]), strict=True)) if len(shots) else {}
    earlier = store.vectors({other for others in hinted.values() for other in others} - own.keys())
    support = settings.support + settings.crowd * float(np.log2(max(1.0, store.num_before(batch) / CROWD_FROM)))
    wanted = {
        shot: _best(own[shot], {other: earlier.get(other, own.get(other)) for other in others}, support, settings)
        for shot, others in hinted.items()
    }
    return {shot: others for shot, others in wanted.items() if others}


def _hinted(owners: np.ndarray, found: Neighbours, settings: DedupSettings) -> dict[str, list[str]]:
    """Shot -> the shots whose answers give a hint. owners: (n,) shot of each descriptor that asked."""
    close = found.cosines >= settings.near
    names, other = np.unique(found.shot_ids[close], return_inverse=True)
    shots, shot, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    # the best answer of each other shot to each descriptor, then over the descriptors of a shot
    answers, place = np.unique(found.rows[close].astype(np.int64) * len(names) + other, return_inverse=True)
    best = np.zeros(len(answers))
    np.maximum.at(best, place, found.cosines[close])
    pairs, place = np.unique(shot[answers // max(1, len(names))] * len(names) + answers % max(1, len(names)), return_inverse=True)
    total, top = np.bincount(place, best - settings.near, len(pairs)), np.zeros(len(pairs))
    np.maximum.at(top, place, best)
    asker, answerer = pairs // max(1, len(names)), pairs % max(1, len(names))
    hinted: dict[str, list[str]] = {}
    for pair in np.nonzero((total / sizes[asker] >= settings.hint) | (top >= settings.striking))[0]:
        hinted.setdefault(str(shots[asker[pair]]), []).append(str(names[answerer[pair]]))
    return hinted


def _best(own: np.ndarray, others: dict[str, np.ndarray | None], least: float, settings: DedupSettings) -> list[str]:
    """The other shots that all descriptors speak for, the nearest ones first, as many as one shot is aligned with. least: support."""
    strong: list[tuple[float, str, float]] = []
    for other, vectors in others.items():
        if vectors is None or not len(vectors):
            continue
        nearest = (own @ vectors.T).max(axis=1)
        support, top = float(np.maximum(nearest - settings.near, 0).mean()), float(nearest.max())
        if support >= least or top >= settings.striking:
            strong.append((-support, other, top))
    strong.sort()
    further = [other for _, other, top in strong[settings.candidates :] if top >= settings.certain]
    return [other for _, other, _ in strong[: settings.candidates]] + further[: settings.most_candidates - settings.candidates]


def _neighbours_within(owners: np.ndarray, known: Descriptors, settings: DedupSettings) -> Neighbours:
    """Close descriptors of other shots of the same batch; the shot of the larger id asks, so that each pair comes once."""
    parts: list[Neighbours] = [Neighbours.none()]
    askers = np.nonzero(known.is_asked)[0]
    for first in range(0, len(askers), 1024):
        asking = askers[first : first + 1024]
        cosines = known.vectors[asking] @ known.vectors.T
        rows, columns = np.nonzero(cosines >= settings.near)
        is_later = owners[columns] < owners[asking[rows]]
        rows, columns = rows[is_later], columns[is_later]
        parts.append(Neighbours(rows + first, owners[columns], cosines[rows, columns]))
    return _joined(*parts)


def _joined(*parts: Neighbours) -> Neighbours:
    return Neighbours(*map(np.concatenate, zip(*parts, strict=True)))
