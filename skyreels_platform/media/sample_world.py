"""Films of a still world with depth, seen by a camera on a known path: ground truth for what a camera does in six degrees of freedom.

The world is a far wall and textured cards at many depths. A card is flat, so its picture under any camera is a homography of its
texture and every frame is exact, without a 3D engine. Cards pass in front of each other: that parallax is what tells a camera that
travels (truck, pedestal, dolly) from one that turns (pan, tilt).

Axes are the camera's own: x to its right, y up, z ahead; yaw turns right, pitch up, roll clockwise as seen from behind the camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

AXES = ("x", "y", "z", "roll", "pitch", "yaw")
"""Truck, pedestal, dolly, roll, tilt, pan (paper 3.2 names six degrees of freedom)."""

_NEAR = 0.15  # nearer than this a card is not drawn; units of the depth of the nearest card
_TEXTURE = 256  # pixels of a card's side


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A stretch of a camera path at one speed on every axis."""

    duration_s: float
    rates: dict[str, float]
    """Axis -> signed displacement that it causes, in shares of the frame's width per second, on what lies at the median depth
    (x, y), or at the frame's edge (z, roll); for pitch and yaw at the frame's centre."""


class SampleWorld:
    """One random world and the camera in front of it.

    width, height: pixels. fps: frames per second. view_deg: horizontal angle of view, 20 to 90. shake: deviation of a hand's
    tremble, shares of the width. has_depth: False leaves the far wall alone.
    """

    def __init__(
        self, legs: Sequence[Leg], *, seed: int, width: int = 320, height: int = 180, fps: float = 16.0, view_deg: float = 55.0,
        num_cards: int = 30, shake: float = 0.0, has_depth: bool = True,
    ) -> None:  # fmt: skip
        if not legs or any(axis not in AXES for leg in legs for axis in leg.rates):
            raise ValueError(f"give at least one leg, with axes of {AXES}")
        self.legs, self.width, self.height, self.fps, self.shake = tuple(legs), width, height, fps, shake
        self._seed = seed
        self.focal = 0.5 / math.tan(math.radians(view_deg) / 2)
        """In frame widths."""
        generator = np.random.default_rng([seed, 1])
        self._cards = _cards(generator, round(num_cards * max(1.0, 1.6 * height / width)) if has_depth else 0, self.focal, height / width)
        self.median_depth = self._median_depth() if has_depth else self._cards[0].depth

    @property
    def num_frames(self) -> int:
        return max(2, round(sum(leg.duration_s for leg in self.legs) * self.fps))

    def frames(self) -> np.ndarray:
        """(F, height, width, 3) uint8 RGB."""
        jitter = np.random.default_rng([self._seed, 2]).normal(size=(self.num_frames, 2)) * self.shake
        poses = self._path()
        return np.stack([self._draw(rotation, place, trouble) for (rotation, place), trouble in zip(poses, jitter, strict=True)])

    def _path(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """World-to-camera rotation and camera place, frame by frame: the legs' velocities integrated in the camera's own axes."""
        rotation, place = np.eye(3), np.zeros(3)
        poses = [(rotation, place)]
        ends = np.cumsum([leg.duration_s for leg in self.legs])
        for index in range(self.num_frames - 1):
            leg = self.legs[min(int(np.searchsorted(ends, (index + 0.5) / self.fps)), len(self.legs) - 1)]
            turn, step = self._velocity(leg)
            place = place + rotation.T @ (step / self.fps)
            rotation = cv2.Rodrigues(-turn / self.fps)[0] @ rotation
            poses.append((rotation, place))
        return poses

    def _velocity(self, leg: Leg) -> tuple[np.ndarray, np.ndarray]:
        """Angular velocity (rad/s) and velocity (world units/s) in camera axes: x right, y down, z ahead, as in image geometry."""
        rate = {axis: leg.rates.get(axis, 0.0) for axis in AXES}
        step = np.array([rate["x"], -rate["y"], 0.0]) * self.median_depth / self.focal
        step[2] = 2 * rate["z"] * self.median_depth  # an edge half a width out moves by 0.5 * z / depth
        return np.array([rate["pitch"] / self.focal, rate["yaw"] / self.focal, 2 * rate["roll"]]), step

    def _draw(self, rotation: np.ndarray, place: np.ndarray, trouble: np.ndarray) -> np.ndarray:
        frame = np.zeros((self.height, self.width, 3), np.uint8)
        for card in self._cards:  # far to near
            corners = (card.corners - place) @ rotation.T
            if corners[:, 2].min() < _NEAR:
                continue
            points = self._pixels(corners, trouble).astype(np.float32)
            if (points.max(0) < 0).any() or (points.min(0) > (self.width, self.height)).any():
                continue
            homography = cv2.getPerspectiveTransform(card.texture_corners, points)
            # Texture much finer than the picture would shimmer; a mip level about the picture's own scale does not.
            texture, shrink = card.level(cv2.contourArea(points))
            cv2.warpPerspective(
                texture, homography @ np.diag([shrink, shrink, 1.0]), (self.width, self.height), dst=frame, flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_TRANSPARENT,
            )  # fmt: skip
        return frame

    def _pixels(self, points: np.ndarray, trouble: np.ndarray) -> np.ndarray:
        return self.width * (self.focal * points[:, :2] / points[:, 2:] + trouble) + (self.width / 2, self.height / 2)

    def _median_depth(self) -> float:
        """Median depth over the first frame's pixels, read off a picture in which every card has its own grey."""
        numbers = np.zeros((self.height, self.width), np.uint8)
        for number, card in enumerate(self._cards):
            points = self._pixels(card.corners, np.zeros(2))
            cv2.fillConvexPoly(numbers, points.round().astype(np.int32), (number,))
        return float(np.median(np.array([card.depth for card in self._cards])[numbers]))


@dataclass(frozen=True, kw_only=True)
class _Card:
    corners: np.ndarray
    """(4, 3) world coordinates: x right, y down, z ahead."""
    depth: float
    levels: tuple[np.ndarray, ...]
    """The texture and its halvings."""

    @property
    def texture_corners(self) -> np.ndarray:
        """(4, 2) float32: of the full texture, in the order of `corners`."""
        height, width = self.levels[0].shape[:2]
        return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)

    def level(self, area: float) -> tuple[np.ndarray, float]:
        """The texture at about one texel per pixel of a picture of this area, and its texel's side in full texels."""
        height, width = self.levels[0].shape[:2]
        halvings = min(len(self.levels) - 1, max(0, round(0.5 * math.log2(max(width * height / max(area, 1.0), 1.0)))))
        return self.levels[halvings], 2.0**halvings


def _cards(generator: np.random.Generator, num_cards: int, focal: float, shape: float) -> list[_Card]:
    """A wall that fills any view, then cards from far to near, spread over twice the frame each way."""
    far = 9.0
    cards = [_card(generator, (0.0, 0.0), far, (far * 4.0 / focal, far * 4.0 / focal), repeats=14)]
    for depth in sorted(generator.uniform(1.3, 7.0, num_cards), reverse=True):
        side = generator.uniform(0.16, 0.4) * depth / focal
        reach = 0.9 * depth / focal
        middle = generator.uniform(-reach, reach), generator.uniform(-reach, reach) * max(shape, 0.6)
        if max(abs(middle[0]), abs(middle[1])) < 0.75 * side and depth < 5.5:
            continue  # nothing on the way ahead: a dolly would run into it
        cards.append(_card(generator, middle, float(depth), (side, side * generator.uniform(0.7, 1.4))))
    return cards


def _card(
    generator: np.random.Generator, middle: tuple[float, float], depth: float, size: tuple[float, float], repeats: int = 1
) -> _Card:
    (x, y), (width, height) = middle, (size[0] / 2, size[1] / 2)
    corners = np.array([
        [x - width, y - height, depth], [x + width, y - height, depth], [x + width, y + height, depth], [x - width, y + height, depth],
    ])  # fmt: skip
    levels = [_texture(generator, _TEXTURE * (4 if repeats > 1 else 1), 6 * repeats)]
    while min(levels[-1].shape[:2]) > 16:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return _Card(corners=corners, depth=depth, levels=tuple(levels))


def _texture(generator: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Muted blotches of two sizes in a tint, (side, side, 3) uint8."""
    coarse, fine = (
        cv2.resize(generator.uniform(-1, 1, (count, count)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        for count in (cells, cells * 3)
    )  # fmt: skip
    tint = generator.uniform(70, 170, 3)
    return np.clip(tint + 42 * coarse[..., None] + 26 * fine[..., None], 0, 255).astype(np.uint8)
