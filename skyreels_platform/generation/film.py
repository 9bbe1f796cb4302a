"""A film: generated window by window from a published checkpoint, encoded, checked from its pixels, stored with a manifest.

A film's id is the hash of checkpoint, prompt, seed and schedule, so the same request is answered from the store.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import write_json
from skyreels_platform.errors import GateError, LedgerError
from skyreels_platform.generation.check import check_film, names_subject
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current
from skyreels_platform.ledger.ids import make_id
from skyreels_platform.ledger.provenance import provenance
from skyreels_platform.processes import run_group
from skyreels_platform.progress import bar
from skyreels_platform.recipe import FilmSettings, Recipe

FILM_VERSION = "film-1"
"""Raise it when the same request would give other pixels."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FilmRequest:
    """One film to make."""

    checkpoint_id: str
    prompt: str
    settings: FilmSettings
    width: int
    """Pixels before `upscale`."""
    height: int


def plan_film(home: Home, recipe: Recipe, *, stage: str, prompt: str = "") -> FilmRequest:
    """The film that the recipe asks for, from the stage's current checkpoint; prompt and size follow its training snapshot,
    or that of the data set that the recipe names."""
    checkpoint_id = get_current(home.ledger, stage)
    checkpoint = home.ledger.rows("checkpoints", {"checkpoint_id": checkpoint_id}).to_pylist()[0]
    if checkpoint["model_kind"] != "diffusion_forcing":
        raise GateError(f"{checkpoint_id} ({stage}) is a {checkpoint['model_kind']} model; films need a diffusion_forcing one")
    data = get_current(home.ledger, f"dataset_{recipe.film.dataset}") if recipe.film.dataset else checkpoint["snapshot_id"]
    clips = home.ledger.query(
        "SELECT caption, width, height, count(*) AS n FROM snapshot_clips WHERE snapshot_id = $id AND num_frames IS DISTINCT FROM 1 "
        "GROUP BY ALL ORDER BY n DESC, caption, width, height", {"id": data},
    ).to_pylist()  # fmt: skip
    chosen = next((clip for clip in clips if names_subject(clip["caption"])), clips[0])
    prompt = prompt or recipe.film.prompt or chosen["caption"]
    return FilmRequest(
        checkpoint_id=checkpoint_id, prompt=prompt, settings=recipe.film, width=chosen["width"], height=chosen["height"]
    )


def make_film(
    home: Home, recipe: Recipe, request: FilmRequest, *, env: Mapping[str, str] | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> Row:  # fmt: skip
    """Generate, encode, check and store one film; returns its ledger row. The same request again is a no-op."""
    values = {
        "checkpoint_id": request.checkpoint_id, "prompt": request.prompt, "width": request.width, "height": request.height,
        "settings": request.settings.model_dump(mode="json"), "code_version": FILM_VERSION,
    }  # fmt: skip
    key = make_id("film", values)
    known = home.ledger.rows("films", {"film_id": key}).to_pylist()
    if not known or not home.store.exists(known[0]["path"]):
        folder = home.work / "films" / key
        _generate(home, recipe, request, folder, env, on_poll)
        known = [_store(home, request, key, values, folder)]
    return known[0]


def _generate(
    home: Home, recipe: Recipe, request: FilmRequest, folder: Path, env: Mapping[str, str] | None, on_poll: Callable[[], None]
) -> None:
    from model.generate import FRAMES, PROGRESS

    if (folder / FRAMES).is_file():
        return  # a run that was killed after generation
    rows = home.ledger.rows("checkpoints", {"checkpoint_id": request.checkpoint_id}).to_pylist()
    if not rows:
        raise LedgerError(f"no checkpoint {request.checkpoint_id!r} in the ledger")
    film = request.settings
    spec = {
        "checkpoint_dir": str(home.fetch(rows[0]["path"]).absolute()), "prompt": request.prompt, "out_dir": str(folder.absolute()),
        "device": recipe.launch.accelerator,
        "threads": recipe.launch.threads_per_rank,  # not every core: threads that wait for a busy one make a film ten times slower
        "codec": recipe.codec.model_dump(), "text": recipe.text.model_dump(), "plan": _plan(request),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", spec)
    with bar("film", total=_num_rows(film)) as progress:

        def poll() -> None:
            state = folder / PROGRESS
            if state.is_file():
                progress.to(json.loads(state.read_text(encoding="utf-8"))["done"])
            on_poll()

        run_group(
            [sys.executable, "-m", "model.generate", "--spec", str(folder / "spec.json")], folder=folder, name="generate",
            grace_s=1.0, env=env, on_poll=poll,
        )  # fmt: skip


def _store(home: Home, request: FilmRequest, key: str, values: Row, folder: Path) -> Row:
    from safetensors.numpy import load_file

    from model.generate import FRAMES, RESULT
    from skyreels_platform.media.encode import write_video

    frames = load_file(folder / FRAMES)["frames"]
    check = check_film(frames, request.prompt)
    film = request.settings
    large = frames.repeat(film.upscale, axis=1).repeat(film.upscale, axis=2)
    write_video(folder / "film.mp4", large, film.fps, metadata={"comment": f"{key} {request.checkpoint_id}: {request.prompt}"})
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    manifest = {**values, "film_id": key, "num_windows": result["num_windows"], "check": asdict(check)}
    row = {
        "film_id": key, "checkpoint_id": request.checkpoint_id, "prompt": request.prompt, "seed": film.seed,
        "schedule": json.dumps(_plan(request), sort_keys=True), "num_frames": len(frames), "fps": film.fps,
        "width": large.shape[2], "height": large.shape[1], "num_windows": result["num_windows"], "path": f"films/{key}.mp4",
        "manifest": json.dumps(manifest, sort_keys=True), "provenance": provenance(FILM_VERSION, values, [request.checkpoint_id]),
    }  # fmt: skip
    home.store.upload(folder / "film.mp4", row["path"])
    home.store.write_bytes(f"films/{key}.json", json.dumps(manifest, indent=2, sort_keys=True).encode())
    home.ledger.merge("films", [row])
    return row


def _plan(request: FilmRequest) -> Row:
    """Fields of model.sampler.FilmPlan."""
    film = request.settings
    return {
        "num_frames": film.num_frames, "height": request.height, "width": request.width, "base_num_frames": film.base_num_frames,
        "overlap_history": film.overlap_history, "num_steps": film.num_steps, "shift": film.shift,
        "guidance_scale": film.guidance_scale, "ar_step": film.ar_step, "block_size": film.causal_block_size,
        "addnoise_condition": film.addnoise_condition, "fps": film.fps, "seed": film.seed,
    }  # fmt: skip


def _num_rows(film: FilmSettings) -> int:
    """Denoising rows of the whole film, for the progress bar."""
    from model.schedule import step_matrix, windows

    spans = windows(film.num_frames, film.base_num_frames, film.overlap_history, block_size=film.causal_block_size)
    return sum(
        len(step_matrix(span.partition(film.causal_block_size), film.num_steps, film.ar_step, span.num_history_latents).index)
        for span in spans
    )
