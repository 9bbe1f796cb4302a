"""The shared pass: exact spans, one decode, bounded memory, honest outcomes."""

import tracemalloc

import cv2
import numpy as np
import pytest

from skyreels_platform.curation import observe
from skyreels_platform.curation.observe import measure, measure_frames
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.errors import DecodeError
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe


def _black(row) -> float:
    return next(score.value for score in row if score.signal == "black")


def test_every_signal_is_described():
    assert len(SIGNALS) >= 13
    for name, signal in SIGNALS.items():
        assert (signal.name, bool(signal.unit), bool(signal.version)) == (name, True, True)
        assert signal.__module__.endswith(f".{name}")  # one file per signal
        _, source = (signal.__doc__ or "").split("Source:")
        assert "our choice" in source or "paper" in source


def test_a_shot_sees_exactly_its_span(bench):
    """Every frame has its own luma, so the mean tells which frames were seen; spans are unsorted, leave gaps and overlap."""
    frames = list(bench.frames([bench.flat(4 * index) for index in range(40)]))
    spans = [bench.span(start, end) for start, end in ((20, 31), (0, 1), (3, 20), (5, 8), (39, 40))]
    rows = measure_frames(frames, spans, bench.facts(96, 96))
    for span, (row, _) in zip(spans, rows, strict=True):
        luma = next(score.value for score in row if score.signal == "luma")
        assert luma == pytest.approx(4 * (span.start_frame + span.end_frame - 1) / 2 / 255)


def test_frames_around_a_trimmed_span_leave_no_trace(bench, textured):
    inner = [textured(0)] * 8
    around = [textured(1), bench.rgb(np.zeros((96, 128)))]
    rows = [
        measure_frames(bench.frames(images), [bench.span(start, start + 8)], bench.facts(128, 96))[0][0]
        for images, start in ((inner, 0), (around * 6 + inner + around, 12))  # 12 frames: stills fall on the same frames of the shot
    ]
    assert [score.value for score in rows[0]] == pytest.approx([score.value for score in rows[1]], abs=1e-9)
    assert _black(rows[1]) == 0


def test_missing_frames_make_pixels_unknown_and_leave_facts(bench, textured):
    def breaks_off():
        yield from bench.frames([textured(0)] * 12)
        raise DecodeError("film.mp4: damaged at 0.5 s")

    (whole, _), (broken, _) = measure_frames(breaks_off(), [bench.span(0, 10), bench.span(10, 20)], bench.facts(128, 96))
    facts = {"duration_s", "resolution", "fps", "aspect", "bits_per_pixel"}
    assert {score.signal for score in whole if score.outcome == "measured"} > {"luma", "static", "motion", "sharpness", *facts}
    assert {score.signal for score in broken if score.outcome == "measured"} == facts
    luma = next(score for score in broken if score.signal == "luma")
    assert luma.reason == "2 of 10 frames could be decoded: film.mp4: damaged at 0.5 s"


def test_decoding_stops_after_the_last_shot(bench, textured):
    seen = []

    def watched():
        for frame in bench.frames([textured(0)] * 30):
            seen.append(frame.index)
            yield frame

    measure_frames(watched(), [bench.span(2, 5)], bench.facts(128, 96))
    assert seen[-1] <= 5


def test_memory_does_not_grow_with_length(bench, textured):
    images = [textured(seed) for seed in range(4)]

    def peak(num_frames: int) -> int:
        tracemalloc.start()
        frames = bench.frames(images[index % 4] for index in range(num_frames))
        measure_frames(frames, [bench.span(0, num_frames)], bench.facts(128, 96))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(24)  # first call: caches
    assert peak(480) < peak(48) + 100_000  # one more frame is 37 kB


def test_a_file_is_decoded_once(bench, textured, tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    write_video(path, [textured(0)] * 12 + [np.zeros((96, 128, 3), np.uint8)] * 6 + [textured(1)] * 12, 24)
    calls = []

    def counted(*args, **options):
        calls.append(options)
        return decode(*args, **options)

    decode = observe.pyramid
    monkeypatch.setattr(observe, "pyramid", counted)
    spans = [bench.span(start, end) for start, end in ((18, 30), (12, 18), (2, 12))]
    rows = measure(path, probe(path), spans)
    assert calls == [{"start": 2, "stop": 30}]
    assert [_black(row) for row, _ in rows] == [0, 1, 0]
    assert [[score.signal for score in row] for row, _ in rows] == [list(SIGNALS)] * 3
    assert measure(path, probe(path), []) == []


def test_a_file_gives_the_same_scores_twice(bench, textured, tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, [bench.shifted(bench.noise(96, 128, 2.0), 2 * k, k) for k in range(12)], 24)
    first = measure(path, probe(path), [bench.span(0, 12)])
    assert all(measure(path, probe(path), [bench.span(0, 12)]) == first for _ in range(4))  # to the last bit


def test_an_image_file(bench, textured, tmp_path):
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), textured(0))
    ((row, _),) = measure(path, probe(path), [bench.span(0, 1)])
    outcomes = {score.signal: score.outcome for score in row}
    assert outcomes["luma"] == "measured"
    assert outcomes["motion"] == outcomes["fps"] == outcomes["duration_s"] == "not_applicable"
