"""Concept balance against brute force, the published shares, and the cases where targets cannot be met."""

import itertools
import math
import random
from collections import Counter
from fractions import Fraction

import pytest

from skyreels_platform.curation.balance import FIGURE_5, OTHERS, BalanceItem, balance


def _pool(counts: dict[str, int], seed: int = 0) -> list[BalanceItem]:
    dice = random.Random(seed)
    items = [
        BalanceItem(key=f"{concept}_{number:05d}", concept=concept, quality=dice.random())
        for concept, count in counts.items() for number in range(count)
    ]
    dice.shuffle(items)
    return items


def _exact_targets(items: list[BalanceItem], shares: dict[str, str]) -> dict[str, Fraction]:
    """The definition, written down a second time: targets by group, groups without items left out."""
    present = {item.concept if item.concept in shares else OTHERS for item in items}
    targets = {concept: Fraction(share) for concept, share in shares.items()}
    targets[OTHERS] = 1 - sum(targets.values(), Fraction(0))
    total = sum(share for concept, share in targets.items() if concept in present)
    return {concept: share / total if concept in present and total else Fraction(0) for concept, share in targets.items()}


def _brute_force(items: list[BalanceItem], shares: dict[str, str], min_keep: str) -> tuple[int, Fraction | float, float]:
    """(number kept, distance, quality) of the best subset by trying all 2^n, by the definition in the module's docstring."""
    targets = _exact_targets(items, shares)
    least = math.ceil(Fraction(min_keep) * len(items))
    exact, any_count = [], []
    for size in range(len(items) + 1):
        for subset in itertools.combinations(items, size):
            counts = Counter(item.concept if item.concept in shares else OTHERS for item in subset)
            off = {concept: counts[concept] - share * size for concept, share in targets.items()}
            without_share = sum(counts[concept] for concept, share in targets.items() if share == 0)
            distance = sum((off[concept] ** 2 / share for concept, share in targets.items() if share), Fraction(0))
            found = (size, (-without_share, -distance), sum(item.quality for item in subset))
            if all(abs(error) < 1 for error in off.values()) and not without_share:
                exact.append(found)
            if size == least:
                any_count.append(found)
    best = max(exact)
    size, (_, distance), quality = best if best[0] >= least else max(any_count)
    return size, -distance, quality


CASES = [
    ({"a": 6, "b": 3, "c": 1}, {"a": "0.5", "b": "0.5"}, "0"),
    ({"a": 8, "b": 3}, {"a": "0.5", "b": "0.5"}, "0"),
    ({"a": 8, "b": 3}, {"a": "0.5", "b": "0.5"}, "0.8"),
    ({"a": 7, "b": 2, "c": 2}, {"a": "0.4", "b": "0.3"}, "0.3"),
    ({"a": 7, "b": 2, "c": 2}, {"a": "0.4", "b": "0.3"}, "0.9"),
    ({"a": 9, "b": 1, "c": 1}, {"a": "0.6", "b": "0.3", "c": "0.1"}, "0"),
    ({"a": 9, "b": 2}, {"a": "0.553", "b": "0.14", "absent": "0.085"}, "0"),
    ({"a": 5, "b": 5}, {"a": "0", "b": "1"}, "0.7"),
    ({"a": 5, "b": 4}, {"b": "0.9"}, "0"),
    ({"a": 4, "b": 4, "c": 3}, {"a": "0.333", "b": "0.333", "c": "0.333"}, "0"),
    ({"a": 10}, {"a": "0.3"}, "0"),
    ({"a": 6, "b": 2, "c": 2, "d": 1}, {"a": "0.34", "b": "0.33", "c": "0.25"}, "0.6"),
]


@pytest.mark.parametrize(("counts", "shares", "min_keep"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_optimal_by_brute_force(counts, shares, min_keep, seed):
    items = _pool(counts, seed)
    result = balance(items, {concept: float(share) for concept, share in shares.items()}, min_keep=float(min_keep))
    kept = [item for item in items if item.key in result.kept]
    targets = _exact_targets(items, shares)
    groups = Counter(item.concept if item.concept in shares else OTHERS for item in kept)
    distance = sum(
        ((groups[concept] - share * len(kept)) ** 2 / share for concept, share in targets.items() if share), Fraction(0)
    )
    size, best_distance, best_quality = _brute_force(items, shares, min_keep)
    assert (len(kept), distance) == (size, best_distance)
    assert sum(item.quality for item in kept) == pytest.approx(best_quality)


def test_the_published_shares_are_reached():
    """Figure 5: human 84.8, scenery 8.8, animal 4.1 % before; what is left here goes to architecture and plants."""
    items = _pool({"Human": 8480, "Scenery": 880, "Animal": 410, "Architecture": 90, "Plant": 140})
    result = balance(items, FIGURE_5, min_keep=0.05)
    assert result.before["Human"] == pytest.approx(0.848)
    assert {concept: result.after[concept] for concept in FIGURE_5} == pytest.approx(FIGURE_5, abs=1 / len(result.kept))
    assert result.after["Plant"] == pytest.approx(1 - sum(FIGURE_5.values()), abs=1 / len(result.kept))
    assert result.short == {}
    assert len(result.kept) == 801  # plants run out: 0.176 N < 141


def test_half_of_the_published_pool_cannot_reach_the_published_shares():
    items = _pool({"Human": 8480, "Scenery": 880, "Animal": 410, "Architecture": 90, "Plant": 140})
    result = balance(items, FIGURE_5, min_keep=0.5)
    assert len(result.kept) == 5000
    assert result.short == {"Architecture": 140, "Animal": 15, OTHERS: 740}
    counts = Counter(key.split("_")[0] for key in result.kept)
    # Kept whole, scenery too: beside 3480 humans it would have 881. It is above its share of 5000, so it does not run short.
    assert counts == {"Architecture": 90, "Animal": 410, "Plant": 140, "Scenery": 880, "Human": 3480}


def test_the_best_are_kept_and_the_others_say_why():
    items = _pool({"Human": 90, "Animal": 10})
    result = balance(items, {"Human": 0.5, "Animal": 0.5}, min_keep=0)
    humans = sorted((item for item in items if item.concept == "Human"), key=lambda item: -item.quality)
    assert {key for key in result.kept if key.startswith("Human")} == {item.key for item in humans[:10]} | {
        item.key for item in humans[10:len(result.kept) - 10]
    }
    assert set(result.kept) | set(result.dropped) == {item.key for item in items}
    assert not set(result.kept) & set(result.dropped)
    best_dropped = humans[len(result.kept) - 10]
    number = len(result.kept) - 10
    assert result.dropped[best_dropped.key] == f"Human: best {number} of 90 kept, this is number {number + 1}"


def test_a_concept_without_items_is_reported_and_its_share_spread():
    result = balance(_pool({"Human": 60, "Animal": 20}), {"Human": 0.5, "Animal": 0.25, "Robot": 0.25}, min_keep=0)
    assert result.after == pytest.approx({"Human": 2 / 3, "Animal": 1 / 3, "Robot": 0}, abs=1 / len(result.kept))
    assert len(result.kept) == 62  # 20 animals are within one of a third of 62, not of 63
    assert result.short == {"Robot": math.ceil(len(result.kept) / 4)}
    assert result.target == {"Human": 0.5, "Animal": 0.25, "Robot": 0.25, OTHERS: 0}


def test_order_and_ties_do_not_matter():
    items = [BalanceItem(key=f"k{number:02d}", concept="ab"[number % 2], quality=0.5) for number in range(20)]
    result = balance(items, {"a": 0.2, "b": 0.8}, min_keep=0)  # 10 of b, within one of 0.8 * 13
    assert balance(items[::-1], {"b": 0.8, "a": 0.2}, min_keep=0) == result
    assert [key for key in result.kept if int(key[1:]) % 2 == 0] == ["k00", "k02", "k04"]  # the first keys


def test_everything_is_kept_when_the_shares_are_right():
    items = _pool({"a": 30, "b": 10})
    assert len(balance(items, {"a": 0.75}, min_keep=0).kept) == 40
    assert len(balance(items, {}, min_keep=0).kept) == 40  # no target: all as they come
    assert len(balance(items, {"a": 0.1}, min_keep=1).kept) == 40


def test_nothing_to_balance():
    result = balance([], {"a": 0.5}, min_keep=0.5)
    assert (result.kept, result.dropped, result.before, result.after) == ((), {}, {"a": 0.0}, {"a": 0.0})
    assert balance(_pool({"a": 5}), {"b": 1}, min_keep=0).kept == ()


def test_decimal_shares_are_taken_as_written():
    result = balance(_pool({"a": 3, "b": 7, "c": 20}), {"a": 0.1, "b": 0.2}, min_keep=0)
    assert Counter(key[0] for key in result.kept) == {"a": 3, "b": 6, "c": 20}  # of 29: within one of 2.9, 5.8, 20.3


@pytest.mark.parametrize(
    ("shares", "min_keep", "message"),
    [
        ({"a": 0.7, "b": 0.4}, 0, "add up to 1.1"),
        ({"a": -0.1}, 0, "each must lie between 0 and 1"),
        ({"a": 0.1}, 1.5, "min_keep is 1.5"),
    ],
)
def test_impossible_requests_are_refused(shares, min_keep, message):
    with pytest.raises(ValueError, match=message):
        balance(_pool({"a": 2}), shares, min_keep=min_keep)


def test_impossible_items_are_refused():
    item = BalanceItem(key="k", concept="a", quality=1)
    with pytest.raises(ValueError, match="'k' is given more than once"):
        balance([item, item], {}, min_keep=0)
    with pytest.raises(ValueError, match="quality of 'k' is nan"):
        balance([BalanceItem(key="k", concept="a", quality=math.nan)], {}, min_keep=0)


def test_a_hundred_thousand_items_take_seconds():
    items = _pool({"Human": 84_800, "Scenery": 8_800, "Animal": 4_100, "Architecture": 900, "Plant": 1_400})
    assert len(balance(items, FIGURE_5, min_keep=0.5).kept) == 50_000
