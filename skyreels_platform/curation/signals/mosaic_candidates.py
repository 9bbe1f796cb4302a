"""Square windows of one picture in which the steps of both axes repeat at one spacing."""

from functools import cache
from typing import NamedTuple

import numpy as np

from skyreels_platform.curation.signals.mosaic_steps import SHORTEST_RUN, Steps, upright_runs

SCALES = ((64, 3.0, 14.0), (128, 9.0, 36.0), (224, 20.0, 49.0))
"""Sides of the windows in pixels, with the smallest and largest blocks that each is searched for."""
LARGEST = SCALES[-1][2]
"""Pixels of the largest blocks."""
SPACING = 0.5
"""Pixels between candidate block sizes: a halved picture halves odd blocks."""
COHERENCE = 0.6, 0.4
"""How exactly steps must repeat: length of the mean phasor at the lattice's frequency, and at twice that."""
DENSITY = 0.15
"""Share of all boundaries in a window that must show a step."""
BAND = 16
"""Rows that are summed up before they are put together to windows; half of every window's side is so many times as long."""
SMALL_PRODUCT = 1 << 18
"""Multiplications up to which a matrix product runs in one thread."""
_MOST_TRIES = 5  # lattices of one scale that are looked at cell by cell in one picture


class Candidate(NamedTuple):
    """A window that may hold a lattice."""

    score: float
    block: float
    x: float  # a lattice line, in pixel edges
    y: float
    window: tuple[int, int, int]  # left, top, side


def candidates_in(steps_of_both: Steps, smallest: float, largest: float) -> list[Candidate]:
    """Windows with blocks of `smallest` to `largest` pixels, those of large windows first, then those whose steps repeat most exactly."""
    height, width = steps_of_both.across.shape
    found: list[Candidate] = []
    of_all: list[np.ndarray] = []
    for side, low, high in reversed(SCALES):  # a small window may show no more than divisors of a large block's size
        if side > min(height, width):
            continue
        blocks, waves = _waves(side, max(low, smallest), min(high, largest))
        if not len(blocks):
            continue
        enough = DENSITY * side * side / blocks
        run = int(low / 4)  # whatever is much shorter than any block of this scale is texture; a codec interrupts long steps
        if run > SHORTEST_RUN:
            bands = [_bands(upright_runs(steps, run)) for steps in steps_of_both]
        else:
            bands = of_all = of_all or [_bands(steps) for steps in steps_of_both]
        steps_x, steps_y = _windows(bands[0], side), _windows(bands[1], side).swapaxes(0, 1)
        count_x, count_y = steps_x.sum(axis=2), steps_y.sum(axis=2)
        rows, columns = np.nonzero(np.minimum(count_x, count_y) >= enough[-1])
        # Most windows are out after their first half of a test.
        for steps in (steps_x, steps_y):
            exact = np.abs(_phasors(steps[rows, columns], waves[0])).max(axis=1, initial=0) >= COHERENCE[0]
            rows, columns = rows[exact], columns[exact]
        if not len(rows):
            continue
        one_x, one_y, two_x, two_y = (_phasors(steps[rows, columns], wave) for wave in waves for steps in (steps_x, steps_y))
        first, second = np.minimum(np.abs(one_x), np.abs(one_y)), np.minimum(np.abs(two_x), np.abs(two_y))
        fits = (first >= COHERENCE[0]) & (second >= COHERENCE[1])
        fits &= np.minimum(count_x, count_y)[rows, columns, None] >= enough
        of_scale: list[Candidate] = []
        for which in np.flatnonzero(fits.any(axis=1)):
            number = _best_block(fits[which], (first + second)[which])
            phase_x, phase_y = (float(np.angle(one[which, number])) / (2 * np.pi) for one in (one_x, one_y))
            block, left, top = float(blocks[number]), int(columns[which]) * side // 2, int(rows[which]) * side // 2
            # A step marks the pixel left of a boundary or the one that holds it: on average 0.75 pixels before the boundary.
            line_x, line_y = left + phase_x * block + 0.75, top + phase_y * block + 0.75
            of_scale.append(Candidate(float(first[which, number]), block, line_x, line_y, (left, top, side)))
        found += sorted(of_scale, key=lambda candidate: -candidate.score)[:_MOST_TRIES]
    return found


def _best_block(fits: np.ndarray, exactness: np.ndarray) -> int:
    """Divisors of a block's size fit too: the most exact one in the last run of sizes that fit."""
    last = int(np.flatnonzero(fits)[-1])
    others = np.flatnonzero(~fits[:last])
    first = int(others[-1]) + 1 if len(others) else 0
    return first + int(exactness[first:last + 1].argmax())


def _bands(steps: np.ndarray) -> np.ndarray:
    """(h, w) of 0 and 1 -> (h // BAND, w) uint8 sums of BAND rows each, by halves: ten times as fast as numpy's sum over an axis."""
    rows = steps.shape[0] // BAND
    bands = steps[:rows * BAND].reshape(rows, BAND, -1)
    while bands.shape[1] > 1:
        half = bands.shape[1] // 2
        bands = bands[:, :half] + bands[:, half:]
    return bands[:, 0]


def _windows(bands: np.ndarray, side: int) -> np.ndarray:
    """Steps per column in square windows at every half side: (rows, columns, side)."""
    half = side // 2
    rows = bands.shape[0] * BAND // half
    halves = bands[:rows * half // BAND].reshape(rows, half // BAND, -1).sum(axis=1, dtype=np.float32)
    return np.lib.stride_tricks.sliding_window_view(halves[1:] + halves[:-1], side, axis=1)[:, ::half]


@cache
def _waves(side: int, low: float, high: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Candidate block sizes, and (side, 2 x blocks) cosines and sines at their frequencies and at twice those."""
    blocks = np.arange(low, high + 1e-6, SPACING)
    turns = 2 * np.pi * np.arange(side)[:, None] / np.maximum(blocks, SPACING)[None, :]
    return blocks, [
        np.concatenate([np.cos(times * turns), np.sin(times * turns)], axis=1).astype(np.float32) for times in (1, 2)
    ]


def _phasors(windows: np.ndarray, wave: np.ndarray) -> np.ndarray:
    """(n, side) counts -> (n, blocks) complex mean phasor."""
    if not len(windows):
        return np.zeros((0, wave.shape[1] // 2), np.complex64)
    shares = windows / np.maximum(windows.sum(axis=1, keepdims=True), 1)
    # In products so small that no library starts threads for them, which would cost more than the work.
    size = max(1, SMALL_PRODUCT // wave.size)
    product = np.concatenate([shares[first : first + size] @ wave for first in range(0, len(shares), size)])
    num_blocks = wave.shape[1] // 2
    return product[:, :num_blocks] + 1j * product[:, num_blocks:]
