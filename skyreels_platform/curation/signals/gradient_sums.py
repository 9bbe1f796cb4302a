"""Mean gradient and mean squared gradient of every pixel of a shot, as running sums."""

import cv2
import numpy as np

_EIGHTHS = 1 / 8  # levels per pixel that one unit of OpenCV's gradient is


class GradientSums:
    """Of the pictures of one shot, all of one size; a picture's planes count together."""

    def __init__(self) -> None:
        self.pictures = 0
        self._sums: list[np.ndarray] = []  # (h, w) float32 per plane: its slopes are the sums of all pictures' slopes
        self._energy: list[np.ndarray] = []  # (h, w) float32 per plane, in _EIGHTHS squared
        self._earlier: list[tuple[int, list[np.ndarray]]] = []  # sums up to 1, 2, 4, ... pictures, the last two

    def add(self, *planes: np.ndarray) -> None:
        """(h, w) uint8 each."""
        if not self._sums:
            self._sums, self._energy = ([np.zeros(plane.shape, np.float32) for plane in planes] for _ in range(2))
        for plane, total, energy in zip(planes, self._sums, self._energy, strict=True):
            cv2.accumulate(plane, total)
            for slope in cv2.spatialGradient(plane):
                cv2.accumulateSquare(slope.astype(np.float32), energy)
        self.pictures += 1
        if self.pictures & (self.pictures - 1) == 0:
            self._earlier = [*self._earlier[-1:], (self.pictures, [total.copy() for total in self._sums])]

    def parts(self) -> list[np.ndarray]:
        """(h, w) float32 each, as `Edges.parts`; the earlier part is a third to two thirds of the shot."""
        count, sums = min(self._earlier, key=lambda part: abs(part[0] - self.pictures / 2))
        before = [_slopes(part) for part in sums]
        earlier = [part * _EIGHTHS / count for part in before]
        later = [
            (_slopes(total) - part) * _EIGHTHS / (self.pictures - count) for total, part in zip(self._sums, before, strict=True)
        ]
        return [
            np.add.reduce([one[0] * other[0] + one[1] * other[1] for one, other in zip(first, second, strict=True)])
            for first, second in ((earlier, earlier), (later, later), (earlier, later))
        ]

    def means(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Length of the mean gradient, mean squared length, and the mean gradient's direction at twice its angle, so that opposite ones
        are one: by how much its square points across rather than down, and aslant; (h, w) float64 each."""
        slopes = [_slopes(total).astype(np.float64) * (_EIGHTHS / self.pictures) for total in self._sums]
        energy = [total.astype(np.float64) * (_EIGHTHS**2 / self.pictures) for total in self._energy]
        across, down = (np.add.reduce([slope[axis] ** 2 for slope in slopes]) for axis in (0, 1))
        aslant = np.add.reduce([2 * slope[0] * slope[1] for slope in slopes])
        return np.sqrt(across + down), np.add.reduce(energy), across - down, aslant


def _slopes(total: np.ndarray) -> np.ndarray:
    """(h, w) float32 sum of planes -> (2, h, w) float32: sum of their slopes across and down, in _EIGHTHS, as `spatialGradient` has them;
    exact up to 16,000 pictures."""
    return np.stack([cv2.Sobel(total, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))])
