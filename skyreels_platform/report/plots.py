"""Plots as inline SVG that follow the page's light or dark colours: Matplotlib draws with placeholder colours, which become
the style sheet's variables. The same numbers give the same text: no clock and no random id goes into it.
"""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skyreels_platform.recipe import Bound
from skyreels_platform.report.markup import Html, html

# Colours that no plot asks for otherwise -> variables of the page's style sheet.
_INK, _LINE, _MUTE, _KEPT, _OUT = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {_INK: "var(--ink)", _LINE: "var(--line)", _MUTE: "var(--mute)", _KEPT: "var(--kept)", _OUT: "var(--out)"}

# The same for pictures, which know no style sheet: the light page.
_PAPER = {_INK: "#1b1d22", _LINE: "#d9dbe1", _MUTE: "#8a909c", _KEPT: "#2a6cb0", _OUT: "#c2571a"}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 9.0, "text.parse_math": False, "text.color": _INK,
    "axes.edgecolor": _LINE, "axes.labelcolor": _INK, "xtick.color": _LINE, "ytick.color": _LINE, "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK, "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
    "axes.axisbelow": True, "grid.color": _LINE, "axes.grid": True, "axes.grid.axis": "y", "axes.formatter.useoffset": False,
}  # fmt: skip
_MAX_CONCEPTS = 16
_MAX_POINTS = 2000  # of a curve: more than a screen has columns
_MAX_NAME = 28


def duration_plot(kept: Sequence[float], rejected: Sequence[float]) -> Html:
    """Histogram of shot durations in seconds, rejected ones stacked on kept ones."""
    with _style():
        figure, axes = _figure(5.0, 2.6)
        bins = np.histogram_bin_edges([*kept, *rejected], bins=24)
        axes.hist([kept, rejected], bins=list(bins), stacked=True, color=[_KEPT, _OUT])
        axes.set(xlabel="seconds", ylabel="shots")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        return _svg(figure, "histogram of shot durations")


def concept_plot(before: Mapping[str, int], after: Mapping[str, int]) -> Html:
    """Bars of shots per concept, all captioned ones and those in the pool; the rarest concepts are one bar."""
    names = sorted(before, key=lambda name: (-before[name], name))
    shown, rest = names[:_MAX_CONCEPTS], names[_MAX_CONCEPTS:]
    rows = [(_cut(name), before[name], after.get(name, 0)) for name in shown]
    if rest:
        rows.append((f"{len(rest)} others", sum(before[name] for name in rest), sum(after.get(name, 0) for name in rest)))
    with _style():
        figure, axes = _figure(5.0, 0.8 + 0.36 * len(rows))
        places = np.arange(len(rows))
        axes.barh(places - 0.19, [row[1] for row in rows], 0.36, color=_MUTE)
        axes.barh(places + 0.19, [row[2] for row in rows], 0.36, color=_KEPT)
        axes.set(xlabel="shots", ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(places, [row[0] for row in rows])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        return _svg(figure, "bars of shots per concept")


def score_plot(values: Sequence[float], bound: Bound | None) -> Html:
    """Histogram of one signal over all shots; what lies outside the pool's bound is shaded, its limits are dashed."""
    with _style():
        figure, axes = _figure(2.7, 1.5)
        _draw_scores(axes, values, bound, _KEPT, _OUT)
        return _svg(figure, "histogram of scores")


def loss_plot(steps: Sequence[int], losses: Sequence[float]) -> Html:
    """The loss of every optimizer step, and its running mean."""
    smooth = running_mean(losses)
    thin = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MAX_POINTS)).round().astype(int))
    with _style():
        figure, axes = _figure(5.0, 2.6)
        axes.plot(np.array(steps)[thin], np.array(losses, float)[thin], color=_KEPT, alpha=0.35, linewidth=0.8)
        axes.plot(np.array(steps)[thin], smooth[thin], color=_KEPT, linewidth=1.8)
        axes.set(xlabel="optimizer step", ylabel="loss")
        return _svg(figure, "loss by optimizer step")


def coverage_plot(shares: Sequence[float], floor: float) -> Html:
    """Share of training draws near each row of the sampler's schedule, logarithmic; rows without a draw lie on the floor, apart."""
    rows, values = np.arange(1, len(shares) + 1), np.array(shares, float)
    seen = values > 0
    with _style():
        figure, axes = _figure(5.0, 2.2)
        axes.plot(rows[seen], 100 * values[seen], ".", color=_KEPT, markersize=5)
        axes.plot(rows[~seen], np.full((~seen).sum(), 100 * floor), "x", color=_OUT, markersize=4)
        axes.set(xlabel="row of the schedule", ylabel="% of draws", yscale="log", ylim=(50 * floor, 120))
        return _svg(figure, "share of training draws by row of the sampler's schedule")


def signals_picture(signals: Sequence[tuple[str, np.ndarray, Bound | None]], heading: str) -> bytes:
    """PNG of one histogram per (title, measured values, bound), four in a row, as `score_plot` draws them."""
    columns = min(4, max(1, len(signals)))
    rows = max(1, -(-len(signals) // columns))
    with _style(_PAPER):
        figure = Figure(figsize=(3.0 * columns, 0.5 + 1.9 * rows))
        figure.suptitle(heading)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, values, bound) in zip(grid, signals, strict=False):
            axes.set_title(title, fontsize=8.5)
            if len(values):
                _draw_scores(axes, values, bound, _PAPER[_KEPT], _PAPER[_OUT])
            else:
                axes.text(0.5, 0.5, "nothing was measured", ha="center", va="center", transform=axes.transAxes)
                axes.set_axis_off()
        for axes in grid[len(signals) :]:
            axes.set_axis_off()
        return _png(figure)


def funnel_picture(steps: Sequence[tuple[str, int, str, str]], heading: str) -> bytes:
    """PNG of one bar per step (title, count, unit, what went lost and why), in proportion to the longest bar of the same unit."""
    longest = {unit: max([1, *(count for _, count, other, _ in steps if other == unit)]) for _, _, unit, _ in steps}
    with _style(_PAPER):
        figure, axes = _figure(10.0, 0.7 + 0.52 * len(steps))
        axes.set_title(heading)
        places = np.arange(len(steps))
        shares = [count / longest[unit] for _, count, unit, _ in steps]
        axes.barh(places, shares, 0.62, color=[_PAPER[_MUTE if unit == steps[0][2] else _KEPT] for _, _, unit, _ in steps])
        for place, share, (_, count, unit, note) in zip(places, shares, steps, strict=True):
            axes.text(share, int(place), f"  {count:,} {unit}   {note}", va="center", fontsize=8)
        axes.set(ylim=(len(steps) - 0.5, -0.5), xlim=(0, 2.4))
        axes.set_yticks(places, [title for title, *_ in steps])
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        return _png(figure)


def balance_picture(before: Mapping[str, float], after: Mapping[str, float], target: Mapping[str, float], heading: str) -> bytes:
    """PNG of each concept's share before and after balance, with its target as a mark; the largest first, the rarest are one bar."""
    names = sorted({*before, *after, *target}, key=lambda name: (-max(before.get(name, 0.0), target.get(name, 0.0)), name))
    shown, rest = names[:_MAX_CONCEPTS], names[_MAX_CONCEPTS:]
    rows = [(_cut(name), before.get(name, 0.0), after.get(name, 0.0), target.get(name)) for name in shown]
    if rest:
        left, kept = (sum(shares.get(name, 0.0) for name in rest) for shares in (before, after))
        rows.append((f"{len(rest)} others", left, kept, None))
    with _style(_PAPER):
        figure, axes = _figure(8.0, 1.1 + 0.42 * len(rows))
        axes.set_title(heading)
        places = np.arange(len(rows))
        axes.barh(places - 0.19, [100 * row[1] for row in rows], 0.36, color=_PAPER[_MUTE], label="before")
        axes.barh(places + 0.19, [100 * row[2] for row in rows], 0.36, color=_PAPER[_KEPT], label="after")
        marks = [(place, 100 * row[3]) for place, row in enumerate(rows) if row[3] is not None]
        if marks:
            axes.plot([share for _, share in marks], [place for place, _ in marks], "|", color=_PAPER[_OUT], markersize=18,
                      markeredgewidth=2, label="target")  # fmt: skip
        axes.set(xlabel="% of shots", ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(places, [row[0] for row in rows])
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.legend(frameon=False, loc="lower right")
        return _png(figure)


def running_mean(losses: Sequence[float]) -> np.ndarray:
    """Centred mean over a twentieth of the curve, narrower at its ends; numbers that are not finite are passed over."""
    values = np.array(losses, float)
    half = max(1, len(values) // 40)
    good = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    left = np.maximum(np.arange(len(values)) - half, 0)
    right = np.minimum(np.arange(len(values)) + half + 1, len(values))
    num = counts[right] - counts[left]
    return np.where(num > 0, (sums[right] - sums[left]) / np.maximum(num, 1), np.nan)


def _draw_scores(axes: Axes, values: Sequence[float] | np.ndarray, bound: Bound | None, kept: str, out: str) -> None:
    """A histogram; what lies outside the bound is shaded, its limits are dashed."""
    axes.hist(values, bins=24, color=kept)
    low, high = axes.get_xlim()
    room = high - low
    # A limit far from every value would leave no room for them; the caption names it.
    for limit, side in ((bound.min, -1), (bound.max, 1)) if bound else ():
        if limit is not None and low - room / 2 <= limit <= high + room / 2:
            low, high = min(low, limit - room / 20), max(high, limit + room / 20)
            axes.axvline(limit, color=out, linestyle="--", linewidth=1.2)
            axes.axvspan(limit, low if side < 0 else high, color=out, alpha=0.15, linewidth=0)
    axes.set(xlim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _style(colours: Mapping[str, str] | None = None) -> Any:
    return matplotlib.rc_context({key: (colours or {}).get(value, value) for key, value in _STYLE.items()})


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches, without pyplot, whose list of figures would keep every one alive."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _png(figure: Figure) -> bytes:
    """A PNG file without a date or a version in it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")  # a concept in a script that Matplotlib's font lacks
        figure.savefig(buffer, format="png", dpi=110, facecolor="#ffffff", metadata={"Software": None})
    return buffer.getvalue()


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..."


def _svg(figure: Figure, label: str) -> Html:
    text = io.StringIO()
    with warnings.catch_warnings():
        # Only widths are computed with Matplotlib's font; the browser draws the letters, whatever the script.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    return html('<div role="img" aria-label="{label}">{svg}</div>', label=label, svg=Html(_inline(text.getvalue())))


def _inline(svg: str) -> str:
    """Matplotlib's file as a part of a page: no prologue, fixed size, group ids, or style rule for the whole document."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\s*\n\s*", "\n", svg)
