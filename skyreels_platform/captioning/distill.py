"""SkyCaptioner from its teachers (paper 3.2): a frozen set of captioned shots, the fine-tune of a Qwen2.5-VL on it, and its evaluation.

Data: shots of the concept-balanced pool whose caption is complete, from batches whose gates hold; the answer to learn is the caption as it
stands, with the experts' and people's fields in it. Training is `model.captioner`, out of process, resumable, ended as a group. What is
published is a folder that vLLM serves; `captions.captioner.model` may name it.
"""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import MANIFEST, file_hash, find_checkpoints, verify_folder, write_folder, write_json
from model.journal import LOSSES, read_lines
from skyreels_platform.captioning.evaluation import FieldScore, score_fields
from skyreels_platform.captioning.prompt import INSTRUCTION, PROMPT_VERSION, spread
from skyreels_platform.captioning.questions import ask_and_keep, check_caption, pictures_of, shot_request
from skyreels_platform.captioning.schema import CaptionFieldError, StructuredCaption, concept_of, parse
from skyreels_platform.curation.standing import BALANCED, failed_gates
from skyreels_platform.errors import GateError, TrainingError
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current, set_current
from skyreels_platform.ledger.ids import make_id
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.processes import run_group
from skyreels_platform.progress import bar
from skyreels_platform.recipe import CaptionerTraining, CaptionSettings, EndpointSettings, LaunchSettings

DISTILL_VERSION = "captioner-1"
"""Raise it when the same captions would give another data set or other weights."""
DATASET, CAPTIONER = "dataset_captioner", "skycaptioner"
_PER_SHARD = 256  # clips; about 80 MB
_SPEC = "spec.json"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CaptionerDataset:
    """One frozen data set."""

    dataset_id: str
    num_clips: int
    concepts: dict[str, int]
    num_incomplete: int
    """Balanced shots left out because their caption lacks a field."""


def freeze_dataset(home: Home, settings: CaptionSettings) -> CaptionerDataset:
    """Freeze the current captions into the store and make the set current; the same captions again change nothing.

    GateError if no shot can be used, saying why.
    """
    rows = home.ledger.query(
        """
        SELECT captions.shot_id, captions.batch, structured, start_s, end_s, captions.provenance
        FROM captions JOIN shots USING (shot_id) JOIN verdicts ON verdicts.shot_id = captions.shot_id
        WHERE verdicts.stage = $stage AND verdicts.verdict = 'pass' AND captions.status = 'ok' ORDER BY captions.shot_id
        """,
        {"stage": BALANCED},
    ).to_pylist()
    held = failed_gates(home)
    usable = [row for row in rows if row["batch"] not in held and _is_complete(row["structured"])]
    if not usable:
        held_back = "; ".join(f"batch {batch} is held back by {gate}" for batch, gate in held.items())
        raise GateError(f"{DATASET}: none of {len(rows)} captioned shots of the balanced pool has a complete caption. {held_back}")
    key = make_id("snap", DATASET, DISTILL_VERSION, settings.num_frames, [(row["shot_id"], row["structured"]) for row in usable])
    path = f"captioner_data/{key}"
    if not home.store.exists(f"{path}/{MANIFEST}"):
        staged = home.work / "captioner_data" / key
        manifest = {"dataset_id": key, "provenance": provenance(DISTILL_VERSION, {}, [row["provenance"] for row in usable])}
        write_folder(staged, lambda folder: _write_clips(home, folder, usable, settings.num_frames), manifest)
        home.store.upload(staged, path)
        shutil.rmtree(staged)
    set_current(home.ledger, DATASET, key)
    concepts = Counter(concept_of(json.loads(row["structured"])) for row in usable)
    return CaptionerDataset(
        dataset_id=key, num_clips=len(usable), concepts=dict(concepts.most_common()), num_incomplete=len(rows) - len(usable)
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainedCaptioner:
    """One published captioner."""

    captioner_id: str
    path: str
    """In the store: a folder that vLLM serves."""
    num_steps: int
    first_loss: float
    final_loss: float


def train_captioner(
    home: Home, settings: CaptionerTraining, launch: LaunchSettings, *, seed: int, env: Mapping[str, str] | None = None
) -> TrainedCaptioner:
    """Fine-tune on the current data set and publish; goes on from its newest checkpoint, and a published one is not repeated."""
    dataset_id = get_current(home.ledger, DATASET)
    base = _base_folder(settings.base)
    inputs = {"data": dataset_id, "base": hash_json({path.name: file_hash(path) for path in sorted(base.glob("*.safetensors"))}),
              "prompt": PROMPT_VERSION}  # fmt: skip
    values = {
        **settings.model_dump(exclude={"base", "lora_rank"}), "lora": settings.lora(), "seed": seed, "inputs": inputs,
        "zero_stage": launch.zero_stage, "offload": launch.offload, "dtype": launch.dtype, "accelerator": launch.accelerator,
        "threads_per_rank": launch.threads_per_rank, "instruction": INSTRUCTION, "base_dir": str(base),
        "data_dir": str(home.fetch(f"captioner_data/{dataset_id}").absolute()), "max_steps_this_run": None,
    }  # fmt: skip
    key = make_id("ckpt", CAPTIONER, DISTILL_VERSION, {name: value for name, value in values.items() if not name.endswith("_dir")})
    path, run_dir = f"checkpoints/{CAPTIONER}/{key}", (home.work / "runs" / key).absolute()
    if not home.store.exists(f"{path}/{MANIFEST}"):
        run_dir.mkdir(parents=True, exist_ok=True)
        write_json(run_dir / _SPEC, {**values, "run_dir": str(run_dir)})
        _run(run_dir, launch, env)
        _publish(home, run_dir, path, {"captioner_id": key, "dataset_id": dataset_id, "spec": values})
    losses = [line["loss"] for line in read_lines(home.fetch(path) / LOSSES)]
    set_current(home.ledger, CAPTIONER, key)
    return TrainedCaptioner(captioner_id=key, path=path, num_steps=len(losses), first_loss=losses[0], final_loss=losses[-1])


def evaluate_captioner(home: Home, settings: CaptionSettings, *, model: str, urls: Sequence[str], seed: int) -> list[FieldScore]:
    """Scores of a served captioner on the shots whose sidecars hold structured fields; [] without any such shot."""
    rows = home.ledger.query(
        "SELECT shots.*, human_caption FROM shots JOIN sources USING (source_id) WHERE human_caption != '{}' ORDER BY shot_id"
    ).to_pylist()
    true: dict[str, StructuredCaption] = {}
    for row in rows:
        fields = {key: value for key, value in json.loads(row["human_caption"]).items() if key in StructuredCaption.model_fields}
        if fields:
            true[row["shot_id"]] = parse(fields, is_complete=False)
    shots = [row for row in rows if row["shot_id"] in true]
    asked = settings.model_copy(update={"captioner": EndpointSettings(model=model, concurrency=settings.captioner.concurrency)})
    pictures = pictures_of(home, shots)
    requests = [shot_request(shot, pictures[shot["shot_id"]], asked, seed) for shot in shots if pictures[shot["shot_id"]]]
    if not requests:
        return []
    answers, _ = ask_and_keep(home, "evaluation", "evaluation", iter(requests), len(requests), asked.captioner, urls, check_caption)
    said = {key: parse(answer.text, is_complete=True) for key, answer in answers.items() if answer.status == "success"}
    return score_fields(said, true)


def _is_complete(structured: str) -> bool:
    try:
        parse(structured, is_complete=True)
    except CaptionFieldError:
        return False
    return True


def _write_clips(home: Home, folder: Path, rows: Sequence[Row], num_frames: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    lines: list[str] = []
    for number, start in enumerate(range(0, len(rows), _PER_SHARD)):
        part = rows[start : start + _PER_SHARD]
        shard, tensors = f"clips-{number:05d}.safetensors", {}
        for key, kept in pictures_of(home, part).items():
            row = next(row for row in part if row["shot_id"] == key)
            if not kept:
                continue
            chosen = [kept[place][1] for place in spread([time_s for time_s, _ in kept], row["end_s"] - row["start_s"], num_frames)]
            tensors[key] = np.frombuffer(b"".join(chosen), np.uint8)
            lines.append(json.dumps({
                "id": key, "answer": row["structured"], "shard": shard, "lengths": [len(picture) for picture in chosen],
            }) + "\n")  # fmt: skip
        save_file(tensors, folder / shard)
    (folder / "clips.jsonl").write_text("".join(lines), encoding="utf-8")


def _base_folder(reference: str) -> Path:
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder.absolute()
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(reference))


def _run(run_dir: Path, launch: LaunchSettings, env: Mapping[str, str] | None) -> None:
    if launch.hostfile:
        start = ["-m", "deepspeed.launcher.runner", "--hostfile", launch.hostfile, "--module", "model.captioner"]
    else:
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(launch.num_ranks), "-m", "model.captioner"]
    variables = {"DS_ACCELERATOR": launch.accelerator, "OMP_NUM_THREADS": str(launch.threads_per_rank), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *start, "--spec", str(run_dir / _SPEC)]
    with bar(CAPTIONER) as progress:
        last = lambda: len(read_lines(run_dir / LOSSES))  # noqa: E731
        run_group(command, folder=run_dir, name="train", grace_s=launch.grace_s, env={**variables, **(env or {})},
                  on_poll=lambda: progress.to(last()))  # fmt: skip
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    if not result["complete"]:
        raise TrainingError(f"{CAPTIONER} stopped at step {result['step']}; run it again to go on from there")


def _publish(home: Home, run_dir: Path, path: str, manifest: Mapping[str, Any]) -> None:
    newest = find_checkpoints(run_dir)[-1].path
    if broken := verify_folder(newest):
        raise TrainingError(f"{newest}: files differ from their manifest: {broken}; delete this folder and train again")

    def fill(folder: Path) -> None:
        shutil.copytree(newest / "captioner", folder, dirs_exist_ok=True)
        shutil.copy(run_dir / LOSSES, folder / LOSSES)

    staged = home.work / "publish" / Path(path).name
    write_folder(staged, fill, dict(manifest))
    home.store.upload(staged, path)
    shutil.rmtree(staged)


def shown(scores: Iterable[FieldScore]) -> str:
    """Scores as a Markdown table beside the published captioner's."""
    lines = ["| field | here | of | scored by | SkyCaptioner-V1 (paper, by people) |", "|---|---|---|---|---|"]
    for score in scores:
        how = "equality" if score.is_exact else "common words"
        lines.append(f"| {score.field} | {score.score:.1%} | {score.num} | {how} | {score.paper:.1%} |")
    return "\n".join(lines)
