"""Sums over a shot against the gradients of its pictures, one by one."""

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.signals.gradient_sums import GradientSums


def gradients(pictures: np.ndarray) -> np.ndarray:
    """(n, h, w) uint8 -> (n, 2, h, w) levels per pixel."""
    return np.stack([cv2.spatialGradient(picture) for picture in pictures]).astype(np.float64) / 8


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 24, 40), np.uint8)


def test_means_are_those_of_the_pictures(pictures: np.ndarray) -> None:
    sums = GradientSums()
    for picture in pictures:
        sums.add(picture)
    strength, energy, upright, aslant = sums.means()
    all_slopes = gradients(pictures)
    across, down = all_slopes.mean(axis=0)
    assert np.allclose(strength, np.hypot(across, down), atol=1e-5)
    assert np.allclose(energy, (all_slopes**2).sum(axis=1).mean(axis=0), rtol=1e-5)
    assert np.allclose(upright, across**2 - down**2, atol=1e-4)
    assert np.allclose(aslant, 2 * across * down, atol=1e-4)


def test_planes_count_together(pictures: np.ndarray) -> None:
    sums = GradientSums()
    sums.add(pictures[0], pictures[1])
    first, second = gradients(pictures[:2])
    assert np.allclose(sums.means()[0] ** 2, (first**2 + second**2).sum(axis=0), rtol=1e-5)


def test_parts_are_the_earlier_and_the_later_pictures(pictures: np.ndarray) -> None:
    sums = GradientSums()
    for picture in pictures:
        sums.add(picture)
    all_slopes = gradients(pictures)
    earlier, later = all_slopes[:2].mean(axis=0), all_slopes[2:].mean(axis=0)  # 2 and 4 are as near to the middle: the first
    expected = (earlier**2).sum(axis=0), (later**2).sum(axis=0), (earlier * later).sum(axis=0)
    assert all(np.allclose(found, wanted, rtol=1e-4, atol=1e-3) for found, wanted in zip(sums.parts(), expected, strict=True))
