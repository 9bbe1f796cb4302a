"""Draws one shot of a sample film: a textured world, one subject in it, a camera that looks at it, and the shot's flaws.

Units: time in seconds from the shot's first frame, lengths on screen in pixels with pixel centres at whole numbers, x to the
right and y down. A spec speaks in shares of the frame, so that one spec draws the same picture at every size. The world is a
periodic canvas of twice the frame's size: a camera may travel any distance and never meets its edge.

Camera words follow the camera, not the picture: `pan_right` turns the camera right (the picture slides left), `tilt_up` slides
the picture down, `zoom_in` enlarges it, `roll_clockwise` turns the picture anticlockwise.
"""

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40), "green": (40, 170, 70), "blue": (45, 80, 215), "yellow": (235, 205, 45),
}
SHAPES = ("circle", "square", "triangle")
MOTIONS = (
    "static", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "roll_clockwise", "roll_anticlockwise",
    "handheld",
)
FLAWS = (
    "freeze",       # every frame is the first one
    "freeze_tail",  # the second half holds its first frame
    "crop",         # the middle 88 % enlarged, as a re-framed copy has it
    "blur",         # out of focus
    "dark",         # under-exposed, mean luma about 15 of 255
    "brighter",     # re-graded, as a copy has it
    "flash",        # one nearly white frame in the middle; not a cut
    "mosaic",       # pixelated middle
    "letterbox",    # black bars above and below
    "logo",         # half-transparent mark in the upper right corner
    "subtitle",     # one line of text in the bottom band
)
BACKGROUNDS = ("plain", "gradient", "texture", "black")
STILL = "still"
"""The direction of a subject that does not move."""

_DIRECTIONS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")
_SUBTITLES = (
    "I did not expect you.", "Where were you last night?", "We leave at dawn.", "It was never about money.", "Listen to the sea.",
)
# Regular polygons: number of sides, angle of the first side's outward normal, distance of the sides from the centroid (share of
# the side's length). The triangle stands on its base.
_POLYGONS = {"square": (4, 0.0, 0.5), "triangle": (3, math.pi / 2, 0.5 / math.sqrt(3))}
# Distance from centroid to the farthest point that may touch the frame's edge, share of `size`.
_REACH = {"circle": 0.5, "square": 0.5, "triangle": 1 / math.sqrt(3)}
_CROP_KEPT = 0.88


def _one_of(place: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{place} is {value!r}; known: {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One flat, evenly coloured thing. It moves straight and bounces off the frame's edges (as they lay when the shot began)."""

    colour: str
    shape: str
    size: float
    """Diameter of a circle, side of a square or triangle; share of the frame's height."""
    position: tuple[float, float] = (0.5, 0.5)
    """Centroid at the shot's first frame; shares of the frame's width and height."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Frame heights per second to the right and down (heights on both axes, so that an angle is an angle)."""

    def __post_init__(self) -> None:
        _one_of("Subject.colour", self.colour, tuple(COLOURS))
        _one_of("Subject.shape", self.shape, SHAPES)
        if not 0 < self.size < 1:
            raise ValueError(f"Subject.size is {self.size}; give a share of the frame's height between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How the camera moves."""

    motion: str = "static"
    speed: float = 0.0
    """Per second: pan, share of the frame's width; tilt, share of its height; zoom, relative enlargement; roll, degrees.
    Handheld: largest excursion, share of the frame's height."""

    def __post_init__(self) -> None:
        _one_of("Camera.motion", self.motion, MOTIONS)
        if (self.motion == "static") != (self.speed == 0) or self.speed < 0:
            raise ValueError(f"Camera.speed is {self.speed} for {self.motion!r}; static takes 0, any other motion more than 0")


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind the subject."""

    kind: str = "gradient"
    level: float = 0.5
    """Mean brightness, 0 to 1; without effect for `black`."""

    def __post_init__(self) -> None:
        _one_of("Background.kind", self.kind, BACKGROUNDS)


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """One shot and how it is joined to the one before it."""

    num_frames: int
    subject: Subject | None = None
    background: Background = Background()
    camera: Camera = Camera()
    flaws: tuple[str, ...] = ()
    """Names from FLAWS, in any order; they are applied in the order of FLAWS: lens and exposure first, overlays last."""
    transition_in: Literal["cut", "dissolve", "wipe", "fade"] = "cut"
    """Into this shot. `fade` goes through black; for the first shot only `cut` (start) or `fade` (from black) make sense."""
    transition_frames: int = 0
    """Frames of the transition, half in the shot before, the rest in this one; 0 for a cut, at least 4 otherwise."""
    black_hold: int = 0
    """Further black frames between the halves of a fade; they belong to the shot before."""
    look: int = 0
    """Seeds background, shake and text. Two scenes of equal look, subject, camera and film seed are the same take."""
    copy_of: str = ""
    """For near-duplicates: `film:shot number` of the original. A label for the truth, without effect on the picture."""

    def __post_init__(self) -> None:
        for flaw in self.flaws:
            _one_of("SceneSpec.flaws", flaw, FLAWS)
        _one_of("SceneSpec.transition_in", self.transition_in, ("cut", "dissolve", "wipe", "fade"))
        if self.num_frames < 1:
            raise ValueError(f"SceneSpec.num_frames is {self.num_frames}; a shot has at least one frame")
        if (self.transition_frames != 0) if self.transition_in == "cut" else (self.transition_frames < 4):
            given = f"{self.transition_frames} for a {self.transition_in}"
            raise ValueError(f"SceneSpec.transition_frames is {given}; a cut takes 0, every other transition at least 4")
        if self.black_hold and self.transition_in != "fade":
            raise ValueError(f"SceneSpec.black_hold is {self.black_hold} for a {self.transition_in}; only a fade can hold black")
        if self.transition_in == "fade" and self.background.kind == "black":
            raise ValueError("a black scene cannot fade in; lengthen the fade before it with black_hold, or cut to it")


class ScenePainter:
    """Paints frames of one scene, in any order; the same arguments always give the same pixels."""

    def __init__(self, scene: SceneSpec, *, width: int, height: int, fps: int | Fraction, seed: int) -> None:
        self.scene, self.width, self.height, self.fps = scene, width, height, fps
        self._seed = f"{seed}/{scene.look}"
        self._canvas = _canvas(scene.background, 2 * width, 2 * height, seeded(self._seed, "background"))
        self._subtitle = str(seeded(self._seed, "subtitle").choice(_SUBTITLES))
        shake = seeded(self._seed, "handheld")
        self._shake = shake.uniform(0.5, 3.0, (3, 3)), shake.uniform(0, 2 * math.pi, (3, 3))  # Hz and phase; axes x, y, roll
        self._still: np.ndarray | None = None  # the background when the camera does not move

    def centre(self, index: int) -> tuple[float, float]:
        """Where the subject's centroid appears in frame `index`, in pixels; may lie outside under a moving camera."""
        assert self.scene.subject is not None
        place, _ = self._path(index)
        x, y = self._view(self._time(index)) @ np.array([*place, 1.0])
        return float(x), float(y)

    def direction(self, index: int) -> str:
        """Where the subject goes in the world (not on screen) after frame `index`: one of eight directions or `still`."""
        assert self.scene.subject is not None
        return STILL if self._time(index + 1) == self._time(index) else heading(self._path(index)[1])

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 RGB (height, width, 3). Indices below 0 and from num_frames on are the handles of a dissolve."""
        time_s = self._time(index)
        view = self._view(time_s)
        image = self._background(view)
        if self.scene.subject is not None:
            self._draw_subject(image, self.scene.subject, index, view)
        return self._spoil(image, index)

    def _time(self, index: int) -> float:
        """Seconds of scene time that frame `index` shows; stands still in a freeze."""
        if "freeze" in self.scene.flaws:
            index = 0
        elif "freeze_tail" in self.scene.flaws:
            index = min(index, self.scene.num_frames // 2)
        return float(index / self.fps)

    def _path(self, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """The subject's place (pixels, world) and velocity (pixels per second) in frame `index`."""
        subject = self.scene.subject
        assert subject is not None
        reach, time_s = _REACH[subject.shape] * subject.size * self.height, self._time(index)
        steps = [
            _bounce(share * side - 0.5, speed * self.height, time_s, reach - 0.5, side - 0.5 - reach)
            for share, speed, side in zip(subject.position, subject.velocity, (self.width, self.height), strict=True)
        ]
        (x, vx), (y, vy) = steps
        return (x, y), (vx, vy)

    def _view(self, time_s: float) -> np.ndarray:
        """(2, 3) affine map from world pixels (frame coordinates at rest) to screen pixels."""
        motion, speed = self.scene.camera.motion, self.scene.camera.speed
        shift, scale, angle = np.zeros(2), 1.0, 0.0
        sign = -1.0 if motion in ("pan_right", "tilt_down", "zoom_out", "roll_clockwise") else 1.0
        if motion.startswith("pan"):
            shift[0] = sign * speed * self.width * time_s
        elif motion.startswith("tilt"):
            shift[1] = sign * speed * self.height * time_s
        elif motion.startswith("zoom"):
            scale = (1 + speed) ** (sign * time_s)
        elif motion.startswith("roll"):
            angle = math.radians(sign * speed * time_s)  # positive turns clockwise on a screen whose y axis points down
        elif motion == "handheld":
            hertz, phase = self._shake
            wave = np.sin(2 * math.pi * hertz * time_s + phase).mean(axis=1)
            shift, angle = wave[:2] * speed * self.height, float(wave[2]) * speed / 2
        if "crop" in self.scene.flaws:
            shift, scale = shift / _CROP_KEPT, scale / _CROP_KEPT
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return np.column_stack([turn, middle + shift - turn @ middle])

    def _background(self, view: np.ndarray) -> np.ndarray:
        if self._still is not None:
            return self._still.copy()
        from_canvas = view.copy()
        from_canvas[:, 2] -= view[:, :2] @ np.array([self.width / 2, self.height / 2])  # the frame lies in the canvas's middle
        size = (self.width, self.height)
        image = cv2.warpAffine(self._canvas, from_canvas, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        if self.scene.camera.motion == "static":
            self._still = image
        return image.copy()

    def _draw_subject(self, image: np.ndarray, subject: Subject, index: int, view: np.ndarray) -> None:
        scale, angle = math.hypot(view[0, 0], view[1, 0]), math.atan2(view[1, 0], view[0, 0])
        size = subject.size * self.height * scale
        x, y = self.centre(index)
        margin = 0.75 * size + 2  # the farthest corner lies at 0.71 of the size
        top, bottom = (int(np.clip(edge, 0, self.height)) for edge in (y - margin, y + margin))
        left, right = (int(np.clip(edge, 0, self.width)) for edge in (x - margin, x + margin))
        rows, columns = np.ogrid[top:bottom, left:right]
        outside = _distance(subject.shape, columns - x, rows - y, size, angle)
        cover = np.clip(0.5 - outside, 0, 1)[..., None]  # area of the pixel that the subject covers, to first order
        patch = image[top:bottom, left:right]
        patch[:] = np.rint(patch * (1 - cover) + np.array(COLOURS[subject.colour]) * cover).astype(np.uint8)

    def _spoil(self, image: np.ndarray, index: int) -> np.ndarray:
        flaws = self.scene.flaws
        if "blur" in flaws:
            image = cv2.GaussianBlur(image, (0, 0), 0.035 * self.height)
        if "dark" in flaws:
            image = cv2.convertScaleAbs(image, alpha=0.12)
        if "brighter" in flaws:
            image = cv2.convertScaleAbs(image, alpha=1.1, beta=8)
        if "flash" in flaws and index == self.scene.num_frames // 2:
            image = cv2.convertScaleAbs(image, alpha=0.1, beta=228)
        if "mosaic" in flaws:
            _pixelate(image)
        if "letterbox" in flaws:
            bar = round(0.12 * self.height)
            image[:bar] = 0
            image[self.height - bar:] = 0
        if "logo" in flaws:
            _stamp_logo(image)
        if "subtitle" in flaws:
            _write_line(image, self._subtitle)
        return image


def heading(velocity: tuple[float, float]) -> str:
    """The nearest of eight directions (`right`, `down and right`, ...), or `still` for no velocity."""
    right, down = velocity
    if right == down == 0:
        return STILL
    return _DIRECTIONS[round(math.atan2(down, right) / (math.pi / 4)) % 8]


def seeded(*parts: str) -> np.random.Generator:
    """A generator whose numbers depend on `parts` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:8], "big"))


def _bounce(start: float, speed: float, time_s: float, low: float, high: float) -> tuple[float, float]:
    """Place and velocity of a point that moves between two walls; `start` is moved between them first."""
    room = high - low
    if room <= 0:
        return (low + high) / 2, 0.0
    travelled = (min(max(start, low), high) - low + speed * time_s) % (2 * room)
    return (low + travelled, speed) if travelled <= room else (low + 2 * room - travelled, -speed)


def _distance(shape: str, x: np.ndarray, y: np.ndarray, size: float, angle: float) -> np.ndarray:
    """Signed distance in pixels from the shape's outline, negative inside. A convex polygon is the farthest of its sides."""
    if shape == "circle":
        return np.hypot(x, y) - size / 2
    sides, first, apothem = _POLYGONS[shape]
    normals = (first + angle + 2 * math.pi * side / sides for side in range(sides))
    return np.max([x * math.cos(normal) + y * math.sin(normal) for normal in normals], axis=0) - apothem * size


def _canvas(background: Background, width: int, height: int, generator: np.random.Generator) -> np.ndarray:
    """The periodic world, uint8 (height, width, 3), in muted colours so that no part passes for a subject."""
    if background.kind == "black":
        return np.zeros((height, width, 3), np.uint8)
    tint = generator.uniform(-0.035, 0.035, 3)
    light = np.zeros((height, width, 1))
    if background.kind == "gradient":
        light[..., 0] = 0.1 * _wave(width, height, generator.uniform(0, 2 * math.pi))
    elif background.kind == "texture":
        light = 0.1 * np.stack([_cloud(width, height, generator)] * 3, axis=-1)
        light += 0.012 * np.stack([_cloud(width, height, generator) for _ in range(3)], axis=-1)
    return np.rint(255 * np.clip(background.level + tint + light, 0.02, 0.98)).astype(np.uint8)


def _wave(width: int, height: int, angle: float) -> np.ndarray:
    """One sine period over the canvas on each axis, mixed by `angle`; across the frame in its middle it is a soft ramp."""
    across = np.sin(2 * math.pi * (np.arange(width) / width - 0.5))
    down = np.sin(2 * math.pi * (np.arange(height) / height - 0.5))
    return math.cos(angle) * across[None, :] + math.sin(angle) * down[:, None]


def _cloud(width: int, height: int, generator: np.random.Generator) -> np.ndarray:
    """Noise with a falling spectrum (zero mean, unit deviation), without its finest detail so that codecs keep it."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None, :] * width)
    gain = np.exp(-((frequency / (min(width, height) / 10)) ** 2)) / np.maximum(frequency, 1.0) ** 1.3
    gain[frequency < 2.5] = 0  # wider than the frame: would make one end of a pan brighter than the other
    spectrum = np.fft.rfft2(generator.standard_normal((height, width))) * gain
    noise = np.fft.irfft2(spectrum, (height, width))
    return noise / noise.std()


def _pixelate(image: np.ndarray) -> None:
    height, width = image.shape[:2]
    cell = max(4, height // 14)
    rows, columns = max(1, round(0.5 * height / cell)), max(1, round(0.5 * width / cell))
    top, left = (height - rows * cell) // 2, (width - columns * cell) // 2
    region = image[top:top + rows * cell, left:left + columns * cell]
    small = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    region[:] = np.kron(small, np.ones((cell, cell, 1), np.uint8))


def _stamp_logo(image: np.ndarray) -> None:
    height, width = image.shape[:2]
    stamped = image.copy()
    side = round(0.2 * height)
    left, top = width - side - round(0.06 * height), round(0.06 * height)
    cv2.rectangle(stamped, (left, top), (left + side, top + side // 2), (245, 245, 245), -1, cv2.LINE_AA)
    place, scale = (left + side // 6, top + round(0.42 * side)), side / 64
    cv2.putText(stamped, "TV", place, cv2.FONT_HERSHEY_DUPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
    cv2.addWeighted(stamped, 0.7, image, 0.3, 0, dst=image)


def _write_line(image: np.ndarray, text: str) -> None:
    height, width = image.shape[:2]
    font = cv2.FONT_HERSHEY_SIMPLEX
    (natural, _), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(height / 320, 0.92 * width / natural)
    (length, _), _ = cv2.getTextSize(text, font, scale, 1)
    ink = np.zeros((height, width), np.uint8)
    place, thickness = ((width - length) // 2, round(0.93 * height)), max(1, height // 200)
    cv2.putText(ink, text, place, font, scale, (255,), thickness, cv2.LINE_AA)
    outline = cv2.dilate(ink, np.ones((3, 3), np.uint8), iterations=thickness)  # a thicker font would also be a wider one
    image[:] = np.rint(image * (1 - outline[..., None] / 255.0)).astype(np.uint8)
    np.maximum(image, ink[..., None], out=image)
