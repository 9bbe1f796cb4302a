"""One shot's pass: prepares each frame once and shows it to all signals of the shot."""

from collections.abc import Iterable

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.flow import SMALLEST, FlowMeter

SAMPLES_PER_S = 8
"""Frames per second at which sharpness and flow are taken; luma and freezes look at every frame."""


class ShotMeter:
    """Feeds the frames of one span to fresh instances of the given signals."""

    def __init__(self, start: int, shot: ShotInfo, kinds: Iterable[type[Signal]]) -> None:
        self.start, self.end = start, start + shot.num_frames
        self._shot = shot
        self._signals = [kind(shot) for kind in kinds]
        # A shot of two frames and more has at least one pair, however short it is.
        self._every = max(1, min(round(shot.fps / SAMPLES_PER_S), shot.num_frames - 1))
        self._seen = 0
        self._before: tuple[np.ndarray, np.ndarray, float] | None = None  # the last sampled frame: rgb, grey, seconds

    def add(self, rgb: np.ndarray, grey: np.ndarray, time_s: float, flow: FlowMeter) -> None:
        """See the shot's next frame: (h, w, 3) and (h, w) uint8 at the working size."""
        mean, deviation = cv2.meanStdDev(grey)
        plane, motion = None, None
        if self._seen % self._every == 0:
            plane, motion = self._sampled(rgb, grey, float(deviation[0, 0]), time_s, flow)
        sample = Sample(
            rgb=rgb, grey=grey, luma=float(mean[0, 0]) / 255, contrast=float(deviation[0, 0]) / 255, plane=plane, motion=motion,
        )
        for signal in self._signals:
            signal.add(sample)
        self._seen += 1

    def scores(self, failure: str) -> list[Score]:
        """One score per signal; `failure` says why the frames ended early, if they did."""
        if self._seen < self._shot.num_frames:
            missing = f"{self._seen} of {self._shot.num_frames} frames could be decoded" + (f": {failure}" if failure else "")
        else:
            missing = ""
        return [self._score(signal, missing) for signal in self._signals]

    def _score(self, signal: Signal, missing: str) -> Score:
        if signal.video_only and self._shot.media == "image":
            return signal.not_applicable(signal.still)
        if signal.needs_pixels and missing:  # a number about part of a shot would pass for one about all of it
            return signal.unknown(missing)
        return signal.result()

    def _sampled(
        self, rgb: np.ndarray, grey: np.ndarray, deviation: float, time_s: float, flow: FlowMeter
    ) -> tuple[np.ndarray, Motion | None]:
        """The plane of largest contrast, and the motion on that plane since the last sampled frame."""
        _, deviations = cv2.meanStdDev(rgb)
        channel = int(deviations.argmax())
        by_colour = float(deviations[channel, 0]) > deviation
        plane = np.ascontiguousarray(rgb[..., channel]) if by_colour else grey
        motion = None
        if self._before is not None and min(grey.shape) >= SMALLEST:
            earlier_rgb, earlier_grey, earlier_s = self._before
            earlier = np.ascontiguousarray(earlier_rgb[..., channel]) if by_colour else earlier_grey
            if time_s > earlier_s:
                motion = flow.measure(earlier, plane, time_s - earlier_s)
        self._before = rgb, grey, time_s
        return plane, motion
