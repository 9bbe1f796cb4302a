"""Points of the still world, followed between frames of a shot: what egomotion is computed from.

Corners come from every cell of a grid, so that one strong subject cannot take them all, and count only if they lie all over the frame: on a
flat background the only corners belong to the subject, and what they do is not what the camera does. Cost: about 5 ms a pair of frames.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from skyreels_platform.captioning.egomotion import Tracks

PAIR_S = 1 / 4     # our choice: slow parallax needs a baseline; at 20 % per second points still find each other
_MAX_PAIRS = 16
_WORK_SIDE = 192   # long side in pixels at which corners are tracked
_GRID = 4          # points are counted per cell of a 4 x 4 grid
_MIN_CELLS = 6     # a subject in the middle covers 4
_MIN_EXTENT = (0.35, 0.6)  # points span these shares of the frame, shorter and longer axis: a subject is rarely that large
_MIN_POINTS = 16
_MIN_FOUND = 0.35  # of the corners, that are found again; fewer, and the pair is tried at a shorter distance in time
_BLACK = 24        # luma of 255
_MIN_CORNER = 1e-4  # smallest eigenvalue of a normalised frame that counts as texture
_MAX_RETURN = 0.5  # pixels by which a point tracked there and back may miss
_WINDOW = {"winSize": (17, 17), "maxLevel": 4}


def follow(frames: np.ndarray, fps: float) -> tuple[list[tuple[float, Tracks]], int]:
    """Tracks of up to 16 pairs of frames, evenly spread, each with its middle in seconds; and how many pairs were tried.

    frames: (F, H, W, 3) uint8 RGB, `1 / fps` s apart, F >= 2.
    """
    stride = max(1, min(len(frames) - 1, round(fps * PAIR_S)))
    starts = np.unique(np.linspace(0, len(frames) - 1 - stride, _MAX_PAIRS).round().astype(int)).tolist()
    strides = sorted({stride, max(1, stride // 2), 1}, reverse=True)
    gray, mask = _work_frames(frames, sorted({start + step for start in starts for step in (0, *strides)}))
    found = []
    for start in starts:
        for step in strides:
            tracks = _track(gray[start], gray[start + step], mask, step / fps)
            if tracks is not None:
                found.append(((start + step / 2) / fps, tracks))
                break
    return found, len(starts)


def is_spread(points: np.ndarray, shape: float) -> bool:
    """Whether points (N, 2), centred, in frame widths, lie all over a frame `shape` widths high, as a world does and a subject does not."""
    if len(points) < 2:
        return False
    places = points / (1.0, shape) + 0.5
    extent = np.sort(np.percentile(places, 95, axis=0) - np.percentile(places, 5, axis=0))
    num_cells = len(np.unique(np.floor(places * _GRID).astype(int), axis=0))
    return bool(num_cells >= _MIN_CELLS and extent[0] >= _MIN_EXTENT[0] and extent[1] >= _MIN_EXTENT[1])


def _work_frames(frames: np.ndarray, wanted: Sequence[int]) -> tuple[dict[int, np.ndarray], np.ndarray]:
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


def _track(first: np.ndarray, second: np.ndarray, mask: np.ndarray, elapsed_s: float) -> Tracks | None:
    points = _corners(first, mask)
    if len(points) < _MIN_POINTS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, points, None, **_WINDOW)  # type: ignore[call-overload]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(second, first, moved, None, **_WINDOW)  # type: ignore[call-overload]
    sound = (found.ravel() == 1) & (found_back.ravel() == 1) & (np.abs(back - points).max(axis=(1, 2)) < _MAX_RETURN)
    height, width = first.shape
    inside = ((moved[:, 0] >= 0) & (moved[:, 0] <= (width - 1, height - 1))).all(axis=1)
    sound &= inside
    if sound.sum() < max(_MIN_POINTS, _MIN_FOUND * len(points)):
        return None
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    before, after = ((places[sound, 0].astype(np.float64) - centre) / width for places in (points, moved))
    return Tracks(before=before, after=after, elapsed_s=elapsed_s) if is_spread(before, height / width) else None


def _corners(gray: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Up to 12 corners per grid cell, (N, 1, 2) float32."""
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
