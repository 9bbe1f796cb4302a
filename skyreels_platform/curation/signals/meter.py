"""One shot's pass: prepares each frame once and shows it to all signals of the shot."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Motion, Region, Sample, Score, Shared, ShotInfo, Signal
from skyreels_platform.curation.signals.flow import SMALLEST, FlowMeter
from skyreels_platform.media.pyramid import BATCH, Levels


class Lens:
    """Turns the frames of a source into samples as they come, whatever shots they turn out to belong to.

    All that is dear and follows from a frame, or from it and the picture before it, is done here: a shot's end is known seconds
    later, when all of its frames come at once, and the decoder would then have nobody to work beside.
    """

    def __init__(self, kinds: Iterable[type[Signal]]) -> None:
        self._flow = FlowMeter()
        functions = (function for kind in kinds for asker in (kind, kind.shared) if asker for function in asker.of_sample)
        self._of_sample = list(dict.fromkeys(functions))
        self._before: tuple[np.ndarray, int | None, np.ndarray, float] | None = None  # the last picture: RGB, channel, its plane, seconds

    def samples(self, frames: Iterable[Levels]) -> Iterator[Sample]:
        """All frames as signals see them, BATCH of them worked on at once."""
        remaining = iter(frames)
        while batch := [self._prepared(frame) for frame in islice(remaining, BATCH)]:
            for function in self._of_sample:
                for sample in batch:
                    sample.once(function)
            yield from batch

    def sample(self, frame: Levels) -> Sample:
        """The next frame as signals see it."""
        return next(self.samples([frame]))

    def _prepared(self, frame: Levels) -> Sample:
        grey = cv2.cvtColor(frame.small, cv2.COLOR_RGB2GRAY)
        mean, deviation = cv2.meanStdDev(grey)
        plane, motion = None, None
        if frame.picture is not None:
            _, by_channel = cv2.meanStdDev(frame.small)
            best = int(by_channel.argmax())
            channel = best if float(by_channel[best, 0]) > float(deviation[0, 0]) else None
            plane, motion = self._moved(frame.picture, channel, frame.time_s)
        return Sample(
            rgb=frame.small, grey=grey, luma=float(mean[0, 0]) / 255, contrast=float(deviation[0, 0]) / 255, time_s=frame.time_s,
            picture=frame.picture, plane=plane, motion=motion, still=frame.still, index=frame.index,
        )  # fmt: skip

    def _moved(self, rgb: np.ndarray, channel: int | None, time_s: float) -> tuple[np.ndarray, Motion | None]:
        """This channel of the picture, or its luma, and the motion on that plane since the last picture."""
        plane, motion = _plane(rgb, channel), None
        if self._before is not None and min(plane.shape) >= SMALLEST:
            earlier_rgb, earlier_channel, earlier, earlier_s = self._before
            if time_s > earlier_s:
                earlier = earlier if channel == earlier_channel else _plane(earlier_rgb, channel)
                motion = self._flow.measure(earlier, plane, time_s - earlier_s)
        self._before = rgb, channel, plane, time_s
        return plane, motion


def _plane(rgb: np.ndarray, channel: int | None) -> np.ndarray:
    """(h, w) uint8: a channel, or luma for None."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if channel is None else cv2.extractChannel(rgb, channel)


class ShotMeter:
    """Feeds the samples of one shot to fresh instances of the given signals."""

    def __init__(self, shot: ShotInfo, kinds: Iterable[type[Signal]]) -> None:
        self._shot = shot
        self._signals = [kind(shot) for kind in kinds]
        self._shared: dict[type[Shared], Shared] = {
            kind: kind(shot) for kind in dict.fromkeys(signal.shared for signal in self._signals) if kind is not None
        }
        for signal in self._signals:
            signal.shared_state = self._shared[signal.shared] if signal.shared else None
        looks = [signal for signal in self._signals if type(signal).add is not Signal.add]
        self._watching = [watcher.add for watcher in (*self._shared.values(), *looks)]
        self._seen, self._has_picture = 0, False
        self._waiting: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """See the shot's next frame."""
        if sample.picture is not None:
            if not self._has_picture and sample.motion is not None:
                sample = replace(sample, motion=None)  # since a picture of the shot before
            self._has_picture = True
        self._waiting.append(sample)
        self._seen += 1
        if len(self._waiting) == BATCH:
            self._show()

    def _show(self) -> None:
        """Let one signal after another see all frames that wait."""
        for watch in self._watching:
            for sample in self._waiting:
                watch(sample)
        self._waiting.clear()

    def finish(self, *, num_frames: int, duration_s: float, failure: str = "") -> tuple[list[Score], list[Region]]:
        """One score per signal, and what they found where; `failure` says why frames are missing, if they are."""
        self._show()
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
