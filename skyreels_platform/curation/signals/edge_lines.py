"""Straight edges that stay where they are while the picture moves: the seams of composed pictures."""

from typing import NamedTuple

import cv2
import numpy as np

FAINTEST = 6.0
"""Levels of 255: mean step across a seam, at least."""
STANDS_OUT = 2.0
"""Times as large a mean step as around it."""
STAYS = 0.5
"""Share of the pictures that show the step, at least: a subject that passes leaves its outline in the mean, but not for long."""
AROUND = 25
"""Pixels across which a seam is compared with its surroundings."""
STRIP = 8
"""Pixels beside a seam whose content is looked at."""


COARSE = 10
"""Pixels along a seam that are averaged where both of its sides are compared."""
MOVES = 0.3
"""Pixels from one picture to the next by which what lies beside a seam must move otherwise than the other side: a line of the scene goes
with the scene, unless it slides along itself."""
BAR = 12
"""Levels of 255 between the darkest and the lightest pixel of a row that belongs to a bar."""
APART = 5
"""Points of the flow's grid (every fourth pixel) from a seam at which both sides' motion is read: nearer, flow smears. Beyond the frame's
border the outermost point stands for what would be there."""
NEAR = 3
"""Pixels from a line within which one of the flow's points must show it."""
IN_CELL = 0.15
"""Share of the pixels around a point of that grid that must show a step for the seam to be seen there at that time."""


class Seams(NamedTuple):
    """What a shot's pictures have in common; (h, w) each."""

    upright: np.ndarray
    """uint8, 1 on vertical seams."""
    lying: np.ndarray
    """uint8, 1 on horizontal seams."""
    upright_moves: np.ndarray
    """Share of the time, 0 to 1, at which a step is seen although both sides of an upright line move differently."""
    lying_moves: np.ndarray
    """The same for horizontal lines."""
    upright_gone: np.ndarray
    """Share of the time at which both sides move together across the line, or differently with no step in sight: a subject that passes
    before an edge covers it, and what lies under a blur or a mosaic moves with its surroundings."""
    lying_gone: np.ndarray
    pictures: list[np.ndarray]
    """uint8: up to three of the pictures, from the beginning, the middle and the end."""

    def turned(self) -> "Seams":
        """The same with rows and columns swapped."""
        return Seams(
            self.lying.T, self.upright.T, self.lying_moves.T, self.upright_moves.T, self.lying_gone.T, self.upright_gone.T,
            [picture.T for picture in self.pictures],
        )

    def rows(self) -> slice:
        """The rows without level bars above and below the picture."""
        height = self.upright.shape[0]
        busy = np.flatnonzero(np.any([np.ptp(picture, axis=1) >= BAR for picture in self.pictures], axis=0))
        return slice(int(busy[0]), int(busy[-1]) + 1) if len(busy) >= height // 4 else slice(0, height)

    def contents(self, rows: slice, columns: slice, *, fine: bool = False) -> list[float]:
        """Levels by which the middle half of the coarse blocks of an area differ in each of the pictures: 0 in a flat area, also with a
        short line of text on it. `fine`: or a quarter of what the middle half of its pixels do, for even stripes show in pixels alone."""
        shown = [picture[rows, columns] for picture in self.pictures]
        if not shown or not shown[0].size:
            return [0.0]
        height, width = shown[0].shape
        size = max(2, width // COARSE), max(2, height // COARSE)
        found: list[float] = []
        for part in shown:
            coarse = _middle_half(cv2.resize(part, size, interpolation=cv2.INTER_AREA))
            found.append(max(coarse, _middle_half(part[::2, ::2]) / 4 if fine else 0.0))
        return found

    def completeness(self, first: int, last: int, at: int) -> float:
        """Share of rows [first, last) that show a seam within a pixel of the best column near `at`."""
        near = np.ascontiguousarray(self.upright[first:last, max(0, at - 3):at + 4])
        return float(cv2.dilate(near, np.ones((1, 3), np.uint8)).mean(axis=0).max())

    def motion(self, first: int, last: int, at: int) -> tuple[float, float]:
        """Mean `upright_moves` and `upright_gone` along rows [first, last) of the line at column `at`, where the first is largest within
        a point of the flow's grid: a line that lies between two points shows at one of them."""
        near = slice(max(0, at - NEAR), at + NEAR + 1)
        moves, gone = (part[first:last, near].mean(axis=0) for part in (self.upright_moves, self.upright_gone))
        best = int(moves.argmax())
        return float(moves[best]), float(gone[best])

    def kinship(self, first: int, last: int, at: int) -> float:
        """Concordance (Lin 1989), -1 to 1, of what lies left and right of column `at` in rows [first, last): one picture goes on across
        any line through it, at the same lumas, two pictures do not. Fine detail is left out, for a mosaic or a blur has none of it."""
        sides = [slice(at - 3 - STRIP // 2, at - 3), slice(at + 4, at + 4 + STRIP // 2)]
        answers: list[float] = []
        for picture in self.pictures:
            left, right = (_coarse(picture[first:last, side].mean(axis=1)) for side in sides)
            apart = float(left.mean() - right.mean())
            both = float(np.mean((left - left.mean()) * (right - right.mean())))
            answers.append(2 * both / max(float(left.var() + right.var()) + apart * apart, 1e-6))
        return float(np.mean(answers))


class EdgeLines:
    """Running means over one shot's pictures; `add` takes one plane of each."""

    def __init__(self) -> None:
        self.num_pictures = 0
        self._kept: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._steps: list[np.ndarray] = []  # sums of what changes across and down, (h, w) each
        self._shown: list[np.ndarray] = []  # in how many pictures it is a step
        self._moves: list[np.ndarray] = []  # how often motion speaks for upright and level seams, (h / 4, w / 4) each
        self._gone: list[np.ndarray] = []  # and against them
        self._num_motions = 0

    def add(self, plane: np.ndarray, flow: np.ndarray | None) -> None:
        """(h, w) uint8, all of one size; and (h / 4, w / 4, 2) motion since the picture before."""
        if not self._steps:
            self._steps, self._shown = ([np.zeros(plane.shape, np.float32) for _ in range(2)] for _ in range(2))
        self.num_pictures += 1
        steps: list[np.ndarray] = []
        for number, (one, other, middle) in enumerate((
            (plane[:, 2:], plane[:, :-2], np.s_[:, 1:-1]), (plane[2:], plane[:-2], np.s_[1:-1]),
        )):  # fmt: skip
            step = cv2.absdiff(one, other)
            cv2.accumulate(step, self._steps[number][middle])
            steps.append(cv2.threshold(step, FAINTEST - 1, 255, cv2.THRESH_BINARY)[1])
            cv2.accumulate(steps[-1], self._shown[number][middle])
        if flow is not None:
            if not self._moves:
                self._moves, self._gone = ([np.zeros(flow.shape[:2], np.float32) for _ in range(2)] for _ in range(2))
            self._num_motions += 1
            for number, step in enumerate(steps):
                rim = (0, 0, 1, 1) if number == 0 else (1, 1, 0, 0)
                seen = _cells(cv2.copyMakeBorder(step, *rim, cv2.BORDER_CONSTANT, value=0), flow.shape) >= 255 * IN_CELL
                apart, together = _beside(flow) if number == 0 else (one.T for one in _beside(cv2.transpose(flow)[..., ::-1]))
                self._moves[number] += apart & seen
                self._gone[number] += together | (apart & ~seen)
        self._last = plane
        if self.num_pictures & (self.num_pictures - 1) == 0:  # powers of two: the last two lie in the first and the second half
            self._kept = [*self._kept[-1:], plane]

    def seams(self) -> Seams | None:
        """None for fewer than two pictures: nothing shows whether an edge stays."""
        if self.num_pictures < 2 or self._last is None or not self._moves:
            return None
        across, down = (
            _stands_out(step / self.num_pictures, window) & (shown >= 255 * STAYS * self.num_pictures)
            for step, shown, window in zip(self._steps, self._shown, ((AROUND, 1), (1, AROUND)), strict=True)
        )
        size = self._last.shape[::-1]
        moves, gone = (
            [cv2.resize(one / self._num_motions, size, interpolation=cv2.INTER_NEAREST) for one in sums]
            for sums in (self._moves, self._gone)
        )
        return Seams(across, down, moves[0], moves[1], gone[0], gone[1], [*self._kept, self._last])


def _cells(mask: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Means of an (h, w) uint8 mask around the points of a flow's grid: of whole pixels, for other ratios cost ten times as much."""
    height, width = grid[:2]
    step = mask.shape[0] // height
    return cv2.resize(mask[:height * step, :width * step], (width, height), interpolation=cv2.INTER_AREA)


def _beside(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 2) -> (h, w) bool: whether both sides of an upright line at each place move differently, or together across it.

    Near the frame's border one side is too narrow for flow of its own: there motion across the line speaks against it whatever.
    """
    across, along = (cv2.copyMakeBorder(part, 0, 0, APART, APART, cv2.BORDER_REPLICATE) for part in (flow[..., 0], flow[..., 1]))
    left, right = across[:, :-2 * APART], across[:, 2 * APART:]
    apart = (left - right) ** 2 + (along[:, :-2 * APART] - along[:, 2 * APART:]) ** 2 > MOVES**2
    together = (np.minimum(np.abs(left), np.abs(right)) > MOVES) & ~apart
    for border in (np.s_[:, :APART], np.s_[:, -APART:]):
        apart[border] |= together[border]
        together[border] = False
    return apart, together


def _middle_half(plane: np.ndarray) -> float:
    """Levels between the quartiles of (h, w) uint8; `np.quantile` gives the same and takes five times as long for so few."""
    ordered = np.sort(plane, axis=None).astype(np.float64)
    places = np.arange(len(ordered))
    low, high = np.interp((0.25 * places[-1], 0.75 * places[-1]), places, ordered)
    return float(high - low)


def _coarse(profile: np.ndarray) -> np.ndarray:
    """Means of about COARSE pixels each."""
    count = max(4, len(profile) // COARSE)
    return np.array([part.mean() for part in np.array_split(profile, count)])


def _stands_out(step: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    around = cv2.blur(step, window, borderType=cv2.BORDER_REFLECT)
    return ((step >= FAINTEST) & (step >= STANDS_OUT * around)).astype(np.uint8)
