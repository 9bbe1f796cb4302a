"""Numbers and picture of a run's journals."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyreels_platform.training.curves import plot_curves, training_numbers


def write(run: Path, num_steps: int) -> None:
    losses = [{"step": step, "loss": 10 - step / 100, "grad_norm": 1.0, "lr": 1e-3} for step in range(num_steps)]
    fixed = {"seconds": 2.0, "tokens_per_s": 9.0, "tflops": 0.5}
    speeds = [{"step": step, "clips_per_s": 2.0 + step % 3, **fixed} for step in range(num_steps)]
    for name, lines in (("losses", losses), ("speed", speeds)):
        (run / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_numbers_are_the_last_tenth_s_loss_and_median_speeds(tmp_path: Path) -> None:
    write(tmp_path, 900)
    numbers = training_numbers(tmp_path)
    assert numbers == {
        "loss": pytest.approx(10 - np.mean(range(810, 900)) / 100), "grad_norm": 1.0, "lr": 1e-3, "clips_per_s": 3.0, "tokens_per_s": 9.0,
        "tflops": 0.5,
    }  # fmt: skip


def test_the_picture_shows_the_curves(tmp_path: Path) -> None:
    write(tmp_path, 900)
    picture = np.array(Image.open(io.BytesIO(plot_curves(tmp_path))).convert("RGB"))
    assert picture.shape == (605, 990, 3)
    line = (np.abs(picture.astype(int) - (31, 119, 180)).sum(axis=2) < 60).sum()
    assert line > 1000, "matplotlib's first colour"


def test_a_run_without_steps_has_neither(tmp_path: Path) -> None:
    assert training_numbers(tmp_path) == {}
    with pytest.raises(ValueError, match="has no steps"):
        plot_curves(tmp_path)
