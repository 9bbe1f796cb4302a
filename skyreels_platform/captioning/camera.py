"""Camera motion of one shot, measured from its pixels: the rule-based stand-in for the paper's camera-motion captioner (3.2).

Corners are tracked between pairs of frames 1/8 s apart and one similarity (shift, scale, angle) is fitted to all of them by
RANSAC, so a subject that moves on its own is outvoted. The fit counts only where its inliers spread over the frame: on a flat
background the only corners belong to the subject, and then the answer is `unknown`, never the subject's motion.

Speeds follow the paper: displacement as a share of the frame per second, slow < 5 %, medium 5-20 %, fast > 20 %. For zoom and
roll it is that of a point on the frame's edge. A zoom and a dolly look the same to a similarity: both are called zoom.
Cost: about 5 ms per pair of frames on one core, at most 16 pairs per shot.
"""

from dataclasses import dataclass

import cv2
import numpy as np

VERSION = "camera-rules-1"

STILL_PER_S = 0.01     # our choice: slower than this is static; LK noise is about 0.002
SLOW_PER_S, FAST_PER_S = 0.05, 0.20  # paper 3.2
JITTER_PER_S = 0.02    # our choice: irregular part of the velocity that makes a shot handheld
_PAIR_S = 1 / 8
_MAX_PAIRS = 16
_WORK_SIDE = 192       # long side in pixels at which corners are tracked
_GRID = 4              # inliers are counted per cell of a 4 x 4 grid
_MIN_CELLS = 6         # a subject in the middle covers 4
_MIN_EXTENT = (0.35, 0.6)  # inliers span these shares of the frame, shorter and longer axis: a subject is rarely that large
_BLACK = 24            # luma of 255
_MIN_INLIER_SHARE = 0.4
_MIN_CONFIDENCE = 0.4
_MIN_CORNER = 1e-4     # smallest eigenvalue of a normalised frame that counts as texture

_WORDS = (
    ("pans right", "pans left"), ("tilts up", "tilts down"), ("zooms in", "zooms out"),
    ("rolls clockwise", "rolls anticlockwise"),
)


@dataclass(frozen=True, kw_only=True)
class CameraFinding:
    """What the camera does over one shot. Rates are signed shares of the frame per second."""

    known: bool
    """False: the shot has no texture, or no common motion, that could tell; see `reason`."""
    sentence: str
    """SkyCaptioner's free text, e.g. `the camera pans left slowly`; '' when static or unknown."""
    moves: tuple[str, ...]
    """The two strongest components, strongest first, e.g. `pans left`; then `back and forth`, `handheld`; empty when static."""
    speed: str
    """still | slow | medium | fast, of the strongest component."""
    pan: float
    """Camera turns right: positive."""
    tilt: float
    """Camera turns up: positive."""
    zoom: float
    """Picture grows: positive (displacement of the frame's edge)."""
    roll: float
    """Camera turns clockwise: positive (displacement of the frame's edge)."""
    jitter: float
    """Irregular part of pan and tilt."""
    confidence: float
    """0..1: share of pairs that could be measured times their mean share of inliers."""
    reason: str
    """Why nothing is known; '' otherwise."""


def measure_camera(frames: np.ndarray, fps: float) -> CameraFinding:
    """Camera motion of `frames` (F, H, W, 3) uint8 RGB, which are `1 / fps` seconds apart."""
    if fps <= 0:
        raise ValueError(f"fps is {fps}: camera speeds need the rate of the frames given, above 0")
    if len(frames) < 2:
        return _unknown("a single picture shows no motion")
    stride = max(1, min(len(frames) - 1, round(fps * _PAIR_S)))
    starts = np.unique(np.linspace(0, len(frames) - 1 - stride, _MAX_PAIRS).round().astype(int))
    wanted = sorted({int(s) for s in starts} | {int(s) + stride for s in starts})
    gray, mask = _work_frames(frames, wanted)
    steps = [_pair_motion(gray[int(s)], gray[int(s) + stride], mask) for s in starts]
    measured = [(s / fps, step) for s, step in zip(starts, steps, strict=True) if step is not None]
    if len(measured) * 2 < len(starts):
        return _unknown(f"texture moves together in only {len(measured)} of {len(starts)} pairs of frames")
    times = np.array([time for time, _ in measured])
    rates = np.array([step[:4] for _, step in measured]) * (fps / stride)
    confidence = len(measured) / len(starts) * float(np.mean([step[4] for _, step in measured]))
    if confidence < _MIN_CONFIDENCE:
        return _unknown(f"only {confidence:.0%} of the texture moves together")
    return _describe(times, rates, confidence)


def _unknown(reason: str) -> CameraFinding:
    return CameraFinding(
        known=False, sentence="", moves=(), speed="still", pan=0.0, tilt=0.0, zoom=0.0, roll=0.0, jitter=0.0, confidence=0.0,
        reason=reason,
    )


def _work_frames(frames: np.ndarray, wanted: list[int]) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Gray frames with equal mean and contrast (so that a fade is not motion), and where corners may lie (uint8 mask).

    Pixels that are black in every frame, and their surroundings, are bars or a void: their edges do not move with the world.
    """
    height, width = frames.shape[1:3]
    scale = _WORK_SIDE / max(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    work, brightest = {}, np.zeros((round(height * scale), round(width * scale)), np.uint8)
    for index in wanted:
        gray = cv2.resize(cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY), brightest.shape[::-1], interpolation=method)
        brightest = np.maximum(brightest, gray)
        spread = float(gray.std())
        work[index] = gray
        if spread >= 2:
            work[index] = np.clip((gray - float(gray.mean())) / spread * 40 + 128, 0, 255).astype(np.uint8)
    lit = (brightest > _BLACK).astype(np.uint8)
    return work, cv2.erode(lit, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1.0)  # type: ignore[arg-type]


def _pair_motion(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, float, float] | None:
    """(pan, tilt, zoom, roll, inlier share) of the camera between two frames, shares of the frame; None without common motion."""
    points = _corners(first, mask)
    if len(points) < 12:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, points, None, winSize=(17, 17), maxLevel=4)  # type: ignore[call-overload]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(second, first, moved, None, winSize=(17, 17), maxLevel=4)  # type: ignore[call-overload]
    sound = (found.ravel() == 1) & (found_back.ravel() == 1) & (np.abs(back - points).max(axis=(1, 2)) < 0.7)
    source, target = points[sound, 0], moved[sound, 0]
    if len(source) < 12 or not _is_spread(source, first.shape):
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=1.0, maxIters=500)
    if matrix is None:
        return None
    inside = inliers.ravel() == 1
    share = float(inside.mean())
    if share < _MIN_INLIER_SHARE or not _is_spread(source[inside], first.shape):
        return None
    height, width = first.shape
    center = np.array([width / 2, height / 2])
    shift = matrix[:, :2] @ center + matrix[:, 2] - center
    scale, angle = np.hypot(matrix[0, 0], matrix[1, 0]), np.arctan2(matrix[1, 0], matrix[0, 0])
    # The picture moves against the camera. Angles grow clockwise, since y points down.
    return -shift[0] / width, shift[1] / height, np.log(scale) / 2, -angle / 2, share


def _corners(gray: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Up to 12 corners per grid cell, (N, 1, 2) float32: a strong subject must not take them all."""
    strength = cv2.cornerMinEigenVal(gray, 5) * mask
    found = []
    for rows in np.array_split(np.arange(gray.shape[0]), _GRID):
        for columns in np.array_split(np.arange(gray.shape[1]), _GRID):
            if strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].max() < _MIN_CORNER:
                continue
            cell = gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            corners = cv2.goodFeaturesToTrack(cell, maxCorners=12, qualityLevel=0.05, minDistance=5, blockSize=5)
            if corners is not None:
                corners = corners.reshape(-1, 1, 2) + np.array([columns[0], rows[0]], np.float32)
                at = corners[:, 0].round().astype(int)
                found.append(corners[strength[at[:, 1], at[:, 0]] >= _MIN_CORNER])
    return np.concatenate(found).astype(np.float32) if found else np.zeros((0, 1, 2), np.float32)


def _is_spread(points: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether the points lie all over the frame, as a world does, and not in one place, as a subject does."""
    places = points / np.array([shape[1], shape[0]])
    extent = np.sort(np.percentile(places, 95, axis=0) - np.percentile(places, 5, axis=0))
    num_cells = len(np.unique(np.floor(places * _GRID).astype(int), axis=0))
    return bool(num_cells >= _MIN_CELLS and extent[0] >= _MIN_EXTENT[0] and extent[1] >= _MIN_EXTENT[1])


def _describe(times: np.ndarray, rates: np.ndarray, confidence: float) -> CameraFinding:
    """Names the motion from the rates (N, 4) of the measured pairs."""
    net, path = rates.mean(0), np.abs(rates).mean(0)
    jitter = float(1.4826 * np.median(np.abs(rates[:, :2] - _trend(times, rates[:, :2])), axis=0).max())
    strongest = float(path.max())
    verbs = []
    for axis in np.argsort(-np.abs(net), kind="stable"):
        steady = abs(net[axis]) >= 0.5 * path[axis]
        if abs(net[axis]) >= STILL_PER_S and steady and abs(net[axis]) >= 0.25 * strongest:
            verbs.append(_WORDS[axis][0 if net[axis] > 0 else 1])
    verbs = verbs[:2]  # the two strongest: weaker ones are mostly leakage of these
    # Frames picked evenly from a shot lie unevenly in time by up to half a step, which looks like half the speed in jitter.
    is_handheld = jitter >= max(JITTER_PER_S, 0.5 * float(np.abs(net).max()))
    is_wandering = not verbs and not is_handheld and strongest >= 2 * STILL_PER_S
    size = float(np.abs(net).max()) if verbs else strongest if is_wandering or is_handheld else 0.0
    speed = "still" if size == 0 else "slow" if size < SLOW_PER_S else "medium" if size <= FAST_PER_S else "fast"
    moves = tuple(verbs) + (("back and forth",) if is_wandering else ()) + (("handheld",) if is_handheld else ())
    return CameraFinding(
        known=True, sentence=_sentence(verbs, speed, is_handheld, is_wandering), moves=moves, speed=speed, pan=float(net[0]),
        tilt=float(net[1]), zoom=float(net[2]), roll=float(net[3]), jitter=jitter, confidence=round(confidence, 3), reason="",
    )


def _trend(times: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The smooth part of each column: a cubic in time, less with few samples."""
    degree = min(3, len(times) - 1)
    elapsed = (times - times.mean()) / max(float(np.ptp(times)), 1e-9)
    return np.stack([np.polyval(np.polyfit(elapsed, column, degree), elapsed) for column in rates.T], axis=1)


def _sentence(verbs: list[str], speed: str, is_handheld: bool, is_wandering: bool) -> str:
    """Medium is the unmarked speed, so that the plain sentence is the commonest one."""
    if is_wandering:
        return "the camera moves back and forth"
    if not verbs:
        return "the camera is handheld" if is_handheld else ""
    adverb = {"slow": " slowly", "fast": " quickly"}.get(speed, "")
    return "the camera " + " and ".join(verbs) + adverb + (", handheld" if is_handheld else "")
