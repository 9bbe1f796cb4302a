"""Pans and zooms over a still picture."""

from functools import cache

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.flow import TEXTURED, texture

BLOCKS = (16, 9)
"""Blocks across and down in which what the camera does not explain is looked for."""
MOVES = 0.12
"""Pixels of a picture (256 on its short side) from one to the next, mean over the frame, from which the camera moves."""
OFF, OFF_PER_PIXEL = 0.35, 0.02
"""Pixels by which flow in 9 of 10 blocks may differ from the camera's motion, and as much more per pixel of that motion: what flow errs
by on a still picture is 0.25 at most, in footage the least found was 0.46 (both measured)."""
LEFT = 0.3
"""Share of the change from picture to picture that may be left, in 9 of 10 blocks, once the camera's motion is undone: 0.24 at most
over stills, 0.35 at least in footage (measured); leaves, water and grain do not follow a camera."""
FAINT = 1.5
"""Levels added to that change, so that a codec's errors are not taken for a large share of hardly any."""
FEWEST = 4
"""Pairs of pictures, 8 a second, without which nothing is said."""
SMEARED = 0.14
"""Share of the picture's short side next to a bar in which flow is half that of the bar."""
FLAT = 12
"""Levels of 255 between the darkest and the lightest pixel of a row or column that belongs to a bar."""


class StillPan(Signal):
    """Share of the pairs of pictures in which the camera moves and nothing else does: one pan, zoom or roll explains the whole frame.

    A still picture that is filmed or slid about has no parallax, no subject that moves, no leaves and no grain of its own. Footage
    of a far and quite lifeless view from a turning tripod looks the same: take a high value for a hint, not a proof. A camera at rest
    gives 0. Bars are left out; a logo or subtitle over more than a tenth of the frame hides the still. Unknown where too little of
    the picture has texture to see the camera by.
    Source: paper 3.1 drops static screens and edited material, Panda-70M slide shows; definition our choice.
    """

    name, unit, version = "still_pan", "share of pairs", "1"
    video_only = True

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._before: np.ndarray | None = None
        self._pairs, self._explained = 0, 0

    def add(self, sample: Sample) -> None:
        if sample.plane is None:
            return
        before, self._before = self._before, sample.plane
        motion = sample.motion
        if motion is None or before is None or before.shape != sample.plane.shape:
            return
        if not motion.camera.any():
            # Nothing to see the camera by is not the same as rest.
            self._pairs += not motion.flow.any() or float(np.mean(texture(before, motion.step) > 0.5)) >= TEXTURED
            return
        self._pairs += 1
        self._explained += _is_explained(before, sample.plane, motion)

    def result(self) -> Score:
        if self._pairs < FEWEST:
            return self.unknown(f"{self._pairs} pairs of pictures show what the camera does; {FEWEST} are needed")
        return self.measured(self._explained / self._pairs)


def _is_explained(before: np.ndarray, after: np.ndarray, motion: Motion) -> bool:
    """Whether the camera's motion is all that happens between two (h, w) uint8 planes."""
    rows, columns = _picture(before)
    if rows.stop - rows.start < 32 or columns.stop - columns.start < 32:
        return False
    inside = tuple(slice(side.start // motion.step, side.stop // motion.step) for side in (rows, columns))
    camera, off = motion.camera[inside], motion.flow[inside] - motion.camera[inside]
    length = float(_length(camera).mean())
    if length < MOVES:
        return False
    missed = cv2.resize(_length(off), BLOCKS, interpolation=cv2.INTER_AREA)
    if float(np.quantile(missed, 0.9)) > OFF + OFF_PER_PIXEL * length:
        return False
    height, width = before.shape
    whole = cv2.resize(motion.camera, (width, height), interpolation=cv2.INTER_LINEAR)
    across, down = _places(height, width)
    undone = cv2.remap(after, across + whole[..., 0], down + whole[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    reach = int(np.ceil(np.abs(camera).max())) + 1  # what came into the frame has nothing to be compared with
    inner = slice(rows.start + reach, rows.stop - reach), slice(columns.start + reach, columns.stop - reach)
    changes = [cv2.absdiff(other, before)[inner] for other in (undone, after)]
    if not changes[0].size:
        return False
    left, all_change = (cv2.resize(change.astype(np.float32), BLOCKS, interpolation=cv2.INTER_AREA) for change in changes)
    return float(np.quantile(left / (all_change + FAINT), 0.9)) <= LEFT


@cache
def _places(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) float32 each: column and row of every pixel."""
    down, across = np.mgrid[:height, :width].astype(np.float32)
    return across, down


def _length(vectors: np.ndarray) -> np.ndarray:
    """(h, w, 2) -> (h, w); numpy's sum over so short an axis takes ten times as long."""
    across, down = vectors[..., 0], vectors[..., 1]
    return np.sqrt(across * across + down * down)


def _picture(plane: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns inside the bars, without a margin beside them."""
    found = []
    for axis in (1, 0):
        busy = np.flatnonzero(np.ptp(plane, axis=axis) >= FLAT)
        side = plane.shape[1 - axis]
        first, last = (int(busy[0]), int(busy[-1]) + 1) if len(busy) else (0, 0)
        margin = round(SMEARED * min(plane.shape))
        found.append(slice(first + margin if first > 2 else first, last - margin if last < side - 2 else last))
    return found[0], found[1]
