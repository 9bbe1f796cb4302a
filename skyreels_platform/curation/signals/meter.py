"""One shot's pass: prepares each frame once and shows it to all signals of the shot."""

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion, Region, Sample, Score, Shared, ShotInfo, Signal
from skyreels_platform.curation.signals.flow import SMALLEST, FlowMeter
from skyreels_platform.media.pyramid import Levels


class ShotMeter:
    """Feeds the frames of one shot to fresh instances of the given signals."""

    def __init__(self, shot: ShotInfo, kinds: Iterable[type[Signal]]) -> None:
        self._shot = shot
        self._signals = [kind(shot) for kind in kinds]
        self._shared: dict[type[Shared], Shared] = {
            kind: kind(shot) for kind in dict.fromkeys(signal.shared for signal in self._signals) if kind is not None
        }
        for signal in self._signals:
            signal.shared_state = self._shared[signal.shared] if signal.shared else None
        self._seen = 0
        self._before: tuple[np.ndarray, np.ndarray, float] | None = None  # the last picture: RGB, luma, seconds

    def add(self, frame: Levels, flow: FlowMeter) -> Sample:
        """See the shot's next frame. Returns it as the signals saw it."""
        grey = cv2.cvtColor(frame.small, cv2.COLOR_RGB2GRAY)
        mean, deviation = cv2.meanStdDev(grey)
        plane, motion = None, None
        if frame.picture is not None:
            plane, motion = self._moved(frame.picture, frame.time_s, flow)
        sample = Sample(
            rgb=frame.small, grey=grey, luma=float(mean[0, 0]) / 255, contrast=float(deviation[0, 0]) / 255, time_s=frame.time_s,
            picture=frame.picture, plane=plane, motion=motion, still=frame.still,
        )  # fmt: skip
        for shared in self._shared.values():
            shared.add(sample)
        for signal in self._signals:
            signal.add(sample)
        self._seen += 1
        return sample

    def finish(self, *, num_frames: int, duration_s: float, failure: str = "") -> tuple[list[Score], list[Region]]:
        """One score per signal, and what they found where; `failure` says why frames are missing, if they are."""
        final = replace(self._shot, num_frames=num_frames, duration_s=duration_s)
        for signal in self._signals:
            signal.shot = final
        missing = ""
        if self._seen < num_frames:
            missing = f"{self._seen} of {num_frames} frames could be decoded" + (f": {failure}" if failure else "")
        scores = {signal.name: self._score(signal, missing) for signal in self._signals if not signal.needs}
        found = [signal.regions() for signal in self._signals if not signal.needs and scores[signal.name].outcome == "measured"]
        regions = [region for regions in found for region in regions]
        for signal in self._signals:
            if signal.needs:
                signal.settle(scores, regions)
        return [scores[signal.name] if signal.name in scores else self._score(signal, missing) for signal in self._signals], regions

    def _score(self, signal: Signal, missing: str) -> Score:
        if signal.video_only and self._shot.media == "image":
            return signal.not_applicable(signal.still)
        if signal.needs_pixels and missing:  # a number about part of a shot would pass for one about all of it
            return signal.unknown(missing)
        return signal.result()

    def _moved(self, rgb: np.ndarray, time_s: float, flow: FlowMeter) -> tuple[np.ndarray, Motion | None]:
        """The plane of largest contrast, and the motion on that plane since the last picture."""
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        _, deviations = cv2.meanStdDev(rgb)
        _, deviation = cv2.meanStdDev(grey)
        channel = int(deviations.argmax())
        by_colour = float(deviations[channel, 0]) > float(deviation[0, 0])
        plane = np.ascontiguousarray(rgb[..., channel]) if by_colour else grey
        motion = None
        if self._before is not None and min(grey.shape) >= SMALLEST:
            earlier_rgb, earlier_grey, earlier_s = self._before
            earlier = np.ascontiguousarray(earlier_rgb[..., channel]) if by_colour else earlier_grey
            if time_s > earlier_s:
                motion = flow.measure(earlier, plane, time_s - earlier_s)
        self._before = rgb, grey, time_s
        return plane, motion
