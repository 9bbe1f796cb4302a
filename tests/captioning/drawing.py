"""Ground truth for the captioning experts: drawn independently of the sample films, with OpenCV's own shapes and warps."""

import cv2
import numpy as np

COLOURS = {
    "red": (220, 35, 35), "orange": (240, 140, 20), "yellow": (235, 210, 40), "green": (40, 165, 65), "cyan": (30, 200, 210),
    "blue": (40, 75, 220), "purple": (120, 40, 200), "magenta": (220, 40, 200),
}
SHAPES = ("circle", "square", "triangle")
HEADINGS = {
    "right": (1, 0), "down and right": (1, 1), "down": (0, 1), "down and left": (-1, 1), "left": (-1, 0), "up and left": (-1, -1),
    "up": (0, -1), "up and right": (1, -1),
}
_FINE = 4  # shapes are drawn this much larger and reduced: fractional places and soft edges


def texture(seed: int, side: int = 512) -> np.ndarray:
    """A gray, slightly tinted world of blobs of three sizes, uint8 (side, side, 3)."""
    generator = np.random.default_rng(seed)
    light = np.full((side, side, 1), 120, np.float32)
    for cell, strength in ((6, 12), (16, 18), (64, 18)):
        noise = generator.normal(size=(side // cell + 2, side // cell + 2)).astype(np.float32)
        light[..., 0] += strength * cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(light + generator.uniform(-6, 6, 3).astype(np.float32), 5, 250).astype(np.uint8)


def draw(image: np.ndarray, shape: str, rgb: tuple[int, int, int], center: tuple[float, float], size: float) -> np.ndarray:
    """The image with a shape on it; center and size (diameter or side) in pixels."""
    large = cv2.resize(image, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_LINEAR)
    x, y, half = center[0] * _FINE, center[1] * _FINE, size * _FINE / 2
    if shape == "circle":
        cv2.circle(large, (round(x), round(y)), round(half), rgb, -1)
    else:
        height = half * np.sqrt(3)
        corners = {
            "square": [(-half, -half), (half, -half), (half, half), (-half, half)],
            "triangle": [(0, -height * 2 / 3), (half, height / 3), (-half, height / 3)],
            "bar": [(-half, -half / 4), (half, -half / 4), (half, half / 4), (-half, half / 4)],
        }[shape]
        cv2.fillPoly(large, [np.array([(round(x + dx), round(y + dy)) for dx, dy in corners], np.int32)], rgb)
    return cv2.resize(large, image.shape[1::-1], interpolation=cv2.INTER_AREA)


def film(
    shape: str, colour: str, *, start: tuple[float, float] = (0.5, 0.5), step: tuple[float, float] = (0.0, 0.0),
    size: float = 0.28, num_frames: int = 17, side: int = 128, background: np.ndarray | int = 110,
) -> np.ndarray:
    """(F, side, side, 3): one subject that moves by `step` per frame (shares of the frame, as `start` and `size`)."""
    plain = np.full((side, side, 3), background, np.uint8) if isinstance(background, int) else background[:side, :side]
    places = [(start[0] + step[0] * index, start[1] + step[1] * index) for index in range(num_frames)]
    return np.stack([draw(plain, shape, COLOURS[colour], (x * side, y * side), size * side) for x, y in places])


def crude_codec(frames: np.ndarray, seed: int, *, side: int = 32, blur: float = 0.7, noise: float = 8.0) -> np.ndarray:
    """Reduced to `side` pixels, blurred, and noisy."""
    generator = np.random.default_rng(seed)
    small = [cv2.GaussianBlur(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), (0, 0), blur) for frame in frames]
    return np.stack([np.clip(frame + noise * generator.normal(size=frame.shape), 0, 255).astype(np.uint8) for frame in small])


def camera_film(
    world: np.ndarray, *, pan: float = 0.0, tilt: float = 0.0, zoom: float = 0.0, roll: float = 0.0, shake: float = 0.0,
    num_frames: int = 32, fps: float = 16.0, width: int = 160, height: int = 120, subject: bool = True,
) -> np.ndarray:
    """A camera over `world`, with a red circle that moves on its own. Rates per second, units and signs of CameraFinding."""
    generator = np.random.default_rng(7)
    middle = world.shape[0] / 2
    frames = []
    for index in range(num_frames):
        time = (index - num_frames / 2) / fps
        x = middle + pan * width * time + shake * width * generator.normal()
        y = middle - tilt * height * time + shake * height * generator.normal()
        scale, angle = np.exp(-2 * zoom * time), 2 * roll * time  # screen pixel -> world: the camera's own scale and angle
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        to_world = np.array([
            [cos, -sin, x - cos * width / 2 + sin * height / 2], [sin, cos, y - sin * width / 2 - cos * height / 2],
        ])
        frame = cv2.warpAffine(
            world, to_world, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
        )
        if subject:
            frame = draw(frame, "circle", COLOURS["red"], (width * (0.3 + 0.4 * index / num_frames), height / 2), 0.3 * height)
        frames.append(frame)
    return np.stack(frames)
