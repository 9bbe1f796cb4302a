"""A run's curves as numbers for metadata and as one picture: loss, gradient norm, learning rate, speed."""

import io
from pathlib import Path
from typing import Any

from model.journal import LOSSES, read_lines

_SPEED = "speed.jsonl"
_BINS = 400
"""Points per curve of the picture; each is the mean of its steps."""


def training_numbers(run_dir: Path) -> dict[str, float]:
    """Last values and means of a run's curves; empty for a run without steps.

    Keys: loss (mean of the last tenth), grad_norm and lr of the last step; clips_per_s, tokens_per_s, tflops and, on a known GPU, mfu:
    medians over the steps, so that one slow step does not count.
    """
    losses, speeds = read_lines(run_dir / LOSSES), read_lines(run_dir / _SPEED)
    if not losses:
        return {}
    tail = [line["loss"] for line in losses[-max(1, len(losses) // 10) :]]
    numbers = {"loss": sum(tail) / len(tail), "grad_norm": losses[-1]["grad_norm"], "lr": losses[-1]["lr"]}
    for name in ("clips_per_s", "tokens_per_s", "tflops", "mfu"):
        if values := sorted(line[name] for line in speeds if name in line):
            numbers[name] = values[len(values) // 2]
    return numbers


def plot_curves(run_dir: Path) -> bytes:
    """A PNG of four curves over steps. ValueError for a run without steps."""
    from matplotlib.figure import Figure  # no pyplot: it keeps figures alive and asks for a display

    losses, speeds = read_lines(run_dir / LOSSES), read_lines(run_dir / _SPEED)
    if not losses:
        raise ValueError(f"{run_dir} has no steps to plot")
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    curves = (("loss", losses, "loss"), ("gradient norm", losses, "grad_norm"), ("learning rate", losses, "lr"),
              ("clips per second", speeds, "clips_per_s"))  # fmt: skip
    for axes, (title, lines, key) in zip(figure.subplots(2, 2).flat, curves, strict=True):
        steps, values = _binned(lines, key)
        axes.plot(steps, values, linewidth=1.5)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if key == "loss" and values and min(values) > 0 and max(values) > 20 * min(values):
            axes.set_yscale("log")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _binned(lines: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    width = max(1, -(-len(lines) // _BINS))
    groups = [lines[first : first + width] for first in range(0, len(lines), width)]
    return ([sum(line["step"] for line in group) / len(group) for group in groups],
            [sum(line[key] for line in group) / len(group) for group in groups])  # fmt: skip
