"""The sections of the page about the film, the funnel and the recipe; each is markup made from values that were read before."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from skyreels_platform.home import Home
from skyreels_platform.ledger.trace import Node
from skyreels_platform.recipe import Recipe
from skyreels_platform.report.funnel import Drop, Pool, Step
from skyreels_platform.report.markup import Html, count, data_uri, duration, facts, html, join, listing, sentence, shorten

_MAX_NAMED = 20
_MAX_REASONS = 12
_MAX_TEXT = 300
_MAX_PROMPT = 2000
_BADGES = {"pass": "Pixel check passed", "fail": "Pixel check failed", "not_applicable": "No pixel check"}

Row = dict[str, Any]


def film_section(
    film: Row, stage: str | None, *, num_files: int, seconds: float, video: bytes | None, video_problem: str, strip: list[bytes],
    strip_problem: str,
) -> Html:  # fmt: skip
    """What went in, what came out, and whether its pixels show what the prompt names."""
    outcome, text = pixel_check(film["manifest"])
    badge = html(
        '<div class="badge {outcome}" data-check="{outcome}"><b>{title}</b><span>{text}</span></div>',
        outcome=outcome, title=_BADGES[outcome], text=shorten(text, _MAX_TEXT * 2),
    )  # fmt: skip
    length = film["num_frames"] / film["fps"] if film["num_frames"] and film["fps"] else 0.0
    went_in = f"{count(num_files, 'file')}, {duration(seconds)} of footage" + (f" ({seconds / 3600:.3f} h)" if seconds < 3600 else "")
    frames = [
        html('<img alt="film frame {number}" src="{uri}">', number=number, uri=data_uri("image/jpeg", data))
        for number, data in enumerate(strip, start=1)
    ]
    return html(
        '<section><h1>Footage to film</h1><div class="film"><div>{video}</div><div>'
        '<p class="mute">In</p><p class="big">{went_in}</p><p class="mute">Out: one film of {length}</p>'
        '<p class="prompt">{prompt}</p>{badge}{facts}</div></div>{strip}</section>',
        video=_video(video, video_problem), went_in=went_in, length=duration(length), badge=badge,
        prompt=shorten(film["prompt"] or "(no prompt)", _MAX_PROMPT),
        facts=facts({
            "Film": html("<code>{id}</code>", id=film["film_id"]),
            "Checkpoint": html("<code>{id}</code> {stage}", id=film["checkpoint_id"], stage=f"({stage})" if stage else ""),
            "Seed": film["seed"],
            "Frames": f"{film['num_frames']} at {film['fps']} per second, {film['width']} x {film['height']} pixels, "
                      f"{film['num_windows']} windows",
            "Schedule": _schedule(film["schedule"]),
        }),
        strip=html('<div class="strip">{frames}</div>', frames=frames) if frames else sentence(f"No film frames: {strip_problem}"),
    )  # fmt: skip


def pixel_check(manifest: str | None) -> tuple[str, str]:
    """Outcome (pass | fail | not_applicable) and text of the check in a film's manifest (JSON)."""
    try:
        values = json.loads(manifest or "{}")
    except ValueError:
        return "not_applicable", "the film's manifest cannot be read"
    check = values.get("check") if isinstance(values, Mapping) else None
    if not isinstance(check, Mapping) or check.get("outcome") not in _BADGES:
        return "not_applicable", "the film's manifest holds no pixel check"
    return str(check["outcome"]), str(check.get("text", ""))


def funnel_section(steps: list[Step], pools: list[Pool], balanced: Pool, gates: list[Row], num_passed: int) -> Html:
    """From files to training data, each loss with its reasons; then the other pools and the gates."""
    return html(
        "<section><h2>From footage to training set</h2>{steps}<h3>Pools</h3>{pools}<h3>Gates</h3>{gates}</section>",
        steps=[_step(step, max(other.count for other in steps if _is_shots(other) == _is_shots(step))) for step in steps],
        pools=_pools(pools, balanced), gates=_gates(gates, num_passed),
    )  # fmt: skip


def recipe_section(home: Home, recipe: Recipe, film: Row, checkpoints: list[Node], uri: str | None) -> Html:
    """The recipe, where everything lies, and how to go on. uri: one source file."""
    store = home.store.uri
    commands = [
        f"export SKYREELS_HOME={shlex.quote(home.uri)}", f"skyreels trace {film['film_id']}",
        f"skyreels inspect {shlex.quote(uri) if uri else 'FILE'}", "make ui",
    ]  # fmt: skip
    return html(
        "<section><h2>Recipe</h2>{recipe}<h3>Where everything lies</h3>{places}<h3>How to go on</h3><pre>{commands}</pre></section>",
        recipe=facts(_recipe_facts(recipe)),
        places=facts({
            "Home": home.uri, "Ledger": home.ledger.uri, "Store": store, "Film": f"{store}/{film['path']}",
            **{f"Checkpoint {node.facts.get('stage')}": f"{store}/{node.facts['path']}" for node in checkpoints if "path" in node.facts},
            "Scratch": home.work,
        }),
        commands="\n".join(commands),
    )  # fmt: skip


def _recipe_facts(recipe: Recipe) -> dict[str, object]:
    model, film = recipe.model, recipe.film
    width = model.num_attention_heads * model.attention_head_dim
    values: dict[str, object] = {
        "Name": recipe.name, "Hash": html("<code>{hash}</code>", hash=recipe.hash()), "Seed": recipe.seed,
        "Model": f"{model.num_layers} layers, {model.num_attention_heads} heads, width {width}, patch {model.patch_size}",
        "Codec, text, captions": f"{recipe.codec.backend}, {recipe.text.backend}, {recipe.captions.backend}",
    }  # fmt: skip
    for name, dataset in recipe.datasets.items():
        values[f"Data set {name}"] = (
            f"{dataset.resolution} pixels, {', '.join(str(duration.num_frames) for duration in dataset.durations)} frames at "
            f"{' and '.join(map(str, dataset.train_fps))} per second, at most {count(dataset.max_clips_per_shot, 'clip')} per shot"
            + (f", {dataset.image_share:.0%} of the steps on images" if dataset.image_share else "")
        )
    for name, stage in recipe.stages.items():
        values[f"Stage {name}"] = (
            f"{stage.num_steps:,} steps of {stage.batch_size} clips, learning rate {stage.learning_rate:g} ({stage.schedule})"
        )
    launch = recipe.launch
    values["Training"] = f"{launch.num_ranks} ranks, ZeRO-{launch.zero_stage}, {launch.accelerator}, {launch.dtype}"
    values["Film"] = (
        f"{film.num_frames} frames in windows of {film.base_num_frames} with {film.overlap_history} of history, "
        f"{film.num_steps} steps, shift {film.shift:g}, guidance {film.guidance_scale:g}, ar_step {film.ar_step}"
    )
    return values


def _video(data: bytes | None, problem: str) -> Html:
    if data is None:
        return sentence(f"The film is not embedded: {problem}")
    return html('<video loop muted autoplay controls playsinline src="{uri}"></video>', uri=data_uri("video/mp4", data))


def _schedule(text: str | None) -> Html:
    """A schedule in JSON as `name value` pairs; any other text as it is."""
    try:
        values = json.loads(text or "")
    except ValueError:
        values = None
    if isinstance(values, Mapping):
        text = ", ".join(f"{name} {value}" for name, value in values.items())
    return html("{text}", text=shorten(text or "", _MAX_TEXT * 2))


def _is_shots(step: Step) -> bool:
    return step.unit == "shot"


def _step(step: Step, most: int) -> Html:
    width = f"{100 * step.count / most:.1f}" if most else "0"
    return html(
        '<div class="step" data-step="{title}" data-count="{plain}"><p><span><b>{title}</b> <span class="mute">{note}</span></span>'
        '<span class="number">{count}</span></p><div class="bar"><i style="width:{width}%"></i></div>{drops}</div>',
        title=step.title, plain=step.count, note=step.note, count=count(step.count, step.unit), width=width,
        drops=[_drop(drop) for drop in step.drops],
    )  # fmt: skip


def _drop(drop: Drop) -> Html:
    named = [
        html("<bdi><b>{name}</b></bdi>: {reason}", name=shorten(name, _MAX_TEXT), reason=shorten(reason, _MAX_TEXT))
        for name, reason in drop.named
    ]
    return html(
        '<div class="drop"><b>{count}</b> {text}{reasons}{named}</div>', count=f"-{drop.count:,}", text=drop.text,
        reasons=html(": {list}", list=_reasons(drop.reasons)) if drop.reasons else None,
        named=listing(named, limit=_MAX_NAMED, unit="files") if named else None,
    )  # fmt: skip


def _reasons(reasons: Mapping[str, int]) -> Html:
    """`static > max 12, motion < min 3, and 2 more reasons`."""
    shown = [
        html("<span>{reason} <b>{count}</b></span>", reason=shorten(reason, _MAX_TEXT), count=f"{count:,}")
        for reason, count in list(reasons.items())[:_MAX_REASONS]
    ]
    more = [f"and {len(reasons) - _MAX_REASONS} more reasons"] if len(reasons) > _MAX_REASONS else []
    return join([*shown, *more], ", ")


def _pools(pools: list[Pool], balanced: Pool) -> Html:
    rows = [
        html(
            '<tr data-pool="{stage}"><td>{stage}</td><td class="number">{kept}</td><td class="number">{failed}</td>'
            '<td class="number">{review}</td><td>{reasons}</td></tr>',
            stage=pool.stage, kept=pool.counts.get("pass", 0), failed=pool.counts.get("fail", 0),
            review=pool.counts.get("review", 0), reasons=_reasons(pool.reasons) if pool.counts else "not judged yet",
        )
        for pool in (*pools, balanced)
    ]
    return html(
        '<div class="wide"><table><tr><th>pool</th><th class="number">pass</th><th class="number">fail</th>'
        '<th class="number">review</th><th>reasons (a shot may have several)</th></tr>{rows}</table></div>', rows=rows,
    )  # fmt: skip


def _gates(held: list[Row], num_passed: int) -> Html:
    if not held:
        return sentence(f"All {num_passed:,} gates let their batch pass." if num_passed else "No gate has been checked yet.")
    lines = [html("<b>{batch}</b>, {gate}: {reason}", **{**row, "reason": shorten(row["reason"], _MAX_TEXT)}) for row in held]
    return html(
        '<p class="drop"><b>{held}</b> of {all} let no shot of their batch pass</p>{lines}', held=len(held),
        all=count(len(held) + num_passed, "gate"),
        lines=listing(lines, limit=_MAX_NAMED, unit="gates"),
    )  # fmt: skip
