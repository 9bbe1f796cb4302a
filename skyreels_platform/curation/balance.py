"""Concept balance: keep as many items as possible such that each concept has its target share, the best items first.

The problem. n_c items of concept c; target shares s_c, which add up to 1 once the concepts that no target names form one group,
OTHERS, with what is left of 1 (within that group items are taken by quality alone, as they come). k_c items of c are kept, N in
all. Then

    1. N is the largest number for which whole k_c <= n_c exist with sum k_c = N and |k_c - s_c N| < 1 for all c (every concept
       has its share to within one item), but at least M = ceil(min_keep * number of items), even if that misses the shares;
    2. at this N, the k_c minimise Pearson's distance sum (k_c - s_c N)^2 / s_c, among those of 1, or where M forbids 1 among all
       k_c <= n_c: concepts that run short are then kept whole and the others share the rest in proportion;
    3. among equals the sum of quality is largest, and ties go to the concept, then the key, that sorts first.

A concept with a target but without items is left out and its share spread over the others in proportion; otherwise N would be
0. A concept with a share of 0 is kept only where min_keep leaves no other item. `BalanceResult.short` reports every concept
that misses its target.

All three are exact, not approximate. 1: N is searched from an upper bound down (below); 2 and 3: the distance is separable and
convex, so adding one item at a time where it costs least, (2 k_c + 1) / s_c, is optimal (Sainte-Lague's method, with bounds).
Shares are taken as the decimal numbers they are written as, so 0.1 * 30 is 3. O(items log items).
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

OTHERS = "(others)"
"""The group of all concepts without a target of their own."""

FIGURE_5 = {"Human": 0.553, "Scenery": 0.140, "Animal": 0.085, "Architecture": 0.046}
"""Target shares after balance, paper 3.1, figure 5; the rest goes to concepts that the figure does not resolve."""


@dataclass(frozen=True, kw_only=True)
class BalanceItem:
    """One item that may be kept."""

    key: str
    """Unique."""
    concept: str
    quality: float
    """Higher is better; finite."""


@dataclass(frozen=True, kw_only=True)
class BalanceResult:
    """Which items stay, and how the shares moved."""

    kept: tuple[str, ...]
    """Keys, sorted."""
    dropped: dict[str, str]
    """Key -> reason, such as `Human: best 553 of 848 kept, this is number 600`."""
    before: dict[str, float]
    """Concept -> share of all items; also concepts without a target."""
    after: dict[str, float]
    """Concept -> share of the kept items."""
    target: dict[str, float]
    """Concept -> share asked for; OTHERS with what is left of 1."""
    short: dict[str, int]
    """Concept or OTHERS -> how many items are missing for its target at this number of kept items, though all that there are were
    kept. Empty: all targets are met to within one item."""


def balance(items: Sequence[BalanceItem], shares: Mapping[str, float], *, min_keep: float) -> BalanceResult:
    """Choose the items to keep; see the module for what is optimal.

    shares: concept -> target share, adding up to at most 1. min_keep: share of the items that stays even if a target is missed.
    ValueError for repeated keys, quality that is not finite, shares or min_keep outside 0 to 1, shares above 1 in sum.
    """
    if not 0 <= min_keep <= 1:
        raise ValueError(f"min_keep is {min_keep}; it must lie between 0 and 1")
    asked = _asked(shares)
    ranked = _ranked(items, asked)
    sizes = {concept: len(ranked[concept]) for concept in asked}
    exact = _without_absent(asked, sizes)
    total = _largest(exact, sizes)
    least = math.ceil(_fraction(min_keep) * len(items))
    if total >= least:
        lower = {concept: math.floor(share * total) for concept, share in exact.items()}
        upper = {concept: min(sizes[concept], math.ceil(share * total)) for concept, share in exact.items()}
    else:
        total, lower, upper = least, dict.fromkeys(sizes, 0), sizes
    counts = _allocate(exact, lower, upper, total, ranked)
    kept = {item.key for concept, count in counts.items() for item in ranked[concept][:count]}
    return BalanceResult(
        kept=tuple(sorted(kept)),
        dropped=_reasons(ranked, counts),
        before=_shares_of(items, shares),
        after=_shares_of([item for item in items if item.key in kept], shares),
        target={concept: float(share) for concept, share in asked.items()},
        short=_short(asked, sizes, counts, total),
    )


def _fraction(share: float) -> Fraction:
    """The decimal number as written; a binary 0.1 would not be a tenth."""
    return Fraction(repr(float(share)))


def _asked(shares: Mapping[str, float]) -> dict[str, Fraction]:
    """Target per concept, OTHERS included if anything is left of 1; adds up to exactly 1."""
    asked = {concept: _fraction(share) for concept, share in shares.items()}
    if any(not 0 <= share <= 1 for share in asked.values()):
        raise ValueError(f"shares are {dict(shares)}; each must lie between 0 and 1")
    left = 1 - sum(asked.values())
    if left < -1e-9:
        raise ValueError(f"the shares add up to {float(1 - left):.6g}; they must not exceed 1")
    if left > 1e-9:
        asked[OTHERS] = asked.get(OTHERS, Fraction(0)) + left
        return asked
    scaled = {concept: share / (1 - left) for concept, share in asked.items()}  # 1 / 3 three times is not quite 1
    return {OTHERS: Fraction(0)} | scaled


def _ranked(items: Sequence[BalanceItem], asked: Mapping[str, Fraction]) -> dict[str, list[BalanceItem]]:
    """Concept -> its items, best first."""
    if len({item.key for item in items}) != len(items):
        repeated = next(key for key, count in Counter(item.key for item in items).items() if count > 1)
        raise ValueError(f"key {repeated!r} is given more than once")
    if not all(math.isfinite(item.quality) for item in items):
        bad = next(item for item in items if not math.isfinite(item.quality))
        raise ValueError(f"quality of {bad.key!r} is {bad.quality}; it must be a finite number")
    groups: dict[str, list[BalanceItem]] = {concept: [] for concept in asked}
    for item in items:
        groups[item.concept if item.concept in asked else OTHERS].append(item)
    return {concept: sorted(group, key=lambda item: (-item.quality, item.key)) for concept, group in groups.items()}


def _without_absent(asked: Mapping[str, Fraction], sizes: Mapping[str, int]) -> dict[str, Fraction]:
    """Targets of the concepts that have items, scaled to add up to 1 (all 0 if only concepts with a share of 0 have items)."""
    present = sum((share for concept, share in asked.items() if sizes[concept]), Fraction(0))
    return {concept: share / present if sizes[concept] and present else Fraction(0) for concept, share in asked.items()}


def _largest(shares: Mapping[str, Fraction], sizes: Mapping[str, int]) -> int:
    """The largest N that every concept can fill to within one item.

    Needs floor(s_c N) <= n_c for all c, which bounds N by (n_c + 1) / s_c, and sum min(n_c, ceil(s_c N)) >= N; the sum of the
    floors is never above N. Both hold once s_c N <= n_c for all c, so the search below the bound ends after at most 1 / min s_c
    steps or so.
    """
    bounds = [(sizes[concept] + 1) / share for concept, share in shares.items() if share > 0]
    if not bounds:
        return 0
    total = math.ceil(min(bounds)) - 1  # the largest N with floor(s_c N) <= n_c
    while sum(min(sizes[concept], math.ceil(share * total)) for concept, share in shares.items()) < total:
        total -= 1
    return total


def _allocate(
    shares: Mapping[str, Fraction], lower: Mapping[str, int], upper: Mapping[str, int], total: int,
    ranked: Mapping[str, Sequence[BalanceItem]],
) -> dict[str, int]:
    """Items per concept, lower <= count <= upper, adding up to `total`, at the least distance from the shares."""
    counts = dict(lower)
    inverse = {concept: 1 / share if share else Fraction(0) for concept, share in shares.items()}
    common = math.lcm(*(share.denominator for share in inverse.values()))
    weights = {concept: int(share * common) for concept, share in inverse.items()}  # 1 / s_c, scaled to whole numbers: exact

    def cost(concept: str) -> tuple[bool, int, float, str]:
        count = counts[concept]
        without_share = weights[concept] == 0  # comes after all others, by quality
        return without_share, (2 * count + 1) * weights[concept], -ranked[concept][count].quality, concept

    heap = [cost(concept) for concept in counts if counts[concept] < upper[concept]]
    heapq.heapify(heap)
    for _ in range(total - sum(counts.values())):
        concept = heapq.heappop(heap)[-1]
        counts[concept] += 1
        if counts[concept] < upper[concept]:
            heapq.heappush(heap, cost(concept))
    return counts


def _reasons(ranked: Mapping[str, Sequence[BalanceItem]], counts: Mapping[str, int]) -> dict[str, str]:
    return {
        item.key: f"{concept}: best {counts[concept]} of {len(group)} kept, this is number {rank}"
        for concept, group in ranked.items()
        for rank, item in enumerate(group[counts[concept]:], start=counts[concept] + 1)
    }


def _shares_of(items: Iterable[BalanceItem], concepts: Iterable[str]) -> dict[str, float]:
    """Share of each concept among the items, in order of name; 0 for those of `concepts` without any."""
    counts: defaultdict[str, int] = defaultdict(int, dict.fromkeys(concepts, 0))
    for item in items:
        counts[item.concept] += 1
    total = sum(counts.values())
    return {concept: counts[concept] / total if total else 0.0 for concept in sorted(counts)}


def _short(asked: Mapping[str, Fraction], sizes: Mapping[str, int], counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Concepts below the target that was asked for (not the one without absent concepts), and by how many items."""
    used_up = [concept for concept in asked if counts[concept] == sizes[concept]]
    return {
        concept: math.ceil(asked[concept] * total) - counts[concept] for concept in used_up
        if counts[concept] < math.floor(asked[concept] * total) or (not sizes[concept] and asked[concept] * total > 0)
    }
