"""Warm-up, phases, cosine."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.rates import rates_at
from tests.model.tiny_run import make_spec

_PHASES = [{"until_step": 6, "learning_rate": 1e-4, "weight_decay": 0.0}, {"until_step": 12, "learning_rate": 5e-5, "weight_decay": 1e-4}]


def test_phases_follow_one_another_after_one_warmup(tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "run", tmp_path, phases=_PHASES, schedule="constant", warmup_steps=2)
    rates = [rates_at(spec, step) for step in range(12)]
    assert rates == [(5e-5, 0.0), *[(1e-4, 0.0)] * 5, *[(5e-5, 1e-4)] * 6]


def test_without_phases_the_stage_s_own_rates_hold(tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "run", tmp_path, schedule="constant", warmup_steps=0)
    assert {rates_at(spec, step) for step in range(12)} == {(1e-2, 0.01)}


def test_cosine_falls_from_the_end_of_the_warmup(tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "run", tmp_path)
    rates = [rates_at(spec, step)[0] for step in range(12)]
    assert rates[1] == rates[2] == 1e-2
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[7] == pytest.approx(5e-3)


def test_phases_that_do_not_end_with_the_stage_are_refused(tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "run", tmp_path)
    with pytest.raises(ValueError, match="last phase ends at step 12; num_steps is 13"):
        replace(spec, phases=_PHASES, num_steps=13)
