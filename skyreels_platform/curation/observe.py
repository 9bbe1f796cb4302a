"""One pass over a source: its shots, and everything that is measured of each, from a single decode.

Frames stream through the segmenter, which gives them out again once it is certain where their shot begins; each shot then sees its own
frames in order. What follows from a frame alone is measured when it comes, beside the decoder. Memory depends on the segmenter's
delay, not on the length of the film or of a shot.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skyreels_platform.curation.fingerprint import Fingerprint, Fingerprinter
from skyreels_platform.curation.kept_frames import Keeper, KeptFrame
from skyreels_platform.curation.segments import Opened, Shot, segment
from skyreels_platform.curation.shots import IMAGE_SHOT
from skyreels_platform.curation.signals import SIGNALS, Region, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.base import Sample
from skyreels_platform.curation.signals.meter import Lens, ShotMeter
from skyreels_platform.errors import DecodeError
from skyreels_platform.media.ahead import ahead
from skyreels_platform.media.probe import Probe
from skyreels_platform.media.pyramid import Levels, pyramid
from skyreels_platform.recipe import ShotSettings


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one pass saw of one shot."""

    shot: Shot
    scores: list[Score]
    """One per signal, in the order of the signals."""
    regions: list[Region]
    """Where signals found something that a crop may avoid."""
    fingerprint: Fingerprint
    frames: list[KeptFrame]


class Span(Protocol):
    """The part of a shot that measuring needs; `Shot` has it."""

    @property
    def start_frame(self) -> int: ...
    @property
    def end_frame(self) -> int: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


def observe(
    path: str | Path, facts: Probe, settings: ShotSettings, *, kinds: Iterable[type[Signal]] | None = None
) -> Iterator[Observation]:
    """Every shot of a source as soon as it has ended, ascending; an image is one shot of one frame.

    `kinds`: the signals to measure, all by default. DecodeError for a source that cannot be decoded, MissingExtraError where
    `settings.transnet` finds no network.
    """
    kinds = list(SIGNALS.values() if kinds is None else kinds)
    lens = Lens(kinds)
    samples = ahead(lens.samples(ahead(pyramid(path))))
    if facts.media == "image":
        watch = _Watch(facts, kinds)
        for sample in samples:
            watch.add(sample)
        yield watch.observation(IMAGE_SHOT)
        return
    watch = None
    events = segment(
        samples, transnet=settings.transnet, min_length_s=settings.min_length_s, max_length_s=settings.max_length_s
    )
    for event in events:
        if isinstance(event, Opened):
            watch = _Watch(facts, kinds)
        elif watch and isinstance(event, Shot):
            yield watch.observation(event)
            watch = None
        elif watch and isinstance(event, Sample):
            watch.add(event)


def measure(
    path: str | Path, facts: Probe, spans: Sequence[Span], *, kinds: Iterable[type[Signal]] | None = None
) -> list[tuple[list[Score], list[Region]]]:
    """Some signals of shots that are known already, in the order given. Decodes the file once, from the first shot to the last.

    A file that stops decoding gives `unknown`, with the decoder's reason, for the shots that it left incomplete.
    """
    if not spans:
        return []
    frames = pyramid(path, start=min(span.start_frame for span in spans), stop=max(span.end_frame for span in spans))
    return measure_frames(frames, spans, facts, kinds=kinds)


def measure_frames(
    frames: Iterable[Levels], spans: Sequence[Span], facts: Probe, *, kinds: Iterable[type[Signal]] | None = None
) -> list[tuple[list[Score], list[Region]]]:
    """`measure` on frames in display order. Each shot sees exactly the frames [start_frame, end_frame); shots may leave gaps, overlap
    and come in any order."""
    kinds = list(SIGNALS.values() if kinds is None else kinds)
    meters = [ShotMeter(shot_info(facts), kinds) for _ in spans]
    waiting = sorted(range(len(spans)), key=lambda number: spans[number].start_frame, reverse=True)
    active: list[int] = []
    lens, failure = Lens(kinds), ""
    try:
        for frame in frames:
            while waiting and spans[waiting[-1]].start_frame <= frame.index:
                active.append(waiting.pop())
            active = [number for number in active if frame.index < spans[number].end_frame]
            if active:
                sample = lens.sample(frame)
                for number in active:
                    meters[number].add(sample)
            if not active and not waiting:
                break
    except DecodeError as error:
        failure = str(error)
    return [
        meter.finish(num_frames=span.end_frame - span.start_frame, duration_s=span.end_s - span.start_s, failure=failure)
        for meter, span in zip(meters, spans, strict=True)
    ]


def shot_info(facts: Probe) -> ShotInfo:
    """What signals know of a shot before they have seen it."""
    fps = 0.0 if facts.media == "image" or not facts.fps_den else facts.fps_num / facts.fps_den
    return ShotInfo(
        media=facts.media, num_frames=0, duration_s=0.0, fps=fps, width=facts.width, height=facts.height, bitrate=facts.bitrate
    )


class _Watch:
    """Everything that looks at one shot."""

    def __init__(self, facts: Probe, kinds: Iterable[type[Signal]]) -> None:
        self._meter = ShotMeter(shot_info(facts), kinds)
        self._fingerprinter = Fingerprinter(shot_info(facts))
        self._keeper = Keeper()

    def add(self, sample: Sample) -> None:
        self._meter.add(sample)
        self._fingerprinter.add(sample)
        self._keeper.add(sample)

    def observation(self, shot: Shot) -> Observation:
        scores, regions = self._meter.finish(num_frames=shot.end_frame - shot.start_frame, duration_s=shot.end_s - shot.start_s)
        return Observation(
            shot=shot, scores=scores, regions=regions, fingerprint=self._fingerprinter.result(), frames=self._keeper.result()
        )
