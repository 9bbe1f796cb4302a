"""Costs of steps: medians over measured frames, their spread, and defaults that say that they are defaults."""

from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.curation.costs import DEFAULT_FRAME_S, DEFAULT_IMAGE_S, Estimate, estimate, measured_rates, rate_of
from skyreels_platform.ledger.ledger import Ledger


def ledger_with(folder: Path, work: list[tuple[str, str, int, float]]) -> Ledger:
    """A ledger in which each (step, media, frames, core-seconds) was measured on a source of its own."""
    ledger = Ledger(folder / "ledger")
    sources = [
        {"source_id": f"s{i}", "batch": "b000001", "media": media, "status": "ready", "provenance": "p"}
        for i, (_, media, _, _) in enumerate(work)
    ]
    ledger.replace("sources", "b000001", sources)
    ledger.merge("work", [
        {"source_id": f"s{i}", "step": step, "batch": "b000001", "num_decodes": 1, "num_frames": frames, "wall_s": seconds,
         "core_s": seconds, "provenance": "p"}
        for i, (step, _, frames, seconds) in enumerate(work)
    ])  # fmt: skip
    return ledger


def test_the_rate_is_the_median_frame_with_its_spread(tmp_path: Path):
    costs = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.010, 0.011]
    rates = measured_rates(ledger_with(tmp_path, [("shots", "video", 100, 100 * cost) for cost in costs]))
    rate = rates["shots", "video"]
    assert (rate.low, rate.middle, rate.high) == pytest.approx((0.002, 0.006, 0.010))
    assert rate.num_sources == 11


def test_many_short_clips_do_not_outvote_a_film(tmp_path: Path):
    clips = [("shots", "video", 10, 1.0)] * 5
    rates = measured_rates(ledger_with(tmp_path, [*clips, ("shots", "video", 100_000, 500.0)]))
    assert rates["shots", "video"].middle == pytest.approx(0.005)


def test_images_and_steps_are_apart(tmp_path: Path):
    rates = measured_rates(ledger_with(tmp_path, [("shots", "video", 100, 1.0), ("shots", "image", 1, 0.3), ("scores", "video", 100, 2.0)]))
    total, longest_s = estimate(rates, "shots", [{"media": "video", "num_frames": 200}, {"media": "image", "num_frames": 1}])
    assert total.core_s == pytest.approx(2.3)
    assert longest_s == pytest.approx(2.0)
    assert total.is_measured
    assert rate_of(rates, "scores", "video").middle == pytest.approx(0.02)


def test_what_was_never_measured_is_labelled(tmp_path: Path):
    rates = measured_rates(ledger_with(tmp_path, [("shots", "video", 100, 1.0)]))
    default = rate_of(rates, "captions", "video")
    assert (default.middle, default.num_sources) == (DEFAULT_FRAME_S["captions"], 0)
    assert rate_of(rates, "captions", "image").middle == DEFAULT_IMAGE_S
    mixed, _ = estimate(rates, "shots", [{"media": "video", "num_frames": 100}, {"media": "image", "num_frames": 1}])
    assert not mixed.is_measured
    assert rate_of(rates, "new_step", "video").middle > 0
    assert measured_rates(Ledger(tmp_path / "empty")) == {}


@pytest.mark.parametrize(("workers", "longest_s", "wall_s"), [(1, 10.0, 100.0), (4, 10.0, 25.0), (50, 10.0, 10.0)])
def test_wall_time_is_bounded_by_the_longest_source(workers: int, longest_s: float, wall_s: float):
    assert Estimate(core_s=100.0).wall_s(workers, longest_s) == wall_s


def test_the_estimate_of_what_was_measured_is_what_it_cost(tmp_path: Path):
    work: list[tuple[str, str, int, float]] = [("shots", "video", 100 + i, (100 + i) * 0.01) for i in range(20)]
    sources: list[dict[str, Any]] = [{"media": media, "num_frames": frames} for _, media, frames, _ in work]
    total, _ = estimate(measured_rates(ledger_with(tmp_path, work)), "shots", sources)
    assert total.core_s == pytest.approx(sum(seconds for *_, seconds in work), rel=1e-6)
    assert total.low_s <= total.core_s <= total.high_s
