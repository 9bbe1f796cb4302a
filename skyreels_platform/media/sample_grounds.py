"""What sample shots show before anything is laid over them: moving scenes of four kinds, each from a generator.

Plain scenes have one flat subject on soft ground, detailed ones fine texture with a photograph's spectrum and hard-edged patches,
busy ones a high-contrast pattern (bricks, leaves, stripes, blots, windows) that fills the frame. Deep ones come closest to
footage: things of all sizes under such texture, a foreground that passes faster than what lies behind it, textured subjects that
go their own ways, sometimes a background out of focus.
"""

from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np

from skyreels_platform.media.sample_scene import (
    COLOURS,
    MOTIONS,
    SHAPES,
    Background,
    Camera,
    ScenePainter,
    SceneSpec,
    Subject,
    seeded,
)

SPEEDS = {
    "pan_left": 0.12, "pan_right": 0.12, "tilt_up": 0.12, "tilt_down": 0.12, "zoom_in": 0.15, "zoom_out": 0.15,
    "roll_clockwise": 8.0, "handheld": 0.05,
}  # fmt: skip
"""Camera motion -> a middling speed, as `Camera.speed` counts it."""
PATTERNS = ("bricks", "leaves", "stripes", "blots", "windows")
"""What fills the frame of a busy scene."""
REPEATING = ("bricks", "stripes", "windows")
"""Those that repeat at one distance."""
_RANGES = {"pan": (0.04, 0.25), "tilt": (0.04, 0.25), "zoom": (0.05, 0.2), "roll": (2.0, 8.0), "handheld": (0.01, 0.03)}


def detailed_scene(
    generator: np.random.Generator, width: int, height: int, fps: int, count: int, look: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """(F, H, W, 3) uint8 of one moving scene without a flaw, and its subject's centres (F, 2) if it has one.

    Every third scene is dark, every fifth has a black sky above it, so that darkness as such proves nothing.
    """
    motion = str(generator.choice(MOTIONS))
    low, high = _RANGES.get(motion.split("_", 1)[0], (0.0, 0.0))
    subject = None
    if generator.random() < 0.8:
        subject = Subject(
            colour=str(generator.choice(("red", "green", "blue", "yellow"))),
            shape=str(generator.choice(("circle", "square", "triangle"))),
            size=generator.uniform(0.15, 0.5), position=(generator.uniform(0.2, 0.8), generator.uniform(0.25, 0.75)),
            velocity=(generator.uniform(-0.3, 0.3), generator.uniform(-0.2, 0.2)),
        )
    scene = SceneSpec(
        num_frames=count, subject=subject, background=Background(kind="texture", level=generator.uniform(0.3, 0.7)),
        camera=Camera(motion=motion, speed=0.0 if motion == "static" else generator.uniform(low, high)),
        look=int(generator.integers(1 << 30)),
    )
    painter = ScenePainter(scene, width=width, height=height, fps=fps, seed=0)
    detail, drift = _detail(int(generator.integers(8)), width, height), generator.uniform(-0.004, 0.004, 2) * height
    strength, gain = np.float32(generator.uniform(0.5, 1.5)), np.float32(0.2 if generator.random() < 0.3 else 1.0)
    sky = generator.uniform(0.1, 0.4) * height if generator.random() < 0.2 else 0.0
    grain = seeded("grain", look).standard_normal((height, width, 1), np.float32) * np.float32(generator.uniform(0, 2.5))
    clip = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        shift = np.array([[1, 0, 40 + drift[0] * index], [0, 1, 40 + drift[1] * index]])
        fine = cv2.warpAffine(detail, shift, (width, height), borderMode=cv2.BORDER_WRAP)
        image = painter.frame(index).astype(np.float32) + strength * fine[..., None]
        if sky:
            roofs = sky + 0.06 * height * np.sin(np.arange(width) / width * 9 + index / 20 + _phase(look))
            image *= np.clip(np.arange(height)[:, None] - roofs, 0, 1).astype(np.float32)[..., None]
        clip[index] = np.clip(gain * image + np.roll(grain, 7 * index, axis=(0, 1)), 0, 255)
    centres = np.array([painter.centre(index) for index in range(count)]) if subject is not None else None
    return clip, centres


def _phase(look: str) -> float:
    return float(seeded("phase", look).uniform(0, 6))


@cache
def _detail(number: int, width: int, height: int) -> np.ndarray:
    """Fine texture with a natural spectrum (amplitude 1/f), zero mean, 18 levels deep, with some hard-edged patches."""
    generator = seeded("detail", str(number))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    spectrum = np.fft.rfft2(generator.standard_normal((height, width))) / np.maximum(frequency, 4 / height)
    noise = np.fft.irfft2(spectrum, (height, width))
    noise = (18 * noise / noise.std()).astype(np.float32)
    for _ in range(40):
        middle, number = generator.uniform(0, 1, 2) * (width, height), int(generator.integers(3, 6))
        corners = middle + generator.uniform(-0.12, 0.12, (number, 2)) * height
        patch = np.zeros_like(noise)
        cv2.fillPoly(patch, [np.rint(corners).astype(np.int32)], generator.uniform(-50, 50))
        noise += patch
    return noise


def deep_frames(
    width: int, height: int, num_frames: int, fps: int, motion: str, generator: np.random.Generator
) -> Iterator[np.ndarray]:  # fmt: skip
    """A world of two depths with subjects in it, grained like a film; every fifth is dark."""
    far, near, cover = _world(width, height, generator)
    subjects = [_Walker(width, height, generator) for _ in range(int(generator.integers(1, 4)))]
    speed, phases = SPEEDS.get(motion, 0.0) * float(generator.uniform(0.5, 1.6)), generator.uniform(0, 2 * np.pi, 2)
    closer = float(generator.uniform(1.3, 2.2))
    gain = np.float32(generator.uniform(0.12, 0.4) if generator.random() < 0.2 else 1.0)
    grain = generator.standard_normal((height, width, 1), np.float32) * np.float32(generator.uniform(0.5, 4.0))
    for index in range(num_frames):
        view = _camera(motion, speed, index / fps, width, height, phases)
        frame = cv2.warpAffine(far, view, (width, height), borderMode=cv2.BORDER_WRAP)
        if cover is not None:
            view = _camera(motion, closer * speed, index / fps, width, height, phases)
            mask = cv2.warpAffine(cover, view, (width, height), borderMode=cv2.BORDER_WRAP)[..., None] / np.float32(255)
            front = cv2.warpAffine(near, view, (width, height), borderMode=cv2.BORDER_WRAP)
            frame = (frame * (1 - mask) + front * mask).astype(np.uint8)
        for subject in subjects:
            subject.draw(frame, index / fps)
        yield np.clip(gain * frame + np.roll(grain, (7 * index, 11 * index), axis=(0, 1)), 0, 255).astype(np.uint8)


class _Walker:
    """A textured oval that crosses the frame and comes in again on the other side."""

    def __init__(self, width: int, height: int, generator: np.random.Generator) -> None:
        self._frame = width, height
        side = max(8, round(float(generator.uniform(0.12, 0.45)) * height)) // 2 * 2
        rows, columns = np.mgrid[:side, :side] / (side - 1) * 2 - 1
        self._cover = np.clip((1 - np.hypot(rows, 1.5 * columns)) * side / 3, 0, 1).astype(np.float32)[..., None]
        texture = cv2.resize(generator.uniform(-60, 60, (9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        if generator.random() < 0.8:  # in focus
            fine = cv2.GaussianBlur(generator.standard_normal((side, side), np.float32), (0, 0), 0.9)
            texture += float(generator.uniform(8, 25)) * fine / fine.std()
        self._look = np.clip(generator.uniform(30, 220, 3) + texture[..., None], 0, 255).astype(np.float32)
        self._start, self._path = generator.uniform(0, 1, 2), generator.uniform(-0.5, 0.5, 2) * height

    def draw(self, frame: np.ndarray, time_s: float) -> None:
        width, height = self._frame
        side = len(self._cover)
        x, y = (
            int((start * (room + side) + speed * time_s) % (room + side)) - side
            for start, speed, room in zip(self._start, self._path, (width, height), strict=True)
        )
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
        if left < right and top < bottom:
            inner = slice(top - y, bottom - y), slice(left - x, right - x)
            part = frame[top:bottom, left:right]
            part[:] = part * (1 - self._cover[inner]) + self._look[inner] * self._cover[inner]


def _world(width: int, height: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Background and foreground, (2 h, 2 w, 3) uint8 each and periodic, and where the foreground is (None: nowhere)."""
    layers = []
    for number in range(2):
        ground = generator.uniform(50, 190, 3)
        canvas = np.full((2 * height, 2 * width, 3), ground, np.float32)
        for _ in range(int(generator.integers(15, 70))):
            middle, size = generator.uniform(0, 2, 2) * (width, height), float(generator.uniform(0.02, 0.4)) * height
            colour = np.clip(ground + generator.normal(0, 55, 3), 5, 250).tolist()
            if generator.random() < 0.5:
                corner = middle + generator.uniform(0.3, 1.0, 2) * size
                cv2.rectangle(canvas, _point(middle), _point(corner), colour, -1, cv2.LINE_AA)
            else:
                around = middle + generator.uniform(-0.6, 0.6, (int(generator.integers(3, 7)), 2)) * size
                cv2.fillPoly(canvas, [np.rint(around).astype(np.int32)], colour, cv2.LINE_AA)
        detail = _detail(8 + int(generator.integers(6)), width, height)
        canvas += np.float32(generator.uniform(0.15, 0.9)) * np.tile(detail, (2, 2))[..., None]
        if number == 0 and generator.random() < 0.3:
            canvas = cv2.GaussianBlur(canvas, (0, 0), float(generator.uniform(0.004, 0.02)) * height)
        layers.append(np.clip(canvas, 3, 252).astype(np.uint8))
    if generator.random() < 0.4:
        return layers[0], layers[1], None
    cover = np.zeros((2 * height, 2 * width), np.uint8)
    for _ in range(int(generator.integers(1, 4))):
        middle = generator.uniform(0, 2, 2) * (width, height)
        around = middle + generator.uniform(-0.7, 0.7, (int(generator.integers(3, 8)), 2)) * height
        cv2.fillPoly(cover, [np.rint(around).astype(np.int32)], (255,), cv2.LINE_AA)
    return layers[0], layers[1], cv2.GaussianBlur(cover, (0, 0), 1.0)


def _point(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def plain_frames(
    width: int, height: int, num_frames: int, fps: int, motion: str, number: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:  # fmt: skip
    level = float(generator.uniform(0.25, 0.75))
    subject = None
    if generator.random() < 0.7:
        x, y = generator.uniform(0.2, 0.8, 2)
        right, down = generator.uniform(-0.5, 0.5, 2)
        subject = Subject(
            colour=str(generator.choice(list(COLOURS))), shape=str(generator.choice(SHAPES)),
            size=float(generator.uniform(0.15, 0.4)), position=(float(x), float(y)), velocity=(float(right), float(down)),
        )  # fmt: skip
    speed = SPEEDS.get(motion, 0.0) * float(generator.uniform(0.6, 2.0))
    scene = SceneSpec(
        num_frames=num_frames, subject=subject, camera=Camera(motion=motion, speed=speed), look=number,
        background=Background(kind=str(generator.choice(["texture", "texture", "gradient", "plain"])), level=level),
    )  # fmt: skip
    painter = ScenePainter(scene, width=width, height=height, fps=fps, seed=5)
    for index in range(num_frames):
        yield painter.frame(index)


def busy_frames(
    width: int, height: int, num_frames: int, fps: int, motion: str, generator: np.random.Generator, pattern: str = ""
) -> Iterator[np.ndarray]:
    """A high-contrast texture, one of PATTERNS or any, seen by a moving camera, grained like a film."""
    canvas = _busy_canvas(2 * width, 2 * height, generator, pattern)
    speed = float(generator.uniform(0.6, 2.0)) * SPEEDS.get(motion, 0.0)
    phases = generator.uniform(0, 2 * np.pi, 2)
    for index in range(num_frames):
        view = _camera(motion, speed, index / fps, width, height, phases)
        frame = cv2.warpAffine(canvas, view, (width, height), borderMode=cv2.BORDER_WRAP)
        grain = generator.normal(0, 3, (height, width, 1))
        yield np.clip(frame + grain, 0, 255).astype(np.uint8)


def _camera(motion: str, speed: float, time_s: float, width: int, height: int, phases: np.ndarray) -> np.ndarray:
    """(2, 3) affine map from a canvas of twice the frame's size to the frame, which lies in its middle at first."""
    sign = -1.0 if motion in ("pan_right", "tilt_down", "zoom_out") else 1.0
    scale, angle, right, down = 1.0, 0.0, 0.0, 0.0
    if motion.startswith("pan"):
        right = sign * speed * width * time_s
    elif motion.startswith("tilt"):
        down = sign * speed * height * time_s
    elif motion.startswith("zoom"):
        scale = (1 + speed) ** (sign * time_s)
    elif motion.startswith("roll"):
        angle = speed * time_s
    elif motion == "handheld":
        right, down = speed * height * np.sin(2 * np.pi * np.array([0.9, 1.3]) * time_s + phases)
    view = cv2.getRotationMatrix2D((width, height), angle, scale)
    view[:, 2] += np.array([right - width / 2, down - height / 2])
    return view


def _busy_canvas(width: int, height: int, generator: np.random.Generator, pattern: str) -> np.ndarray:
    dark, light = (generator.uniform(low, high, 3) for low, high in ((10, 110), (120, 250)))
    kind = pattern or str(generator.choice(PATTERNS))
    cell = int(generator.integers(10, 40))
    rows, columns = np.mgrid[:height, :width]
    if kind == "bricks":
        shift = (rows // cell % 2) * cell
        share = (((rows % cell) > cell // 6) & (((columns + shift) % (2 * cell)) > cell // 6)).astype(np.float32)
    elif kind == "stripes":
        share = 0.5 + 0.5 * np.sign(np.sin((rows * np.sin(cell) + columns * np.cos(cell)) * 2 * np.pi / cell))
    elif kind == "windows":
        wall = ((rows % (2 * cell)) > cell // 2) & ((columns % (2 * cell)) > cell)
        lit = np.kron(generator.random((height // 2 // cell + 1, width // 2 // cell + 1)), np.ones((2 * cell, 2 * cell)))
        share = np.where(wall, lit[:height, :width], 0.2)
    else:
        noise = cv2.GaussianBlur(generator.standard_normal((height, width)), (0, 0), cell / (8 if kind == "leaves" else 3))
        share = np.clip(0.5 + noise / noise.std(), 0, 1) if kind == "leaves" else (noise > 0).astype(np.float64)
    share = cv2.GaussianBlur(np.asarray(share, np.float32), (0, 0), 0.7)[..., None]
    return (dark * (1 - share) + light * share).astype(np.float32)
