"""Optical flow of a pair of small frames and the camera's part in it."""

from functools import cache

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion

SMALLEST = 16
"""Pixels on the short side below which flow means nothing (and OpenCV refuses 8)."""
TEXTURE = 4.0
"""Squared gradient, (levels per pixel)^2, mean over a window, at which flow is believed by half: above codec noise, below most
detail."""
TEXTURED = 1 / 3
"""Share of the frame that must have texture before the camera's motion is read from it."""
HALVINGS = 2
"""Flow is kept at every fourth pixel of a picture on both axes, which is as fine as the method's FAST preset looks."""
_WINDOW = 1 / 24
"""Side of that window, share of the frame's short side."""
_GRID = 16
"""Points along the short side at which the camera's motion is fitted."""
_PATCH = 8  # pixels of the method's patches
_ROUNDS = 6
_CONVERGED = 1e-3  # pixels by which the last round moved the middle or the corners at most
_RIDGE = 1e-9  # of the sums: points on one line leave a slope open, which is 0 then


class FlowMeter:
    """Dense inverse search flow (Kroeger 2016; OpenCV's FAST preset without variational refinement), where there is texture.

    Flow is right within 5 % from two pixels on; below one pixel on fine texture it is up to a quarter too long. On plain ground
    it is only smeared from the nearest edge; there the camera's motion takes its place.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setVariationalRefinementIterations(0)
        self._dis.setFinestScale(0)  # the planes come reduced already: it would spend half of its time on scaling

    def measure(self, before: np.ndarray, after: np.ndarray, elapsed_s: float) -> Motion:
        """Motion between two (h, w) uint8 planes that lie `elapsed_s` apart."""
        step = 1 << _halvings(before.shape)
        earlier, later = (_reduced(plane, step) for plane in (before, after))
        raw = self._dis.calc(earlier, later, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        raw *= np.float32(step)  # pixels of the whole plane
        trust = texture(before, step)
        camera = camera_part(raw, trust)
        flow = camera + trust[..., None] * (raw - camera)
        return Motion(flow=flow, camera=camera, per_second=1 / (before.shape[0] * elapsed_s), step=step)


def _halvings(shape: tuple[int, ...]) -> int:
    """HALVINGS, or fewer where the method's coarsest scale would not be coarse any more."""
    coarsest = int(np.log2(2 * max(shape) / (4 * _PATCH)) + 0.5) - 1
    return min(HALVINGS, max(0, coarsest))


def _reduced(plane: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step pixels (1, 2 or 4); what is left over on the right and below is left out."""
    height, width = (side // step * step for side in plane.shape)
    plane = plane[:height, :width]
    while step > 1:
        plane = cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
        step //= 2
    return np.ascontiguousarray(plane)


def texture(plane: np.ndarray, step: int) -> np.ndarray:
    """(h, w) uint8 -> (h // step, w // step) float32: how far flow is to be believed there, 0 (plain) to 1 (detail)."""
    fine = max(1, step // 2)  # every second pixel is enough for a mean
    slopes = (slope[::fine, ::fine] for slope in cv2.spatialGradient(plane))  # 8 times the slope
    squares = [cv2.multiply(slope, slope, scale=1 / 64, dtype=cv2.CV_32F) for slope in slopes]
    side = max(3, round(min(plane.shape) * _WINDOW / fine) | 1)
    energy = cv2.blur(squares[0] + squares[1], (side, side))
    height, width = (length // step for length in plane.shape)
    coarse = step // fine
    energy = energy[coarse // 2::coarse, coarse // 2::coarse][:height, :width]
    energy = energy * energy
    return energy / (energy + np.float32(TEXTURE ** 2))


def camera_part(flow: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """The affine motion field (h, w, 2) that most of the textured frame follows; still if less than TEXTURED of it has texture.

    A subject before a plain wall looks the same as a camera that moves past a painted wall: it counts as a still camera.
    Least squares, reweighted by Geman and McClure's function: what moves otherwise than the majority loses its say. The scale is
    the median residual, at least 0.1 pixel.
    """
    height, width = flow.shape[:2]
    places, points = _points(height, width)
    is_textured = trust.ravel()[places] > 0.5
    count = int(np.count_nonzero(is_textured))
    if count < TEXTURED * places.size:
        return np.zeros_like(flow)
    known = np.concatenate([points[:, is_textured], flow.reshape(-1, 2)[places[is_textured]].T])  # (5, points)
    points, vectors = known[:3], known[3:]
    # The median vector first: it is right about the majority, where least squares would start between subject and ground.
    model = np.zeros((2, 3))
    model[:, 0] = np.median(vectors, axis=1)
    for _ in range(_ROUNDS):
        missed = model @ points - vectors
        residual = missed[0] ** 2 + missed[1] ** 2
        residual /= max(0.01, 2.25 * float(np.partition(residual, count // 2)[count // 2]))
        residual += 1
        before, model = model, _solved((points / (residual * residual)) @ known.T)
        if np.abs(model - before).max() < _CONVERGED:
            break
    field = np.empty_like(flow)
    across, down = (np.arange(side) / side - 0.5 for side in (width, height))
    for axis, (offset, by_column, by_row) in enumerate(model.tolist()):
        row, column = (offset + across * by_column).astype(np.float32), (down * by_row).astype(np.float32)
        np.add(row[None], column[:, None], out=field[..., axis])
    return field


@cache
def _points(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) places in a plane of that size at which the camera's motion is fitted, and (3, n) float64: 1, x and y, the latter two from
    -0.5 to 0.5."""
    step = max(1, min(height, width) // _GRID)
    rows, columns = (axis.ravel() for axis in np.mgrid[step // 2:height:step, step // 2:width:step])
    return rows * width + columns, np.stack([np.ones(rows.size), columns / width - 0.5, rows / height - 0.5])


def _solved(sums: np.ndarray) -> np.ndarray:
    """(2, 3): least squares from (3, 5) weighted products of the points with themselves and with both axes of their vectors. By
    cofactors: a library's solver takes ten times as long to be called."""
    (a, b, c, *first), (_, d, e, *second), (_, _, f, *third) = sums.tolist()
    a, d, f = a + _RIDGE, d + _RIDGE, f + _RIDGE
    inverse = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    scale = 1 / (a * inverse[0] + b * inverse[1] + c * inverse[2])
    aa, ab, ac, bb, bc, cc = (part * scale for part in inverse)
    return np.array([
        [aa * p + ab * q + ac * r, ab * p + bb * q + bc * r, ac * p + bc * q + cc * r]
        for p, q, r in zip(first, second, third, strict=True)
    ])  # fmt: skip
