"""Generate one film from a published checkpoint, in a process of its own.

    python -m model.generate --spec FILM/spec.json

Writes `result.json` and then `frames.safetensors` (key 'frames', uint8 RGB (F, H, W, 3)) into the spec's folder: whoever finds the
frames finds the result. Encoding a video file is the caller's business. Progress goes to `progress.json`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model.checkpoint import write_json
from model.codec import build_codec, to_frames
from model.guard import die_with_parent, watch_supervisor
from model.published import read_kind
from model.reporter import reporter
from model.sampler import FilmPlan, sample_film
from model.text import build_text_encoder
from model.transformer import SkyReelsTransformer

FRAMES = "frames.safetensors"
PROGRESS = "progress.json"
RESULT = "result.json"
_PROGRESS_EVERY_S = 0.5


def generate(spec: dict[str, Any]) -> None:
    """Run one spec: keys checkpoint_dir, prompt, out_dir, device, threads, plan, codec, text."""
    started = time.monotonic()
    out = Path(spec["out_dir"])
    checkpoint = Path(spec["checkpoint_dir"])
    if (kind := read_kind(checkpoint)) != "diffusion_forcing":
        # a full-sequence model has the same config and loads without complaint, then fails as colour blocks after some seconds
        raise ValueError(f"{checkpoint} is a {kind} model; films need a diffusion_forcing one")
    torch.set_num_threads(spec["threads"])
    device = spec["device"]
    # the text encoder is larger than a small model: it is gone before the next one comes
    text = build_text_encoder(**spec["text"], device=device).encode([spec["prompt"], ""])
    dtype = torch.float32 if device == "cpu" else torch.bfloat16  # code: upstream samples in bf16
    model = SkyReelsTransformer.from_pretrained(checkpoint / "transformer", dtype).eval().to(device)
    codec = build_codec(**spec["codec"], device=device)

    written = 0.0

    def on_step(done: int, total: int) -> None:
        nonlocal written
        if done == total or time.monotonic() - written > _PROGRESS_EVERY_S:  # each write waits for the disk
            written = time.monotonic()
            write_json(out / PROGRESS, {"done": done, "total": total})

    plan = FilmPlan(**spec["plan"])
    frames = to_frames(sample_film(model, codec, text[0], text[1], plan, on_step))
    temporary = out / f".{FRAMES}"
    save_file({"frames": torch.from_numpy(frames)}, temporary)
    write_json(out / RESULT, {"num_windows": len(plan.windows()), "seconds": round(time.monotonic() - started, 3)})
    temporary.rename(out / FRAMES)


def main() -> None:
    """Entry of the generation process."""
    die_with_parent()
    watch_supervisor()
    parser = argparse.ArgumentParser(description="Generate one film from a spec file.")
    parser.add_argument("--spec", required=True, help="JSON file; see model.generate.generate")
    spec = json.loads(Path(parser.parse_args().spec).read_text(encoding="utf-8"))
    with reporter() as report:
        generate(spec)
        report.finish(json.loads((Path(spec["out_dir"]) / RESULT).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
