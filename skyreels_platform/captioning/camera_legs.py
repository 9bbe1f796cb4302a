"""Where a camera's path changes: stretches of steady motion within one shot.

The path is a sequence of rates, one row per pair of frames. It is cut so that the rates of every stretch lie close to their mean, by
dynamic programming over all ways of cutting; another stretch must pay for itself.
"""

import numpy as np

MIN_LEG = 3
"""Pairs of frames in a stretch at least (our choice): about half a second of a short shot."""
_MOST_LEGS = 4
_PRICE = 6.0       # squared noise deviations per pair that a further stretch must save (our choice)
_MIN_CHANGE = 0.03  # shares of the frame per second between neighbours: less is one motion that is not quite even (our choice)
_MIN_RATIO = 0.5   # and of the faster of the two: things that come near seem to speed up under a steady camera (our choice)


def cut_path(times: np.ndarray, rates: np.ndarray, *, noise: float) -> list[slice]:
    """Stretches of rows of `rates` (M, K), in order, together all rows. `noise`: deviation of a steady camera's rates."""
    count = len(times)
    if count < 2 * MIN_LEG:
        return [slice(0, count)]
    costs = _costs(rates / noise)
    best: list[tuple[float, list[int]]] = [(np.inf, [])] * (count + 1)
    best[0] = (0.0, [])
    options = []
    for num_legs in range(1, _MOST_LEGS + 1):
        best = _extend(best, costs)
        total, ends = best[count]
        if np.isfinite(total):
            options.append((total + _PRICE * MIN_LEG * num_legs, ends))
    ends = min(options)[1]
    return _merged([slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)], rates)


def _costs(scaled: np.ndarray) -> np.ndarray:
    """(M + 1, M + 1): squared deviation from the mean of rows start to stop; infinite where the stretch is too short."""
    count = len(scaled)
    sums = np.concatenate((np.zeros((1, scaled.shape[1])), np.cumsum(scaled, axis=0)))
    squares = np.concatenate(([0.0], np.cumsum((scaled**2).sum(1))))
    costs = np.full((count + 1, count + 1), np.inf)
    for start in range(count):
        for stop in range(start + MIN_LEG, count + 1):
            total = sums[stop] - sums[start]
            costs[start, stop] = squares[stop] - squares[start] - float(total @ total) / (stop - start)
    return costs


def _extend(best: list[tuple[float, list[int]]], costs: np.ndarray) -> list[tuple[float, list[int]]]:
    """One stretch more: for every end the cheapest way of reaching it."""
    longer: list[tuple[float, list[int]]] = [(np.inf, [])] * len(best)
    for stop in range(1, len(best)):
        ways = [(best[start][0] + float(costs[start, stop]), start) for start in range(stop)]
        cost, start = min(ways)
        if np.isfinite(cost):
            longer[stop] = (cost, [*best[start][1], stop])
    return longer


def _merged(spans: list[slice], rates: np.ndarray) -> list[slice]:
    """Neighbours of nearly the same motion are one."""
    merged = spans[:1]
    for span in spans[1:]:
        here, before = np.median(rates[span], axis=0), np.median(rates[merged[-1]], axis=0)
        change = float(np.abs(here - before).max())
        if change < max(_MIN_CHANGE, _MIN_RATIO * float(np.abs((here, before)).max())):
            merged[-1] = slice(merged[-1].start, span.stop)
        else:
            merged.append(span)
    return merged
