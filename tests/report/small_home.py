"""A small home written by hand: one real film with four shots, one refused file, two checkpoints, one generated film."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from skyreels_platform.home import Home
from skyreels_platform.ledger.ids import content_id, shot_id
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.sample_edit import FilmSpec
from skyreels_platform.media.sample_film import render_film
from skyreels_platform.media.sample_scene import Background, SceneSpec, Subject
from skyreels_platform.store import LocalStore

HOSTILE = '"><script>alert(1).mp4'
FILM = "film_00000000000000f1"
BASE, FORCED = "ckpt_00000000000000c1", "ckpt_00000000000000c2"
SNAPSHOT = "snap_00000000000000a1"
PROMPT = "a red circle moves <b>right</b> & on"
CHECK = "of 2 spans of 17 frames the pixels show red circle in 2"
NUM_FRAMES = 24
STEPS = 40


def subject(colour: str, shape: str) -> Subject:
    return Subject(colour=colour, shape=shape, size=0.4, position=(0.3, 0.5), velocity=(0.3, 0.0))


SCENES = (
    SceneSpec(num_frames=NUM_FRAMES, subject=subject("red", "circle"), look=0),
    SceneSpec(num_frames=NUM_FRAMES, background=Background(kind="black"), look=1),
    SceneSpec(num_frames=NUM_FRAMES, subject=subject("blue", "square"), flaws=("freeze",), look=2),
    SceneSpec(num_frames=NUM_FRAMES, subject=subject("green", "square"), look=3),
)
VERDICTS = (
    ("pass", []), ("fail", ["black 1 > max 0.2 (share of frames)", "luma 0 < min 0.05 (0 to 1)"]),
    ("fail", ["static 1 > max 0.8 (share of pairs)"]), ("review", ["motion unknown -> review: no <texture> to follow"]),
)
SCORES = {"black": (0.0, 1.0, 0.0, 0.0), "luma": (0.5, 0.0, 0.45, 0.55), "motion": (0.3, 0.0, 0.0, None)}
UNITS = {"black": "share of frames", "luma": "0 to 1", "motion": "heights/s"}
CONCEPTS = ("Shapes", None, "Shapes", "$x^{<i>$")


class SmallHome:
    """The home and what a test needs to know of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.footage = root / "footage" / HOSTILE
        render_film(self.footage, FilmSpec(name="small", width=96, height=64, fps=24, scenes=SCENES), seed=0)
        store = LocalStore(root / "store")
        self.home = Home(
            uri=str(root), ledger=Ledger(root / "ledger"), store=store, open_store=lambda uri: LocalStore(uri), work=root / "work"
        )  # fmt: skip
        self.source = content_id(self.footage)
        self.shots = [shot_id(self.source, NUM_FRAMES * k, NUM_FRAMES * (k + 1)) for k in range(len(SCENES))]
        self._footage_tables()
        self._shot_tables()
        self._training_tables()
        self._film()

    def replace(self, table: str, partition: str, rows: list[dict[str, Any]]) -> None:
        self.home.ledger.replace(table, partition, [{"provenance": "p", **row} for row in rows])

    def merge(self, table: str, row: dict[str, Any]) -> None:
        self.home.ledger.merge(table, [{"provenance": "p", **row}])

    def _footage_tables(self) -> None:
        broken = "src_000000000000dead"
        self.replace("files", "b000001", [
            {"batch": "b000001", "uri": str(self.footage), "size_bytes": 1, "source_id": self.source, "status": "ready", "reason": ""},
            {"batch": "b000001", "uri": "/x/copy.mp4", "size_bytes": 1, "source_id": self.source, "status": "duplicate", "reason": "r"},
            {"batch": "b000001", "uri": "/x/song<i>.mp3", "size_bytes": 1, "source_id": None, "status": "refused",
             "reason": "audio only & no picture"},
            {"batch": "b000001", "uri": "/x/late.mp4", "size_bytes": 1, "source_id": broken, "status": "ready", "reason": ""},
        ])  # fmt: skip
        common = {"batch": "b000001", "media": "video", "status": "ready", "reason": "", "width": 96, "height": 64, "fps_num": 24,
                  "fps_den": 1, "duration_s": 4.0, "num_frames": 96, "human_caption": "{}"}  # fmt: skip
        self.replace("sources", "b000001", [
            {**common, "source_id": self.source, "uri": str(self.footage), "name": HOSTILE},
            {**common, "source_id": broken, "uri": "/x/late.mp4", "name": "late.mp4"},
        ])  # fmt: skip
        self.replace("failures", "b000001/shots", [
            {"scope": "b000001/shots", "source_id": broken, "batch": "b000001", "step": "shots", "reason": "damaged beyond 5 %"}
        ])  # fmt: skip
        self.merge("gates", {"batch": "b000001", "gate": "shots", "passed": True, "reason": "1 sources cut"})
        self.merge("gates", {"batch": "b000002", "gate": "captions", "passed": False, "reason": "1 of 9 shots have a caption"})

    def _shot_tables(self) -> None:
        spans = [(NUM_FRAMES * k, NUM_FRAMES * (k + 1)) for k in range(len(SCENES))]
        self.replace("shots", "b000001", [
            {"shot_id": key, "source_id": self.source, "batch": "b000001", "start_frame": a, "end_frame": b, "start_s": a / 24,
             "end_s": b / 24, "fps_num": 24, "fps_den": 1, "transition_in": "cut", "votes": "{}"}
            for key, (a, b) in zip(self.shots, spans, strict=True)
        ])  # fmt: skip
        self.replace("scores", "b000001", [
            {"shot_id": key, "batch": "b000001", "signal": signal, "value": value, "unit": UNITS[signal], "version": "1",
             "outcome": "unknown" if value is None else "measured", "reason": ""}
            for signal, values in SCORES.items() for key, value in zip(self.shots, values, strict=True)
        ])  # fmt: skip
        self.replace("captions", "b000001", [
            {"shot_id": key, "batch": "b000001", "structured": json.dumps(structured(concept)), "field_provenance": "{}",
             "t2v": f"caption {number} of <shot>", "i2v": "", "status": "ok" if concept else "failed",
             "reason": "" if concept else "nothing to see", "captioner": "rules"}
            for number, (key, concept) in enumerate(zip(self.shots, CONCEPTS, strict=True))
        ])  # fmt: skip
        self.judge("256p", VERDICTS)
        self.judge("360p", [("fail", ["luma 0.5 < min 0.6 (0 to 1)"])] * 4)
        self.judge("balanced", [("fail", ["Shapes: best 0 of 1 kept, this is number 1"])])

    def judge(self, stage: str, verdicts: Any) -> None:
        self.replace("verdicts", stage, [
            {"stage": stage, "shot_id": key, "verdict": verdict, "reasons": reasons}
            for key, (verdict, reasons) in zip(self.shots, verdicts, strict=False)
        ])  # fmt: skip

    def _training_tables(self) -> None:
        self.merge("snapshots", {"snapshot_id": SNAPSHOT, "dataset": "dataset_256p", "num_clips": 2, "duration_s": 1.5, "excluded": "{}"})
        self.replace("snapshot_clips", SNAPSHOT, [
            {"snapshot_id": SNAPSHOT, "clip_id": f"clip_{k}", "shot_id": self.shots[0], "source_id": self.source,
             "uri": str(self.footage), "start_frame": k, "end_frame": k + 17, "caption": "c"}
            for k in range(2)
        ])  # fmt: skip
        for key, parent, stage in ((BASE, None, "pretrain_256p"), (FORCED, BASE, "diffusion_forcing")):
            path = f"checkpoints/{stage}/{key}"
            self.merge("checkpoints", {
                "checkpoint_id": key, "stage": stage, "parent_id": parent, "snapshot_id": SNAPSHOT, "num_steps": STEPS, "path": path,
            })  # fmt: skip
            self.replace("seen", key, [
                {"checkpoint_id": key, "step": step, "position": 0, "clip_id": f"clip_{step % 2}", "shot_id": self.shots[0]}
                for step in range(STEPS)
            ])  # fmt: skip
            lines = [json.dumps({"step": step, "loss": 1 / (1 + step), "grad_norm": 1.0, "lr": 1e-3}) for step in range(STEPS)]
            self.home.store.write_bytes(f"{path}/losses.jsonl", "\n".join([*lines, ""]).encode())

    def _film(self) -> None:
        frames = np.zeros((17, 64, 64, 3), np.uint8)
        frames[:, 16:48, 16:48] = (215, 40, 40)
        local = self.root / "made.mp4"
        write_video(local, frames, 16)
        self.home.store.upload(local, f"films/{FILM}.mp4")
        self.set_film({"check": {"outcome": "pass", "text": CHECK}})

    def set_film(self, manifest: Any) -> None:
        self.merge("films", {
            "film_id": FILM, "checkpoint_id": FORCED, "prompt": PROMPT, "seed": 7, "schedule": json.dumps({"num_steps": 20, "shift": 3.0}),
            "num_frames": 17, "fps": 16, "width": 64, "height": 64, "num_windows": 3, "path": f"films/{FILM}.mp4",
            "manifest": json.dumps(manifest),
        })  # fmt: skip


def structured(concept: str | None) -> dict[str, Any]:
    if concept is None:
        return {"subjects": []}
    return {"subjects": [{"TYPES": {"type": concept, "sub_type": ""}, "is_main_subject": True}]}
