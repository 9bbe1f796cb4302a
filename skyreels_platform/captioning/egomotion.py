"""How a camera moved between two frames, in six degrees of freedom, from tracked points alone: robust two-view geometry without
camera parameters or depths.

A point at (x, y), in focal lengths from the image centre, at depth Z, moves between the frames by (Longuet-Higgins and Prazdny 1980)

    flow = A(x, y) t / Z + B(x, y) w,    A t = (-tx + x tz, -ty + y tz)

with translation t and rotation w. Turning moves all depths alike, travelling moves near things more. Two models compete: a camera
that only turns and zooms, and one that travels as well. For the second, every direction of t on a grid over the half sphere is tried:
across its own flow direction a point shows rotation alone, so w follows by least squares and what is left is the misfit (Bruss and
Horn 1983). The turning model is kept unless travelling explains clearly more: parallax must be seen, not guessed.

Legend: N points, M pairs of frames that share one direction, D directions. Axes as in image geometry: x right, y down, z ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

FOCALS = (0.5, 0.8, 1.3, 2.5, 15.0)
"""Focal lengths tried for a turning camera, in longer sides of the frame (our choice): 90 to 4 degrees of view, then finer ones about
the best. Footage rarely says."""
_TRAVEL_FOCAL = 1.0
_MIN_POINTS = 16
_NOISE = 6e-4     # frame widths: 0.12 px of 192, what tracking itself leaves
_MIN_RELIEF = 0.05  # of the points' way, that turning must leave unexplained before parallax is looked for (our choice)
_MIN_GAIN = 0.6   # misfit of the travelling model over that of the turning one, below which the parallax is believed (our choice)
_HUBER = 1.5      # in robust deviations: residuals above count less
_ROUNDS = 3       # of reweighting
_COARSE_POINTS, _COARSE_PAIRS = 64, 6  # that the first search over directions looks at
_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Points seen in two frames."""

    before: np.ndarray
    """(N, 2) float64: x right and y down from the image centre, in frame widths."""
    after: np.ndarray
    """(N, 2), the same points in the later frame."""
    elapsed_s: float

    def __len__(self) -> int:
        return len(self.before)

    def length(self) -> float:
        """Median way of the points, frame widths."""
        return float(np.median(np.linalg.norm(self.after - self.before, axis=1)))

    def some(self, count: int) -> Self:
        """At most `count` of the points, evenly picked."""
        step = max(1, -(-len(self) // count))
        return type(self)(before=self.before[::step], after=self.after[::step], elapsed_s=self.elapsed_s)


@dataclass(frozen=True, kw_only=True)
class EgoMotion:
    """The camera's motion per second, each number a displacement in frame widths that it causes (see captioning.camera)."""

    x: float
    """Truck right: at the median depth."""
    y: float
    """Pedestal up: at the median depth."""
    z: float
    """Dolly ahead, or zoom in: at the edge, half a width from the centre."""
    roll: float
    """Clockwise: at the edge."""
    pitch: float
    """Tilt up: at the centre."""
    yaw: float
    """Pan right: at the centre."""
    misfit: float
    """Median distance that the motion leaves unexplained, frame widths per second."""
    has_parallax: bool
    """False: the camera only turns or zooms, as far as can be seen."""
    focal: float
    """Focal length, in frame widths, under which the motion was found."""

    def vector(self) -> np.ndarray:
        """(6,): x, y, z, roll, pitch, yaw."""
        return np.array([self.x, self.y, self.z, self.roll, self.pitch, self.yaw])

    def distances(self, tracks: Tracks) -> np.ndarray:
        """(N,): what the motion leaves unexplained of every point's way between the frames, in frame widths.

        A travelling camera may have each point at any depth ahead of it; a turning one explains a way or does not.
        """
        middle, flow = (tracks.before + tracks.after) / (2 * self.focal), (tracks.after - tracks.before) / self.focal
        x, y = middle[:, 0], middle[:, 1]
        per_focal = tracks.elapsed_s / self.focal
        left = flow - _rotation_matrix(x, y) @ np.array([self.pitch * per_focal, self.yaw * per_focal, 2 * self.roll * tracks.elapsed_s])
        if not self.has_parallax:
            return np.linalg.norm(left - 2 * self.z * tracks.elapsed_s * middle, axis=1) * self.focal
        step = np.array([[self.x * per_focal, -self.y * per_focal, 2 * self.z * tracks.elapsed_s]])
        along = _translation_flow(x, y, step)[0]
        nearness = (left * along).sum(1) / np.maximum((along**2).sum(1), _EPS)
        return np.linalg.norm(left - np.maximum(nearness, 0)[:, None] * along, axis=1) * self.focal


def turning_motion(tracks: Tracks) -> EgoMotion:
    """The best camera that only turns and zooms, over focal lengths. ValueError for fewer than 16 points."""
    _check(tracks)
    side = max(1.0, float(np.ptp(tracks.before, axis=0).max()))
    coarse = _turning(tracks, side * np.array(FOCALS))
    return min((coarse, _turning(tracks, coarse.focal * np.array([0.8, 0.9, 1.12, 1.25]))), key=lambda fit: fit.misfit)


def _turning(tracks: Tracks, focals: np.ndarray) -> EgoMotion:
    """The best turning camera over these focal lengths, in frame widths."""
    scale = focals[:, None, None]
    middle, flow = (tracks.before + tracks.after) / (2 * scale), (tracks.after - tracks.before) / scale  # (D, N, 2)
    turn = _rotation_matrix(middle[..., 0], middle[..., 1])
    zoom = middle[..., None]  # a changing focal length moves points away from the centre
    matrix = np.concatenate((turn, zoom), axis=-1).reshape(len(focals), -1, 4)
    target = flow.reshape(len(focals), -1)
    solutions = _robust_least_squares(matrix, target)
    rest = (target - (matrix @ solutions[..., None])[..., 0]).reshape(flow.shape) * scale
    misfits = np.median(np.linalg.norm(rest, axis=-1), axis=-1)
    best = int(misfits.argmin())
    pitch, yaw, roll, zoom_rate = solutions[best] / tracks.elapsed_s
    focal = float(focals[best])
    return EgoMotion(
        x=0.0, y=0.0, z=zoom_rate * 0.5, roll=roll * 0.5, pitch=pitch * focal, yaw=yaw * focal,
        misfit=float(misfits[best]) / tracks.elapsed_s, has_parallax=False, focal=focal,
    )  # fmt: skip


def travelling_motion(pairs: Sequence[Tracks]) -> list[EgoMotion]:
    """One motion per pair, all pairs with one direction of translation: what several windows of a steady move have in common.

    Pooled, since one pair of frames hardly tells a slow truck from a slow pan. ValueError for a pair with fewer than 16 points.
    """
    for tracks in pairs:
        _check(tracks)
    systems = [_System(tracks) for tracks in pairs]
    directions = _half_sphere()
    few = [_System(tracks.some(_COARSE_POINTS)) for tracks in pairs[:: -(-len(pairs) // _COARSE_PAIRS)]]
    best = directions[int(np.sum([system.costs(directions) for system in few], axis=0).argmin())]
    for spread in (0.1, 0.03):
        near = _around(best, spread)
        best = near[int(np.sum([system.costs(near) for system in systems], axis=0).argmin())]
    return [system.motion(best) for system in systems]


def explain(pairs: Sequence[Tracks], turns: Sequence[EgoMotion]) -> list[EgoMotion]:
    """Turning where it explains the tracks, travelling where only that does; one decision for all pairs.

    `turns`: turning_motion of each pair.
    """
    noise = [max(_NOISE, _MIN_RELIEF * tracks.length()) / tracks.elapsed_s for tracks in pairs]
    if np.median([turn.misfit / floor for turn, floor in zip(turns, noise, strict=True)]) < 1.0:
        return list(turns)
    travels = travelling_motion(pairs)
    least = [_NOISE / 4 / tracks.elapsed_s for tracks in pairs]  # below it one misfit is as good as another
    gain = np.median([
        (travel.misfit + floor) / (turn.misfit + floor) for travel, turn, floor in zip(travels, turns, least, strict=True)
    ])  # fmt: skip
    return travels if gain < _MIN_GAIN else list(turns)


class _System:
    """One pair's flow field in focal lengths, ready to be asked about directions."""

    def __init__(self, tracks: Tracks) -> None:
        self._elapsed_s = tracks.elapsed_s
        middle = (tracks.before + tracks.after) / (2 * _TRAVEL_FOCAL)  # central: second-order terms cancel
        self._x, self._y = middle[:, 0], middle[:, 1]
        self._flow = (tracks.after - tracks.before) / _TRAVEL_FOCAL
        self._turn = _rotation_matrix(self._x, self._y)  # (N, 2, 3)

    def costs(self, directions: np.ndarray) -> np.ndarray:
        """(D,): robust misfit of the best rotation for each direction, in squared focal lengths."""
        across, matrix = self._across(directions)
        rotation = _robust_least_squares(matrix, across)
        residual = np.abs(across - (matrix @ rotation[..., None])[..., 0])
        most = 2 * _HUBER * 1.4826 * np.median(residual, axis=1, keepdims=True) + _EPS  # subjects that move on their own have no vote
        return np.sum(np.minimum(residual, most) ** 2, axis=1)

    def motion(self, direction: np.ndarray) -> EgoMotion:
        """The motion for one direction; its sign is that in which most points lie ahead of the camera."""
        across, matrix = self._across(direction[None])
        rotation = _robust_least_squares(matrix, across)[0]
        along = _translation_flow(self._x, self._y, direction[None])[0]  # (N, 2): flow at depth 1
        left = self._flow - self._turn @ rotation
        nearness = (left * along).sum(1) / np.maximum((along**2).sum(1), 1e-4)  # 1 / Z in units of |t|
        typical = float(np.median(nearness))
        sign = 1.0 if typical >= 0 else -1.0
        rest = left - np.maximum(sign * nearness, 0)[:, None] * sign * along
        per_s = _TRAVEL_FOCAL / self._elapsed_s
        tx, ty, tz = direction * typical * per_s
        return EgoMotion(
            x=tx, y=-ty, z=tz * 0.5 / _TRAVEL_FOCAL, roll=rotation[2] * 0.5 / self._elapsed_s, pitch=rotation[0] * per_s,
            yaw=rotation[1] * per_s, misfit=float(np.median(np.hypot(*rest.T))) * per_s, has_parallax=True, focal=_TRAVEL_FOCAL,
        )  # fmt: skip

    def _across(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flow (D, N) and effect of rotation (D, N, 3) across each direction's own flow."""
        along = _translation_flow(self._x, self._y, directions)
        normals = np.stack((-along[..., 1], along[..., 0]), axis=-1)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 0.05)  # near the focus a direction says little
        return (normals * self._flow).sum(-1), (normals[..., None] * self._turn).sum(-2)


def _rotation_matrix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(..., N, 2, 3): flow per radian of pitch up, yaw right and clockwise roll. The picture moves against the camera."""
    pitch = np.stack((x * y, 1 + y * y), axis=-1)
    yaw = np.stack((-(1 + x * x), -x * y), axis=-1)
    roll = np.stack((y, -x), axis=-1)
    return np.stack((pitch, yaw, roll), axis=-1)


def _translation_flow(x: np.ndarray, y: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(D, N, 2): A t for every direction, the flow of points at depth 1."""
    tx, ty, tz = (directions[:, axis, None] for axis in range(3))
    return np.stack((x * tz - tx, y * tz - ty), axis=-1)


def _robust_least_squares(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(..., K) solutions of the systems (..., N, K), (..., N) in which outliers count less."""
    weights = np.ones_like(target)
    solution = np.zeros((*target.shape[:-1], matrix.shape[-1]))
    for _ in range(_ROUNDS + 2):
        weighted = np.swapaxes(matrix * weights[..., None], -1, -2)
        gram = weighted @ matrix + _EPS * np.eye(matrix.shape[-1])
        solution = np.linalg.solve(gram, weighted @ target[..., None])[..., 0]
        residual = np.abs(target - (matrix @ solution[..., None])[..., 0])
        scale = _HUBER * 1.4826 * np.median(residual, axis=-1, keepdims=True) + _EPS
        weights = np.minimum(1.0, scale / np.maximum(residual, _EPS))
    return solution


@lru_cache(maxsize=1)
def _half_sphere() -> np.ndarray:
    """(D, 3) unit vectors with z >= 0, about 10 degrees apart, the axes among them: t and -t give the same misfit."""
    count = 200
    place = np.arange(count) + 0.5
    z, angle = place / count, np.pi * (1 + 5**0.5) * place
    side = np.sqrt(1 - z * z)
    spiral = np.stack((side * np.cos(angle), side * np.sin(angle), z), axis=1)
    return np.concatenate((np.eye(3), spiral))


def _around(direction: np.ndarray, spread: float) -> np.ndarray:
    """(D, 3) unit vectors on a small grid around one direction, itself among them."""
    first = np.cross(direction, np.eye(3)[int(np.abs(direction).argmin())])
    first /= np.linalg.norm(first)
    second = np.cross(direction, first)
    steps = np.linspace(-spread, spread, 5)
    found = direction + (first * steps[:, None])[:, None] + (second * steps[:, None])[None]
    found = found.reshape(-1, 3)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _check(tracks: Tracks) -> None:
    if len(tracks) < _MIN_POINTS:
        raise ValueError(f"{len(tracks)} tracked points; two-view geometry takes at least {_MIN_POINTS}")
