"""The main coloured subject of a shot, read from its pixels: colour, shape, position, motion.

Everything happens in the chroma plane (Cb, Cr): a textured but muted background is one point there, a saturated subject another,
and a pixel on the subject's edge lies between them in proportion to the area covered. So the outline is where that share crosses
one half, at sub-pixel precision, and it survives blur: the same code reads 128-pixel films and 32-pixel films from a crude codec.

It answers only when one compact, evenly coloured, saturated blob stands out for most of the shot, and None otherwise: on real
footage that is the usual answer. Cost: about 3 ms per frame on one core, at most 33 frames per shot.
"""

import colorsys
import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

VERSION = "subject-rules-1"

SHAPES = ("circle", "square", "triangle", "other")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "magenta")
Drift = tuple[float, float, float, float]
_HUES = (
    (14, "red"), (41, "orange"), (68, "yellow"), (165, "green"), (200, "cyan"), (255, "blue"), (288, "purple"), (345, "magenta"),
)  # upper limits in degrees
DIRECTIONS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")

_WORK_SIDE = 128        # long side in pixels
_MAX_FRAMES = 33
_MIN_CHROMA = 24.0      # distance from the background in (Cb, Cr), of about 128
_MIN_SATURATION = 0.5   # HSV, of the subject's mean colour
_MIN_VALUE = 0.3
_AREA = (0.003, 0.4)    # share of the frame
_MIN_SHARE_OF_COLOUR = 0.6  # of all that stands out, the subject must be this much
_MIN_FRAMES_SEEN = 0.5
_MAX_UNEVEN = 0.25      # deviation of the cover inside the blob
_MAX_LUMA_UNEVEN = 20.0  # the same for its brightness, of 255: faces and fur have more, flat things less
_MAX_AREA_SPREAD = 0.5  # quartile range of the area over its median
_MAX_HALO = 0.25        # see _look
_MIN_TRAVEL = 0.03      # of the frame: less is standing still
_MIN_TURN = 0.05        # of the frame: a coordinate that comes back by this much has turned round
_MAX_JUMP = 0.35        # of the frame between two looks
_SHARP = 0.085          # width of the rim over the square root of the area: 0.05 in a 128-pixel film, 0.2 after a crude codec
_PATCH = 96             # pixels of the square on which an outline is judged


@dataclass(frozen=True, kw_only=True)
class SubjectFinding:
    """One subject over one shot. Places and distances are shares of the frame, x to the right and y down."""

    colour: str
    """One of COLOURS."""
    shape: str
    """One of SHAPES."""
    position: str
    """Ninth of the frame at the first sighting: `upper left`, `left`, `centre`, ..."""
    direction: str
    """One of DIRECTIONS, of the first straight leg; '' when it stands still or has no direction."""
    is_still: bool
    """It travels less than 3 % of the frame."""
    is_bouncing: bool
    """It turns round at least once."""
    speed: float
    """Mean distance per frame of the input along its path."""
    area: float
    """Median share of the frame that it covers."""
    place: tuple[float, float]
    """Centroid at the first sighting."""
    rgb: tuple[int, int, int]
    """Mean colour of its inside."""
    confidence: float
    """0..1: share of frames in which it was seen times the share of shape votes that agree."""

    @property
    def name(self) -> str:
        """`red circle`; `red shape` when the outline is none of the three."""
        return f"{self.colour} {'shape' if self.shape == 'other' else self.shape}"

    @property
    def action(self) -> str:
        """`stands still`, `moves right`, `moves up and left and bounces`, `moves`."""
        if self.is_still:
            return "stands still"
        return "moves" + (f" {self.direction}" if self.direction else "") + (" and bounces" if self.is_bouncing else "")


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    index: int
    center: tuple[float, float]  # pixels of the work frame
    area: float
    is_clipped: bool
    luma_spread: float  # deviation of the brightness inside
    edge_width: float  # of the half-covered rim, relative to the square root of the area
    outline: np.ndarray
    cover: np.ndarray
    rgb: np.ndarray


def describe_subject(frames: np.ndarray, drift: Drift = (0.0, 0.0, 0.0, 0.0)) -> SubjectFinding | None:
    """The clear single saturated subject of `frames` (F, H, W, 3) uint8 RGB, or None.

    `drift` is the camera's motion per frame (pan, tilt, zoom, roll as in CameraFinding, divided by fps): with it the motion is
    the subject's own, without it the motion on screen.
    """
    indices = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MAX_FRAMES)).round().astype(int))
    images = [_work_frame(frames[index]) for index in indices]
    offsets = [_chroma_offset(image) for image in images]
    subject = _subject_chroma(offsets)
    if subject is None:
        return None
    sightings = []
    for index, image, offset in zip(indices, images, offsets, strict=True):
        sighting = _look(int(index), image, offset, subject)
        if sighting is not None:
            sightings.append(sighting)
    return _conclude(sightings, len(indices), frames.shape[1:3], drift)


def _work_frame(frame: np.ndarray) -> np.ndarray:
    scale = _WORK_SIDE / max(frame.shape[:2])
    if scale == 1:
        return frame
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _chroma_offset(image: np.ndarray) -> np.ndarray:
    """(Cr, Cb) relative to the background's, (H, W, 2) float32; the median pixel is background: a subject covers under 40 %."""
    plane = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32), (0, 0), 1.0)
    return plane - np.median(plane.reshape(-1, 2)[::7], axis=0)


def _subject_chroma(offsets: list[np.ndarray]) -> np.ndarray | None:
    """Chroma of what stands out most, relative to the background: median over frames of the mean inside the largest blob."""
    found = []
    for offset in offsets:
        distance = cv2.magnitude(*cv2.split(offset))
        strong = (distance > max(0.6 * _MIN_CHROMA, 0.6 * float(np.percentile(distance, 99.7)))).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(strong)
        if count < 2:
            continue
        largest = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        inside = cv2.erode(largest.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        found.append(offset[inside if inside.sum() >= 9 else largest].mean(axis=0))
    if len(found) < _MIN_FRAMES_SEEN * len(offsets):
        return None
    subject = np.median(found, axis=0)
    return subject if np.hypot(*subject) >= _MIN_CHROMA else None


def _look(index: int, image: np.ndarray, offset: np.ndarray, subject: np.ndarray) -> _Sighting | None:
    """The subject in one frame, or None when it is not there, not alone, or not one even patch."""
    basis = np.array([subject, [-subject[1], subject[0]]], np.float32) / np.float32(subject @ subject)
    cover, across = cv2.split(cv2.transform(offset, basis))
    across = np.abs(across)
    is_subject = (cover > 0.5) & (across <= 0.35)
    others = (cv2.magnitude(cover, across) > 0.5) & ~is_subject
    count, labels, stats, _ = cv2.connectedComponentsWithStats(is_subject.astype(np.uint8))
    if count < 2:
        return None
    label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height, size = (int(value) for value in stats[label])
    if size < _MIN_SHARE_OF_COLOUR * (stats[1:, cv2.CC_STAT_AREA].sum() + others.sum()):
        return None
    rows, columns = image.shape[:2]
    area = size / (rows * columns)
    mask = labels == label
    inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    inside = inside if inside.sum() >= 9 else mask
    if not _AREA[0] <= area <= _AREA[1] or cover[inside].std() > _MAX_UNEVEN:
        return None
    # Half-covered pixels far from the outline: a glow or a colour gradient, not a thing with an edge.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if ((cover > 0.3) & ~near).sum() > _MAX_HALO * size:
        return None
    cover = np.where(near, cover, np.float32(0))
    weight = np.where(cover > 0.2, cover, np.float32(0)).clip(0, 1)
    moments = cv2.moments(weight)
    center = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = float(((cover > 0.2) & (cover < 0.8)).sum()) / max(cv2.arcLength(contours[0], True), 1.0)
    margin = max(3, round(0.15 * max(width, height)))
    window = cover[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
    is_clipped = left == 0 or top == 0 or left + width == columns or top + height == rows
    return _Sighting(
        index=index, center=center, area=area, is_clipped=is_clipped, edge_width=rim / math.sqrt(size),
        luma_spread=float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[inside].std()), outline=_outline(window, 0.5), cover=cover,
        rgb=image[inside].mean(axis=0),
    )


def _outline(cover: np.ndarray, level: float) -> np.ndarray:
    """Numbers of the outline at `level`: area over that of its smallest circle, rectangle, triangle, hull; and its aspect."""
    scale = _PATCH / max(cover.shape)
    patch = cv2.resize(np.pad(cover, 2), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    contours, _ = cv2.findContours((patch > level).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    hull = cv2.convexHull(contour)
    (_, radius), (_, sides, _) = cv2.minEnclosingCircle(hull), cv2.minAreaRect(hull)
    triangle = cv2.minEnclosingTriangle(hull.astype(np.float32))[0]
    area, rectangle = cv2.contourArea(contour), max(sides[0] * sides[1], 1.0)
    return np.array([
        area / max(math.pi * radius**2, 1.0), area / rectangle, area / max(triangle, 1.0),
        area / max(cv2.contourArea(hull), 1.0), min(sides) / max(*sides, 1.0),
    ])


def _shape(sightings: list[_Sighting]) -> tuple[str, bool]:
    """(shape, whether the outline was sharp enough to be sure).

    Sharp outlines are held against each shape's exact area ratios. Soft ones all drift towards the circle's, so for them the mean
    cover over all frames decides by what is left of a square's or triangle's excess; limits fitted on a 16-channel block codec.
    """
    circle, rectangle, triangle, solidity, aspect = np.median([sighting.outline for sighting in sightings], axis=0)
    if float(np.median([sighting.edge_width for sighting in sightings])) < _SHARP:
        if solidity < 0.9 or aspect < 0.8:
            return "other", True
        if triangle > 0.88:
            return "triangle", True
        if rectangle > 0.93:
            return "square", True
        return ("circle" if circle > 0.9 else "other"), True
    if solidity < 0.8 or aspect < 0.7:
        return "other", False
    if triangle <= 0.8 and rectangle <= 0.93:  # else one frame alone says it, also of a subject that turns
        mean = _mean_cover(sightings)
        circle, rectangle, triangle = np.mean([_outline(mean, level)[:3] for level in (0.35, 0.5)], axis=0)
    of_triangle, of_square = (triangle - 0.605) / 0.395, (rectangle - 0.785) / 0.215
    if of_triangle > max(of_square, 0.14):
        return "triangle", False
    return ("square" if of_square > 0.28 else "circle"), False


def _mean_cover(sightings: list[_Sighting]) -> np.ndarray:
    """Mean cover around the centroid over the frames that show the subject whole; its inside scaled to 1."""
    chosen = [sighting for sighting in sightings if not sighting.is_clipped] or sightings
    pixels = float(np.median([sighting.area for sighting in chosen])) * chosen[0].cover.size
    side = round(1.9 * math.sqrt(pixels))
    mean = np.mean([cv2.getRectSubPix(sighting.cover, (side, side), sighting.center) for sighting in chosen], axis=0)
    return (mean / np.percentile(mean, 97)).astype(np.float32)


def _conclude(
    sightings: list[_Sighting], num_looked: int, size: tuple[int, int], drift: Drift
) -> SubjectFinding | None:
    """The finding, or None when the sightings do not make one thing that lasts."""
    if len(sightings) < max(1.0, _MIN_FRAMES_SEEN * num_looked):
        return None
    whole = [sighting for sighting in sightings if not sighting.is_clipped] or sightings
    areas = np.array([sighting.area for sighting in whole])
    if np.subtract(*np.percentile(areas, [75, 25])) > _MAX_AREA_SPREAD * np.median(areas):
        return None
    if float(np.median([sighting.luma_spread for sighting in sightings])) > _MAX_LUMA_UNEVEN:
        return None
    rgb = np.median([sighting.rgb for sighting in sightings], axis=0)
    colour = _colour(rgb)
    if colour is None:
        return None
    rows, columns = sightings[0].cover.shape
    times = np.array([sighting.index for sighting in sightings])
    places = (np.array([sighting.center for sighting in sightings]) + 0.5) / np.array([columns, rows])
    motion = _motion(times, _own_path(times, places, size, drift))
    if motion is None:
        return None
    direction, is_still, is_bouncing, speed = motion
    shape, is_sharp = _shape(sightings)
    if shape == "other" and not is_sharp:
        return None
    return SubjectFinding(
        colour=colour, shape=shape, position=_position(*places[0]), direction=direction, is_still=is_still,
        is_bouncing=is_bouncing, speed=speed, area=float(np.median(areas)), place=(float(places[0, 0]), float(places[0, 1])),
        rgb=(round(float(rgb[0])), round(float(rgb[1])), round(float(rgb[2]))),
        confidence=round(len(sightings) / num_looked * (1.0 if is_sharp else 0.85), 3),
    )


def _colour(rgb: np.ndarray) -> str | None:
    """Name by hue; None for what is too pale or too dark to have one. Purple and magenta share hues and differ in brightness."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
    if saturation < _MIN_SATURATION or value < _MIN_VALUE:
        return None
    degrees = hue * 360
    if 288 <= degrees < 320:
        return "magenta" if value > 0.7 else "purple"
    return next((name for limit, name in _HUES if degrees < limit), "red")


def _position(x: float, y: float) -> str:
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    down = "upper" if y < 1 / 3 else "lower" if y > 2 / 3 else ""
    return " ".join(filter(None, (down, across or ("centre" if down else "")))) or "centre"


def _own_path(times: np.ndarray, places: np.ndarray, size: tuple[int, int], drift: Drift) -> np.ndarray:
    """Places (N, 2) as shares of the frame's height on both axes, with the camera's motion taken out."""
    height, width = size
    aspect = width / height
    points = (places - 0.5) * np.array([aspect, 1.0])
    pan, tilt, zoom, roll = drift
    elapsed = (times - times[0]).astype(float)
    points = points - np.stack([-pan * aspect * elapsed, tilt * elapsed], axis=1)
    angle, shrink = 2 * roll * elapsed, np.exp(-2 * zoom * elapsed)
    x = (points[:, 0] * np.cos(angle) - points[:, 1] * np.sin(angle)) * shrink
    y = (points[:, 0] * np.sin(angle) + points[:, 1] * np.cos(angle)) * shrink
    return np.stack([x, y], axis=1)


def _motion(times: np.ndarray, path: np.ndarray) -> tuple[str, bool, bool, float] | None:
    """(direction of the first leg, is still, is bouncing, speed per frame); None when the path jumps, as a detection does."""
    if len(path) < 2:
        return "", True, False, 0.0
    if np.hypot(*np.diff(path, axis=0).T).max() > _MAX_JUMP:
        return None
    # A least-squares extent, not the largest distance: noise must not look like travel.
    extent = np.hypot(*(np.percentile(path, 95, axis=0) - np.percentile(path, 5, axis=0)))
    if extent < _MIN_TRAVEL:
        return "", True, False, 0.0
    turns = sorted(set(_turns(path[:, 0])) | set(_turns(path[:, 1])))
    knots = [0, *turns, len(path) - 1]
    legs = [(a, b) for a, b in itertools.pairwise(knots) if b > a]
    speed = sum(float(np.hypot(*(path[b] - path[a]))) for a, b in legs) / float(times[-1] - times[0])
    first = next((leg for leg in legs if np.hypot(*(path[leg[1]] - path[leg[0]])) >= _MIN_TRAVEL), legs[0])
    return _direction(path[first[0] : first[1] + 1]), False, bool(turns), speed


def _turns(values: np.ndarray) -> list[int]:
    """Positions where one coordinate turns round: it must come back by `_MIN_TURN` to count."""
    turns, best, sign = [], 0, 0
    for index in range(1, len(values)):
        ahead = values[index] - values[best]
        if sign == 0:
            if abs(ahead) >= _MIN_TURN:
                sign, best = (1 if ahead > 0 else -1), index
        elif ahead * sign >= 0:
            best = index
        elif -ahead * sign >= _MIN_TURN:
            turns.append(best)
            sign, best = -sign, index
    return turns


def _direction(leg: np.ndarray) -> str:
    """One of DIRECTIONS, or '' when the leg is not straight."""
    chord = leg[-1] - leg[0]
    length = float(np.hypot(*chord))
    offsets = leg - leg[0]
    aside = np.abs(offsets[:, 0] * chord[1] - offsets[:, 1] * chord[0]) / max(length, 1e-9)
    if float(np.median(aside)) > 0.25 * length:
        return ""
    return DIRECTIONS[round(math.atan2(chord[1], chord[0]) / (math.pi / 4)) % 8]
