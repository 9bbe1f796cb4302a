"""The plots of the page with their captions: which numbers are drawn, and what is said where there are none."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from skyreels_platform.captioning.schema import concept_of
from skyreels_platform.errors import SourceError
from skyreels_platform.home import Home
from skyreels_platform.ledger.trace import Node
from skyreels_platform.recipe import Bound
from skyreels_platform.report.markup import Html, count, html, sentence, shorten
from skyreels_platform.report.plots import concept_plot, duration_plot, loss_plot, running_mean, score_plot

Row = dict[str, Any]


def charts_section(home: Home, shots: list[Row], stage: str, bounds: Mapping[str, Bound], checkpoints: list[Node]) -> Html:
    """Durations, concepts, scores against the pool's bounds, and the loss of every checkpoint in the film's line."""
    return html(
        '<section><h2>Plots</h2><div class="plots large">{shots}</div><h3>Scores, with the bounds of pool {stage}</h3>'
        '<div class="plots">{scores}</div><h3>Loss</h3><div class="plots large">{losses}</div></section>',
        shots=[_durations(shots), _concepts(shots, stage)], stage=stage, scores=_scores(home, bounds),
        losses=[_losses(home, node) for node in checkpoints] or sentence("The film's checkpoint is not in the ledger."),
    )  # fmt: skip


def _durations(shots: list[Row]) -> Html:
    if not shots:
        return sentence("No durations: no shot has been judged yet.")
    kept, rejected = (
        [shot["end_s"] - shot["start_s"] for shot in shots if (shot["verdict"] == "pass") is is_kept] for is_kept in (True, False)
    )
    return _plot(duration_plot(kept, rejected), "Shot duration", {"kept": "--kept", "rejected or in review": "--out"})


def _concepts(shots: list[Row], stage: str) -> Html:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for shot in shots:
        concept = concept_of(json.loads(shot["structured"])) if shot["structured"] else "no caption"
        before[concept] += 1
        after[concept] += shot["verdict"] == "pass"
    if not before:
        return sentence("No concepts: no shot has been judged yet.")
    return _plot(concept_plot(before, after), "Concept (type of the main subject)", {"all shots": "--mute", f"pool {stage}": "--kept"})


def _scores(home: Home, bounds: Mapping[str, Bound]) -> list[Html]:
    """One small plot per signal, those with a bound first."""
    rows = home.ledger.rows("scores", columns=["signal", "value", "unit", "outcome"]).to_pylist()
    by_signal: dict[str, list[Row]] = {}
    for row in rows:
        by_signal.setdefault(row["signal"], []).append(row)
    plots = []
    for name in [*(name for name in bounds if name in by_signal), *sorted(by_signal.keys() - bounds.keys())]:
        values = [row["value"] for row in by_signal[name] if row["outcome"] == "measured" and _is_finite(row["value"])]
        outcomes = Counter(row["outcome"] for row in by_signal[name])
        notes = [f"{name} ({by_signal[name][0]['unit']}), {count(len(values), 'shot')}", _limits(bounds.get(name))]
        notes += [f"{outcomes[key]:,} {key.replace('_', ' ')}" for key in ("unknown", "not_applicable") if outcomes[key]]
        text = "; ".join(filter(None, notes))
        plots.append(_plot(score_plot(values, bounds.get(name)), text) if values else sentence(f"{text}: nothing was measured"))
    return plots or [sentence("No shot has been scored yet.")]


def _limits(bound: Bound | None) -> str:
    sides = [("min", bound.min), ("max", bound.max)] if bound else []
    return ", ".join(f"{side} {limit:g}" for side, limit in sides if limit is not None)


def _losses(home: Home, checkpoint: Node) -> Html:
    stage = checkpoint.facts.get("stage", checkpoint.id)
    try:
        key = f"{checkpoint.facts['path']}/losses.jsonl"
        lines = [json.loads(line) for line in home.store.read_bytes(key).decode().splitlines()]
        steps, losses = [int(line["step"]) for line in lines], [float(line["loss"]) for line in lines]
    except SourceError as error:
        return sentence(f"{stage}: no loss curve: {error}")
    except (KeyError, TypeError, ValueError) as error:
        return sentence(f"{stage}: the losses cannot be read: {type(error).__name__}: {error}")
    if not any(map(math.isfinite, losses)):
        return sentence(f"{stage}: no step has a finite loss")
    ends = f"loss {losses[0]:.3f} at step {steps[0]:,}, running mean {running_mean(losses)[-1]:.3f} at step {steps[-1]:,}"
    return _plot(loss_plot(steps, losses), f"{stage}: {ends}")


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _plot(svg: Html, caption: str, legend: Mapping[str, str] | None = None) -> Html:
    keys = [html(' <span class="swatch" style="background:var({colour})"></span> {name}', colour=colour, name=name)
            for name, colour in (legend or {}).items()]  # fmt: skip
    return html("<figure>{svg}<figcaption>{caption}{keys}</figcaption></figure>", svg=svg, caption=shorten(caption, 300), keys=keys)
