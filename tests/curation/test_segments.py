"""Frames given out shot by shot: boundaries, trimmed transitions, long shots, and looks while the film is still being read."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from skyreels_platform.curation import segments
from skyreels_platform.curation.segments import Cutter, Event, Opened, Segmenter, Shot, film_end_s, segment
from skyreels_platform.curation.voters.fusion import Boundary
from skyreels_platform.media.pyramid import SMALL, Levels

FPS = 24


def boundary(end: int, start: int, kind: str = "cut") -> Boundary:
    return Boundary(end=end, start=start, kind=kind, votes={"content": 40.0})


def frame(index: int, time_s: float, small: np.ndarray | None = None) -> Levels:
    picture = np.zeros((SMALL[1], SMALL[0], 3), np.uint8) if small is None else small
    return Levels(index=index, time_s=time_s, small=picture, picture=None, still=None)


def cut(boundaries: list[Boundary], times: np.ndarray, *, max_length_s: float = 60, min_length_s: float = 0.5) -> list[Event]:
    cutter = Cutter(min_length_s=min_length_s, max_length_s=max_length_s)
    for index, time_s in enumerate(times):
        cutter.push(frame(index, float(time_s)))
    return list(cutter.cut(boundaries, len(times), is_end=True))


def spans(events: list[Event]) -> list[tuple[int, int, str]]:
    return [(event.start_frame, event.end_frame, event.transition_in) for event in events if isinstance(event, Shot)]


def test_shots_lie_between_boundaries_and_transitions_belong_to_none() -> None:
    events = cut([boundary(40, 40), boundary(60, 72, "dissolve")], np.arange(100) / 25)
    assert spans(events) == [(0, 40, "start"), (40, 60, "cut"), (72, 100, "dissolve")]
    first, second, third = (event for event in events if isinstance(event, Shot))
    assert (third.start_s, third.end_s) == (2.88, 4.0)
    assert (first.votes, second.votes) == ({}, {"content": 40.0})


def test_every_shot_is_followed_frame_by_frame() -> None:
    events = cut([boundary(4, 6, "dissolve")], np.arange(9) / 25)
    assert [event.index if isinstance(event, Levels) else type(event) for event in events] == [
        Opened, 0, 1, 2, 3, Shot, Opened, 6, 7, 8, Shot
    ]  # fmt: skip


def test_frames_wait_in_a_bounded_buffer_and_are_given_out_evenly() -> None:
    pushed, given, most, longest = 0, 0, 0, 0

    def frames() -> Iterator[Levels]:
        nonlocal pushed
        rng = np.random.default_rng(0)
        still = rng.integers(0, 256, (SMALL[1], SMALL[0], 3)).astype(np.uint8)
        for index in range(2500):
            pushed += 1
            yield frame(index, index / FPS, np.roll(still, index, axis=1))

    before = 0
    for event in segment(frames(), transnet=False, min_length_s=0.5, max_length_s=20):
        if isinstance(event, Levels):
            given += 1
            most = max(most, pushed - given)
            longest = longest + 1 if pushed == before else 1
            before = pushed
        if pushed < 2500:
            assert longest <= segments.PACE
    assert given == 2500
    assert most <= segments.AHEAD + 2 * segments.STRIDE + 40  # voters are up to 32 frames behind


def test_a_film_that_begins_and_ends_with_a_fade_has_no_shot_there() -> None:
    assert spans(cut([boundary(0, 10, "fade"), boundary(90, 100, "fade")], np.arange(100) / 25)) == [(10, 90, "fade")]


def test_a_long_shot_is_cut_where_it_reaches_the_greatest_length() -> None:
    events = cut([boundary(20, 20)], np.arange(120) / FPS, max_length_s=1.5)
    assert spans(events) == [(0, 20, "start"), (20, 56, "cut"), (56, 92, "split"), (92, 120, "split")]
    assert [bool(event.votes) for event in events if isinstance(event, Shot)] == [False, True, False, False]


def test_a_remainder_that_is_too_short_stays() -> None:
    assert spans(cut([], np.arange(82) / FPS, max_length_s=1.5)) == [(0, 36, "start"), (36, 82, "split")]
    assert spans(cut([], np.arange(84) / FPS, max_length_s=1.5)) == [(0, 36, "start"), (36, 72, "split"), (72, 84, "split")]


def test_a_shot_of_just_the_greatest_length_is_whole() -> None:
    assert spans(cut([], np.arange(48) / FPS, max_length_s=2.0)) == [(0, 48, "start")]


def test_splits_follow_seconds_under_a_variable_frame_rate() -> None:
    times = np.concatenate([np.arange(50) / 50, 1 + np.arange(50) / 5])  # 1 s at 50 fps, 10 s at 5 fps
    assert spans(cut([], times, max_length_s=4.0)) == [(0, 65, "start"), (65, 85, "split"), (85, 100, "split")]


def test_the_last_frame_lasts_as_long_as_the_median_frame() -> None:
    assert film_end_s(np.array([0.0, 0.1, 0.2, 0.7])) == pytest.approx(0.8)
    assert film_end_s(np.array([0.0])) == 0.0


# ---- while the film is being read ----------------------------------------------------------------------------------------------


def film(seed: int, num_frames: int) -> tuple[list[Levels], list[int]]:
    """Soft random pictures with a little noise, another one every 15 to 90 frames; the cuts."""
    chance = np.random.default_rng(seed)
    frames: list[Levels] = []
    cuts: list[int] = []
    while len(frames) < num_frames:
        picture = cv2.resize(chance.uniform(40, 215, (9, 16, 3)).astype(np.float32), SMALL, interpolation=cv2.INTER_CUBIC)
        for _ in range(min(int(chance.integers(15, 90)), num_frames - len(frames))):
            noisy = np.clip(picture + chance.normal(0, 2, (1, 1, 3)), 0, 255).astype(np.uint8)
            frames.append(frame(len(frames), len(frames) / FPS, noisy))
        cuts.append(len(frames))
    return frames, cuts[:-1]


@pytest.fixture
def short_sight(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def choose(stride: int) -> None:
        monkeypatch.setattr(segments, "STRIDE", stride)

    return choose


def test_many_looks_give_what_one_look_gives(short_sight: Callable[[int], None]) -> None:
    frames, cuts = film(3, 1400)
    settings = {"transnet": False, "min_length_s": 0.5, "max_length_s": 2.0}
    short_sight(10_000)
    whole = list(segment(iter(frames), **settings))
    found = [start for start, _, kind in spans(whole) if kind == "cut"]
    assert len(found) >= 10
    assert set(found) <= set(cuts)
    assert any(kind == "split" for *_, kind in spans(whole))
    for stride in (64, 300):
        short_sight(stride)
        events = list(segment(iter(frames), **settings))
        assert [event.index if isinstance(event, Levels) else event for event in events] == [
            event.index if isinstance(event, Levels) else event for event in whole
        ]


def test_frames_come_out_while_the_film_goes_on() -> None:
    """What waits is bounded by the looks' distance and reach, not by the film."""
    frames, _ = film(4, 2500)
    segmenter = Segmenter(transnet=False, min_length_s=0.5, max_length_s=1e9)
    waiting, most = 0, 0
    for picture in frames:
        waiting += 1
        for event in segmenter.push(picture):
            waiting -= isinstance(event, Levels)
        most = max(most, waiting)
    assert most <= segments.STRIDE + 2 * segments.AHEAD + 32


def test_no_frames_no_shots() -> None:
    assert list(segment(iter([]), transnet=False, min_length_s=0.5, max_length_s=60)) == []
