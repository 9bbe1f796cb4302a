"""What the quality signals have in common: statistics of a shot that an estimator turns into a score, or the kept pictures that a
pretrained scorer looks at.

The estimators are stated formulas over cheap statistics, made to fall when a picture is blurred, blocky, noisy, badly exposed or
unsteady. They are not the paper's models and know nothing of taste, content or people: they order versions of one picture well
and different pictures poorly. `curation.quality` puts pretrained scorers in their place.
"""

import math
from abc import abstractmethod
from typing import ClassVar, Protocol

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import OfSample, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.blockiness import blockiness_of
from skyreels_platform.curation.signals.cadence import RepeatMeter
from skyreels_platform.curation.signals.clipped import DARKEST, LIGHTEST, histogram, levels_seen, within_borders
from skyreels_platform.curation.signals.flicker import Flicker
from skyreels_platform.curation.signals.motion import MotionSignal
from skyreels_platform.curation.signals.noise import noise_of
from skyreels_platform.curation.signals.shake import Shake
from skyreels_platform.errors import SkyreelsError

MOST_PICTURES = 8
"""Pictures of a shot that a pretrained scorer sees at most."""
NO_STILL = "no picture of the shot shows anything"
UNSEEN_SHAKE = 0.1
"""Heights/s: that of a hand-held camera, so that a picture gains nothing by losing the texture that would show its shake."""
TILE = 8
"""Pixels of a still's luma on either side of the parts in which slopes are compared."""
STRIP = 8
"""Rows of parts that are worked on at once: arrays that stay in the processor's cache take a tenth of the time."""
STEEPEST = 0.2
"""Share of those parts that sharpness is read from."""


class Scorer(Protocol):
    """Grades a shot by some of its pictures."""

    def score(self, pictures: np.ndarray) -> float:
        """pictures: (N, H, W, 3) uint8 RGB, N from 1 to MOST_PICTURES, in order. SkyreelsError where it cannot."""
        ...


def picture_terms(sample: Sample) -> np.ndarray | None:
    """The seven terms of a still, in the order of QualityMeter's properties; None for no still, a black picture or a speck."""
    still, shares = sample.still, sample.once(levels_seen)
    if still is None or shares is None:
        return None
    inside = within_borders(still.large)
    if not inside.size or min(inside.shape) < 4 * TILE:
        return None
    levels = np.cumsum(shares)
    darkest, lightest = np.searchsorted(levels, (0.05, 0.95))
    mean = _mean_and_deviation(shares)[0] / 255
    clipped = float(levels[DARKEST] + 1 - levels[LIGHTEST - 1])
    grain, blocks = sample.once(noise_of) or 0.0, sample.once(blockiness_of) or 0.0
    acutance = min(inside.shape) / _edge_width(inside, grain / still.reduced)
    chroma = [_mean_and_deviation(histogram(np.ascontiguousarray(still.chroma[..., channel]))) for channel in (0, 1)]
    (blue, blue_spread), (red, red_spread) = chroma
    colour = math.hypot(blue_spread, red_spread) + math.hypot(blue - 128, red - 128) / 3
    return np.array([
        acutance / (acutance + 100), 1 / (1 + (grain / 5) ** 2), 1 / (1 + max(0.0, blocks - 0.5) / 2),
        np.sqrt(4 * mean * (1 - mean)), min(1.0, float(lightest - darkest) / 128), 1 - clipped, colour / (colour + 12),
    ])


class QualityMeter:
    """Statistics of one shot's stills and of its course, each turned into a term from 0 (bad) to 1 (good)."""

    of_sample: ClassVar[OfSample] = (noise_of, blockiness_of, picture_terms)

    def __init__(self, shot: ShotInfo) -> None:
        self._sums, self._num_stills = np.zeros(7), 0
        self._shake, self._flicker, self._motion, self._repeats = Shake(shot), Flicker(shot), MotionSignal(shot), RepeatMeter(shot)

    def add(self, sample: Sample) -> None:
        self._shake.add(sample)
        self._flicker.add(sample)
        self._motion.add(sample)
        self._repeats.add(sample)
        if (terms := sample.once(picture_terms)) is not None:
            self._sums += terms
            self._num_stills += 1

    @property
    def has_pictures(self) -> bool:
        """Whether any still showed anything; without one, the terms of pictures are 0."""
        return self._num_stills > 0

    @property
    def sharp(self) -> float:
        """a / (a + 100), a the rises per picture height that the mean edge would allow: 0.5 at 100, 0.8 at 400."""
        return self._mean(0)

    @property
    def clean(self) -> float:
        """1 / (1 + (noise / 5)^2)."""
        return self._mean(1)

    @property
    def whole(self) -> float:
        """1 / (1 + (blockiness - 0.5) / 2), 1 up to the 0.5 that nobody sees."""
        return self._mean(2)

    @property
    def lit(self) -> float:
        """sqrt(4 m (1 - m)), m the mean luma from 0 to 1."""
        return self._mean(3)

    @property
    def ranging(self) -> float:
        """Luma between the darkest and the lightest 5 %, 1 from half of the scale on."""
        return self._mean(4)

    @property
    def kept(self) -> float:
        """Share of pixels that are neither crushed nor burnt."""
        return self._mean(5)

    @property
    def colourful(self) -> float:
        """c / (c + 12), c the spread of chroma in levels plus a third of its distance from grey."""
        return self._mean(6)

    @property
    def steady(self) -> float:
        """1 / ((1 + shake / 0.6) (1 + flicker / 3)); a shake that cannot be seen counts as UNSEEN_SHAKE, a flicker as none."""
        shake, flicker = self._shake.result().value, self._flicker.result().value or 0.0
        shake = UNSEEN_SHAKE if shake is None else shake
        return 1 / ((1 + shake / 0.6) * (1 + flicker / 3))

    @property
    def fluent(self) -> float:
        """Share of the frames in motion that do not repeat the one before; 1 where nothing moves enough to tell."""
        return 1 - (self._repeats.share() or 0.0)

    @property
    def moving(self) -> float:
        """m / (m + 0.01) / (1 + (m / 2)^2), m the motion in heights/s less the shake: 0 for a frozen picture, 0.9 and more from 0.1 to
        0.6, falling beyond."""
        motion = max(0.0, (self._motion.result().value or 0.0) - (self._shake.result().value or 0.0))
        return motion / (motion + 0.01) / (1 + (motion / 2) ** 2)

    def _mean(self, number: int) -> float:
        return float(self._sums[number] / self._num_stills) if self._num_stills else 0.0


class KeptPictures:
    """At most MOST_PICTURES stills of one shot in colour, evenly spread whatever its length: every one, then every second, ..."""

    of_sample: ClassVar[OfSample] = ()

    def __init__(self, shot: ShotInfo) -> None:
        self._pictures: list[np.ndarray] = []
        self._stride, self._seen = 1, 0

    def add(self, sample: Sample) -> None:
        if sample.still is None:
            return
        if self._seen % self._stride == 0:
            if len(self._pictures) == MOST_PICTURES:
                self._pictures = self._pictures[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._pictures.append(sample.still.rgb())
        self._seen += 1

    def pictures(self) -> np.ndarray | None:
        """(N, H, W, 3) uint8; None if there was no still."""
        return np.stack(self._pictures) if self._pictures else None


class GradedSignal(Signal):
    """A score by an estimator, or by a pretrained scorer: then `shared` is KeptPictures."""

    unit = "score"
    shared = QualityMeter

    def result(self) -> Score:
        try:
            scorer = self.scorer()
            if scorer is None:
                return self.measured(self.estimate(self.shared_state)) if self.shared_state.has_pictures else self.unknown(NO_STILL)
            pictures = self.shared_state.pictures()
            return self.unknown("the shot has no still") if pictures is None else self.measured(scorer.score(pictures))
        except SkyreelsError as error:
            return self.unknown(str(error))

    @classmethod
    def scorer(cls) -> Scorer | None:
        """None where the estimator scores. SkyreelsError for a scorer that cannot be had."""
        return None

    @classmethod
    @abstractmethod
    def estimate(cls, terms: QualityMeter) -> float:
        """The score, 0 to 1."""


def _mean_and_deviation(shares: np.ndarray) -> tuple[float, float]:
    """Of a plane with this histogram; integers leave nothing to the order of a sum's parts."""
    levels = np.arange(256)
    mean = float(shares @ levels)
    return mean, float(np.sqrt(max(0.0, shares @ levels**2 - mean**2)))


def _edge_width(luma: np.ndarray, noise_level: float) -> float:
    """Pixels over which edges rise: energy of the slopes at 1/8 size over that at full size, which is 8 for steps and 64 for edges
    wider than 8 pixels, whatever their number and height. Taken where the coarse slopes are steepest, so that noise and fine texture
    elsewhere do not pass for sharpness, and without the part of the noise, whose deviation in levels is given."""
    rows, columns = (side // TILE for side in luma.shape)
    luma = luma[: rows * TILE, : columns * TILE]
    coarse_slopes = _slopes(cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA))
    fine_slopes = np.concatenate([
        _tile_means(_slopes(luma[row * TILE : min(row + STRIP, rows - 1) * TILE + 1])) for row in range(0, rows - 1, STRIP)
    ])
    coarse_slopes, fine_slopes = (cv2.blur(slopes, (3, 3)) for slopes in (coarse_slopes, fine_slopes))
    steepest = coarse_slopes >= np.quantile(coarse_slopes, 1 - STEEPEST)
    coarse, fine = (float(slopes[steepest].mean(dtype=np.float64)) for slopes in (coarse_slopes, fine_slopes))
    grain = 4 * noise_level**2
    return max(1.0, max(coarse - grain / TILE**2, 0.0) / max(fine - grain, fine / 4, 1e-6) / TILE)


def _tile_means(slopes: np.ndarray) -> np.ndarray:
    """(rows TILE, columns TILE + any) -> (rows, columns)."""
    rows, columns = (side // TILE for side in slopes.shape)
    return cv2.resize(slopes[:, : columns * TILE], (columns, rows), interpolation=cv2.INTER_AREA)


def _slopes(luma: np.ndarray) -> np.ndarray:
    """(h - 1, w - 1) float32: squared steps to the neighbours on the right and below."""
    steps = [cv2.absdiff(luma[:-1, :-1], other) for other in (luma[:-1, 1:], luma[1:, :-1])]
    across, down = (cv2.multiply(step, step, dtype=cv2.CV_32F) for step in steps)
    return cv2.add(across, down)
