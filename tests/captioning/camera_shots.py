"""Shots of a world with depth under cameras of known motion, drawn at random: what the camera expert is measured on."""

from dataclasses import dataclass

import numpy as np

from skyreels_platform.captioning.camera import AXES, FAST_PER_S, SLOW_PER_S, measure_camera
from skyreels_platform.media.sample_world import Leg, SampleWorld

SIZES = ((320, 180), (256, 256), (426, 180), (180, 320))


@dataclass(frozen=True, kw_only=True)
class CameraShot:
    """One shot and the truth about it."""

    world: SampleWorld
    signs: tuple[int, ...]
    """Per axis."""
    speed: str


def draw_shot(number: int) -> CameraShot:
    """One in eight is static, six in eight move on one axis, one on two; size, rate, view, length, speed and world at random."""
    generator = np.random.default_rng([number, 7])
    width, height = SIZES[number % len(SIZES)]
    kind = (number // len(SIZES)) % 8
    axes = [] if kind == 0 else [AXES[kind - 1]] if kind <= 6 else generator.choice(AXES, 2, replace=False).tolist()
    size = float(np.exp(generator.uniform(np.log(0.025), np.log(0.4))))
    rates = {axis: size * float(generator.choice([-1, 1])) * (1.0 if axis == axes[0] else generator.uniform(0.5, 1)) for axis in axes}
    # no farther than the world goes: a frame's width sideways, a quarter of the way to the middle of it ahead
    longest = min(1.0 / max(size, 0.1), 0.25 / abs(rates["z"]) + 0.5 if "z" in rates else 3.0)
    world = SampleWorld(
        [Leg(duration_s=max(0.8, min(float(generator.uniform(1, 3)), longest)), rates=rates)], seed=number, width=width, height=height,
        fps=float(generator.choice([8, 12, 16])), view_deg=float(generator.uniform(40, 75)),
    )  # fmt: skip
    strongest = max((abs(rate) * (width / height if axis in ("y", "pitch") else 1) for axis, rate in rates.items()), default=0.0)
    speed = "still" if not rates else "slow" if strongest < SLOW_PER_S else "medium" if strongest <= FAST_PER_S else "fast"
    return CameraShot(world=world, signs=tuple(int(np.sign(rates.get(axis, 0.0))) for axis in AXES), speed=speed)


@dataclass(frozen=True, kw_only=True)
class CameraScore:
    """Shares of right answers; `unknown` answers count as wrong where something moves."""

    num_shots: int
    axes: tuple[float, ...]
    """Per axis: sign right, zero included."""
    moving_axes: tuple[float, ...]
    """Per axis: the same over the shots that move on it."""
    speed: float
    is_moving: float
    num_unknown: int


def score(numbers: range) -> CameraScore:
    """Measure these shots."""
    right, speeds, moving, truths, unknown = [], [], [], [], 0
    for number in numbers:
        shot = draw_shot(number)
        finding = measure_camera(shot.world.frames(), shot.world.fps)
        unknown += not finding.known
        leg = max(finding.legs, key=lambda leg: leg.end_s - leg.start_s, default=None)
        signs = leg.signs if leg else (None,) * len(AXES)
        right.append([found == true for found, true in zip(signs, shot.signs, strict=True)])
        truths.append(shot.signs)
        speeds.append(bool(leg) and leg.speed == shot.speed)
        moving.append(bool(leg) and any(leg.signs) == any(shot.signs))
    moves = np.array(truths) != 0
    return CameraScore(
        num_shots=len(numbers), axes=tuple(np.mean(right, axis=0).tolist()),
        moving_axes=tuple(np.array(right)[moves[:, axis], axis].mean().item() for axis in range(len(AXES))),
        speed=float(np.mean(speeds)), is_moving=float(np.mean(moving)), num_unknown=unknown,
    )  # fmt: skip
