"""Evidence for a flat bar along one side of the frame, gathered still by still."""

import cv2
import numpy as np

DEEPEST = 0.46
"""Share of the frame that one bar may take."""
FLAT = 0.9
"""Share of the outermost pixels that must have the bar's colour; no subtitle lies that far out."""
TOLERANCE = 5.0, 12.0
"""Levels of 255 by which a pixel may differ from the bar, for a clean bar and for a noisy one."""
SPREAD = 0.008
"""Depth over which a bar's edge may spread, share of the frame's short side: soft edges, and codecs."""
MISSING = 0.1
"""Share of stills in which the bar may be absent: a flash, a damaged picture, a trimmed transition."""


class BarEdges:
    """One side. `add` takes stills turned so that this side is the first row."""

    def __init__(self) -> None:
        self.num_stills = 0
        self._num_flat = 0
        self._colours: list[float] = []  # 2 numbers a second
        self._ever: np.ndarray | None = None  # (depth, length) uint8: this pixel has differed from the bar
        self._best: np.ndarray | None = None  # (depth,) largest share of an edge at this depth within one still
        self._busiest: np.ndarray | None = None  # (depth,) largest share of pixels off the bar's colour within one still
        self._spread = 2

    @property
    def possible(self) -> bool:
        return self.num_stills - self._num_flat <= max(0.0, MISSING * self.num_stills)

    @property
    def colour(self) -> float:
        """Luma of the bar, 0 to 255."""
        return float(np.median(self._colours)) if self._colours else 0.0

    def add(self, luma: np.ndarray) -> None:
        """(h, w) uint8, this side first."""
        self.num_stills += 1
        outer = luma[:2]
        colour = float(np.median(outer))
        distance = np.abs(outer - colour)
        flat = distance <= TOLERANCE[1]
        if float(flat.mean()) < FLAT:
            return
        self._num_flat += 1
        if not self.possible:
            return
        noise = float(distance[flat].mean())
        tolerance = min(TOLERANCE[1], TOLERANCE[0] + 3 * noise)
        self._colours.append(colour)
        depth = int(DEEPEST * luma.shape[0])
        off = cv2.absdiff(luma[:depth], round(colour))  # pyright: ignore[reportCallIssue, reportArgumentType]
        differs = cv2.threshold(off, int(tolerance), 1, cv2.THRESH_BINARY)[1]
        if self._ever is None:
            self._spread = max(2, round(SPREAD * min(luma.shape)))
            self._ever = np.zeros_like(differs)
            self._best = np.zeros(depth)
            self._busiest = np.zeros(depth)
        assert self._ever is not None
        assert self._best is not None
        assert self._busiest is not None
        np.bitwise_or(self._ever, differs, out=self._ever)
        np.maximum(self._best, _shares(self._edges(differs)), out=self._best)
        np.maximum(self._busiest, _shares(differs), out=self._busiest)

    def active(self) -> np.ndarray | None:
        """Along the side, whether the picture was ever seen there: (length,) bool."""
        return None if self._ever is None else self._ever.mean(axis=0) > 0.05

    def edge(self, first: int, last: int) -> tuple[int, float, float]:
        """(depth in pixels, share of columns [first, last) whose edge lies there, the largest such share within one still).

        The depth is 0 where there is no edge that five of the side's six parts have a share in, or four for half of the side.
        """
        if self._ever is None or self._best is None or self._busiest is None or not self.possible:
            return 0, 0.0, 0.0
        edges = self._edges(self._ever)[:, first:last]
        support = edges.mean(axis=1)
        parts = np.stack([part.mean(axis=1) for part in np.array_split(edges, 6, axis=1)])
        num_held = (parts > 0.1).sum(axis=0)
        held = (num_held >= 5) | ((num_held >= 4) & (support >= 0.5))
        clean = np.maximum.accumulate(np.concatenate([[0.0], self._busiest[:-1]])) <= 0.75
        # A soft edge is busy before it is over: rows within the spread do not count against it.
        clean = np.concatenate([clean[:1].repeat(self._spread), clean[:-self._spread]])
        candidates = np.where(held & clean, support, 0.0)
        candidates[:2] = 0.0
        depth = int(candidates.argmax())
        if candidates[depth] == 0:
            return 0, 0.0, 0.0
        crossing = self._ever[depth:depth + self._spread, first:last].mean(axis=1)
        inside = depth + int(np.argmax(crossing >= 0.8 * crossing.max()))
        return inside, float(support[depth]), float(self._best[depth] * self._ever.shape[1] / max(1, last - first))

    def _edges(self, differs: np.ndarray) -> np.ndarray:
        """(depth, length) bool: clean for `spread` rows outside, then different within `spread` rows."""
        spread = self._spread
        kernel = np.ones((spread, 1), np.uint8)
        soon = cv2.dilate(differs, kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        edges = soon.copy()
        edges[spread:] = cv2.min(edges[spread:], 1 - soon[:-spread])
        for row in range(1, spread):  # above the frame all is bar
            edges[row] = np.minimum(edges[row], 1 - differs[:row].max(axis=0))
        return edges


def _shares(marks: np.ndarray) -> np.ndarray:
    """(rows, n) of 0 and 1 -> (rows,) float64 share of ones in each row."""
    return cv2.reduce(marks, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] / marks.shape[1]
