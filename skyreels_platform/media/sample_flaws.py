"""Draws flaws of a frame's geometry onto clips, with known truth: bars, mosaic, blurred boxes, split screens, inset pictures.

Every number that a flaw needs (ratio, colour, block size, place, path) is drawn from the given generator, so that a test bench of
hundreds of different shots is a list of seeds. Nothing is drawn that nobody could see: a mosaic or blur over an even area is
placed anew, and `FlawTruth.visible` says how strong it came out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

KINDS = (
    "letterbox", "pillarbox", "windowbox", "blurred_fill", "mosaic", "moving_mosaic", "blurred_box", "split_screen",
    "picture_in_picture",
)
LETTERBOX_RATIOS = (1.9, 2.0, 2.2, 2.35, 2.39, 2.76)
PILLARBOX_RATIOS = (9 / 16, 0.8, 1.0, 1.2, 4 / 3, 1.5)
SMALLEST_BAR = 0.02
"""Share of the side that one bar takes at least."""
BLOCKS = (4, 48)
"""Side of a mosaic's blocks in pixels, smallest and largest."""
VISIBLE = 6.0
"""Levels of 255 by which neighbouring blocks differ on average, or by which a blur changes a pixel, to be called visible."""
FAINTEST_STEP = 4.0
"""Levels of 255 by which two blocks side by side differ before anybody sees that they are two."""
PATCHY = 0.5
"""Share of a mosaic's blocks side by side that differ by FAINTEST_STEP, below which it is called invisible: over an even ground it comes
out as some lone squares."""
_COLOURS = (
    (0, 0, 0), (0, 0, 0), (0, 0, 0), (16, 16, 16), (28, 28, 30), (255, 255, 255), (30, 60, 160), (150, 20, 40), (90, 140, 90),
)  # fmt: skip
_TRIES = 40


@dataclass(frozen=True, kw_only=True)
class FlawTruth:
    """What was drawn."""

    kind: str
    """One of KINDS."""
    boxes: np.ndarray
    """(F, 4) int: x0, y0, x1, y1 in pixels per frame, ends exclusive. Bars: the picture inside them. Split screen: the first
    half. Everything else: the area that the flaw takes."""
    visible: float
    """Levels of 255: mean step between neighbouring blocks of a mosaic, mean change by a blur; 255 for the other kinds."""
    detail: str
    """The parameters, for reading."""
    differing: float = 1.0
    """Share of a mosaic's blocks side by side that differ by FAINTEST_STEP: over an even ground a few blocks may bring all of the mean."""

    @property
    def is_visible(self) -> bool:
        return self.visible >= VISIBLE and self.differing >= PATCHY

    def share(self, width: int, height: int) -> float:
        """Share of the frame inside the box, at its largest over the frames."""
        x0, y0, x1, y1 = self.boxes.T
        return float(((x1 - x0) * (y1 - y0)).max()) / (width * height)


def draw_flaw(
    kind: str, clip: np.ndarray, generator: np.random.Generator, *, other: np.ndarray | None = None,
    centres: np.ndarray | None = None, with_text: bool = True,
) -> tuple[np.ndarray, FlawTruth]:
    """A copy of `clip` (F, H, W, 3) uint8 RGB with one flaw, and its truth.

    other: a second clip of the same shape, for `split_screen` and `picture_in_picture`. centres: (F, 2) x and y in pixels that a
    `moving_mosaic` follows; without them it follows a path of its own.
    with_text: some bars carry a subtitle or a logo. ValueError for an unknown kind or a missing second clip.
    """
    if kind not in KINDS:
        raise ValueError(f"flaw {kind!r} is unknown; known: {', '.join(KINDS)}")
    if kind in ("split_screen", "picture_in_picture"):
        if other is None or other.shape != clip.shape:
            raise ValueError(f"a {kind} needs `other`, a second clip of the shape {clip.shape}")
        draw = _split if kind == "split_screen" else _inset
        return draw(clip, other, generator)
    if kind in ("mosaic", "moving_mosaic"):
        return _mosaic(clip, generator, kind, centres)
    if kind == "blurred_box":
        return _blurred_box(clip, generator)
    return _blurred_fill(clip, generator) if kind == "blurred_fill" else _bars(clip, generator, kind, with_text)


def _bars(clip: np.ndarray, generator: np.random.Generator, kind: str, with_text: bool) -> tuple[np.ndarray, FlawTruth]:
    count, height, width = clip.shape[:3]
    high, wide = height, width
    if kind != "pillarbox":
        high = _inner(height, width, [1 / ratio for ratio in LETTERBOX_RATIOS], generator)
    if kind != "letterbox":
        wide = _inner(width, high, PILLARBOX_RATIOS, generator)
    lean = 0.5 if generator.random() < 0.85 else generator.uniform(0.3, 0.7)
    top, left = round(lean * (height - high)), (width - wide) // 2
    colour = _COLOURS[generator.integers(len(_COLOURS))]
    softness = generator.uniform(0.002, 0.008) * height if generator.random() < 0.3 else 0.0
    cover = np.zeros((height, width), np.float32)
    cover[top:top + high, left:left + wide] = 1
    if softness:
        cover = cv2.GaussianBlur(cover, (0, 0), softness)
    overlay = generator.choice(("none", "none", "subtitle", "logo")) if kind != "pillarbox" and with_text else "none"
    out = np.empty_like(clip)
    for index in range(count):
        out[index] = _mix(np.full_like(clip[index], colour), clip[index], cover)
        below = height - top - high
        if overlay == "subtitle" and below > 0.06 * height and 0.2 * count < index < 0.8 * count:
            _write(out[index], "She never said where she went.", 0.2 * width, top + high + 0.7 * below, 0.45 * below, colour)
        if overlay == "logo" and top > 0.06 * height:
            _write(out[index], "NEWS 7", 0.04 * width, 0.75 * top, 0.55 * top, colour)
    box = (left, top, left + wide, top + high)
    detail = f"{wide}x{high} in {width}x{height}, colour {colour}, softness {softness:.1f} px, {overlay}"
    return out, _still(kind, count, box, detail)


def _blurred_fill(clip: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, FlawTruth]:
    """A narrower picture before a blurred, enlarged copy of itself."""
    count, height, width = clip.shape[:3]
    wide = _inner(width, height, PILLARBOX_RATIOS[:5], generator)
    left, scale, sigma = (width - wide) // 2, width / wide, generator.uniform(0.02, 0.05) * height
    dim = generator.uniform(0.6, 1.0)
    out = np.empty_like(clip)
    for index in range(count):
        picture = clip[index, :, left:left + wide]
        rows = round(height / scale)
        part = picture[(height - rows) // 2:][:rows]
        small = cv2.resize(part, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        fill = cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (width, height), interpolation=cv2.INTER_LINEAR)
        out[index] = cv2.convertScaleAbs(fill, alpha=dim)
        out[index, :, left:left + wide] = picture
    detail = f"{wide} of {width} columns, blur {sigma:.1f} px, dimmed to {dim:.2f}"
    return out, _still("blurred_fill", count, (left, 0, left + wide, height), detail)


def _mosaic(
    clip: np.ndarray, generator: np.random.Generator, kind: str, centres: np.ndarray | None
) -> tuple[np.ndarray, FlawTruth]:
    count, height, width = clip.shape[:3]
    truth: FlawTruth | None = None
    for _ in range(_TRIES):
        block = round(math.exp(generator.uniform(math.log(BLOCKS[0]), math.log(BLOCKS[1]))))
        rows, columns = (
            int(np.clip(round(generator.uniform(0.18, 0.55) * side / block), 4, side // block)) for side in (height, width)
        )
        tall, wide = rows * block, columns * block
        if tall < 3 * block or wide < 3 * block or tall * wide > 0.4 * height * width:
            continue
        still = np.array([[generator.uniform(wide / 2, width - wide / 2), generator.uniform(tall / 2, height - tall / 2)]])
        if kind == "mosaic":
            path = np.repeat(still, count, axis=0)
        elif centres is not None:
            path = np.asarray(centres, float)
        else:
            path = still + np.arange(count)[:, None] * generator.uniform(-0.006, 0.006, 2) * height
        x0 = np.clip(np.rint(path[:, 0] - wide / 2), 0, width - wide).astype(int)
        y0 = np.clip(np.rint(path[:, 1] - tall / 2), 0, height - tall).astype(int)
        boxes = np.stack([x0, y0, x0 + wide, y0 + tall], axis=1)
        steps = np.concatenate([_cell_steps(_part(clip[index], boxes[index]), rows, columns) for index in (0, count // 2, -1)])
        step, differing = float(steps.mean()), float(np.mean(steps >= FAINTEST_STEP))
        if truth is None or (min(differing, PATCHY), step) > (min(truth.differing, PATCHY), truth.visible):
            detail = f"{columns}x{rows} blocks of {block} px, step {step:.1f}"
            truth = FlawTruth(kind=kind, boxes=boxes, visible=step, detail=f"{detail} in {differing:.2f}", differing=differing)
            chosen = rows, columns, block
        if truth.is_visible:
            break
    assert truth is not None, f"no mosaic fits into {width} x {height}"
    rows, columns, block = chosen
    out = clip.copy()
    for index, (left, top, right, bottom) in enumerate(truth.boxes):
        cells = cv2.resize(clip[index, top:bottom, left:right], (columns, rows), interpolation=cv2.INTER_AREA)
        out[index, top:bottom, left:right] = cells.repeat(block, axis=0).repeat(block, axis=1)
    return out, truth


def _blurred_box(clip: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, FlawTruth]:
    count, height, width = clip.shape[:3]
    best: tuple[float, tuple[int, int, int, int], float, bool] | None = None
    for _ in range(_TRIES):
        wide, tall = (round(generator.uniform(0.15, 0.45) * side) for side in (width, height))
        left, top = int(generator.integers(0, width - wide + 1)), int(generator.integers(0, height - tall + 1))
        sigma, oval = generator.uniform(0.015, 0.04) * height, bool(generator.random() < 0.3)
        part = clip[count // 2, top:top + tall, left:left + wide].astype(np.float32)
        change = float(np.abs(part - cv2.GaussianBlur(part, (0, 0), sigma)).mean())
        if best is None or change > best[0]:
            best = change, (left, top, left + wide, top + tall), sigma, oval
        if change >= VISIBLE:
            break
    assert best is not None
    change, box, sigma, oval = best
    left, top, right, bottom = box
    if oval:
        down, across = np.ogrid[:height, :width]
        rise, run = (2 * down + 1 - top - bottom) / (bottom - top), (2 * across + 1 - left - right) / (right - left)
        cover = (rise * rise + run * run <= 1).astype(np.uint8)
    else:
        cover = np.zeros((height, width), np.uint8)
        cover[top:bottom, left:right] = 1
    out = clip.copy()
    inside = slice(top, bottom), slice(left, right)
    for index in range(count):
        blurred = cv2.GaussianBlur(clip[index][inside], (0, 0), sigma)
        out[index][inside] = np.where(cover[inside][..., None] > 0, blurred, clip[index][inside])
    detail = f"{'oval' if oval else 'box'} {right - left}x{bottom - top}, blur {sigma:.1f} px, change {change:.1f}"
    return out, _still("blurred_box", count, box, detail, change)


def _split(clip: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, FlawTruth]:
    count, height, width = clip.shape[:3]
    upright = bool(generator.random() < 0.7)
    side = width if upright else height
    at = round(side * (0.5 if generator.random() < 0.6 else generator.uniform(0.33, 0.67)))
    gap = int(generator.integers(1, max(2, round(0.008 * side)))) if generator.random() < 0.5 else 0
    axis = 2 if upright else 1
    shift = (side - at) // 2  # each half shows the middle of its clip
    first = np.take(clip, range(shift, shift + at), axis=axis)
    second = np.take(other, range(at // 2, at // 2 + side - at), axis=axis)
    out = np.concatenate([first, second], axis=axis)
    line = [slice(None)] * 4
    line[axis] = slice(at, at + gap)
    out[tuple(line)] = int(generator.choice((0, 0, 255)))
    box = (0, 0, at, height) if upright else (0, 0, width, at)
    place = "side by side" if upright else "one above the other"
    return out, _still("split_screen", count, box, f"{place} at {at}, gap {gap} px")


def _inset(clip: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, FlawTruth]:
    count, height, width = clip.shape[:3]
    scale = generator.uniform(0.22, 0.42)
    wide, tall = round(scale * width), round(scale * height)
    margin = round(generator.uniform(0.02, 0.06) * height)
    left = margin if generator.random() < 0.5 else width - wide - margin
    top = margin if generator.random() < 0.5 else height - tall - margin
    frame = int(generator.integers(1, max(2, round(0.006 * height) + 1))) if generator.random() < 0.5 else 0
    colour = int(generator.choice((0, 255)))
    out = clip.copy()
    for index in range(count):
        out[index, top - frame:top + tall + frame, left - frame:left + wide + frame] = colour
        out[index, top:top + tall, left:left + wide] = cv2.resize(other[index], (wide, tall), interpolation=cv2.INTER_AREA)
    box = (left, top, left + wide, top + tall)
    return out, _still("picture_in_picture", count, box, f"{wide}x{tall} at {left},{top}, frame {frame} px")


def _still(kind: str, count: int, box: tuple[int, int, int, int], detail: str, visible: float = 255.0) -> FlawTruth:
    return FlawTruth(kind=kind, boxes=np.repeat([box], count, axis=0), visible=visible, detail=detail)


def _inner(side: int, across: int, ratios: Sequence[float], generator: np.random.Generator) -> int:
    """Length of a picture on `side` for one of `ratios` (side to across) that leaves visible bars; even, as films are."""
    limit = side * (1 - 2 * SMALLEST_BAR)
    fitting = [ratio * across for ratio in ratios if 0.3 * side <= ratio * across <= limit]
    length = float(generator.choice(fitting)) if fitting else generator.uniform(0.6, 1 - 2 * SMALLEST_BAR) * side
    return round(length / 2) * 2


def _mix(ground: np.ndarray, picture: np.ndarray, cover: np.ndarray) -> np.ndarray:
    weight = cover[..., None]
    return np.rint(ground * (1 - weight) + picture * weight).astype(np.uint8)


def _write(image: np.ndarray, text: str, x: float, y: float, size: float, ground: tuple[int, int, int]) -> None:
    ink = (245, 245, 245) if sum(ground) < 384 else (20, 20, 20)
    cv2.putText(image, text, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, size / 30, ink, 1, cv2.LINE_AA)


def _part(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    left, top, right, bottom = box
    return image[top:bottom, left:right]


def _cell_steps(part: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Absolute luma steps between neighbouring blocks."""
    cells = cv2.cvtColor(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float64)
    return np.concatenate([np.abs(np.diff(cells, axis=axis)).ravel() for axis in (0, 1)])
