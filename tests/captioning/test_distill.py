"""From captions to a captioner of one's own, at tiny size through the same functions; and its scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.home import open_home
from skyreels_platform.captioning.distill import evaluate_captioner, freeze_dataset, shown, train_captioner
from skyreels_platform.captioning.evaluation import PAPER, PAPER_AVERAGE, score_fields
from skyreels_platform.captioning.schema import StructuredCaption, parse
from skyreels_platform.curation.kept_frames import encode_picture
from skyreels_platform.curation.standing import set_gate
from skyreels_platform.errors import GateError
from skyreels_platform.home import Home
from skyreels_platform.recipe import CaptionerTraining, CaptionSettings, LaunchSettings
from tests.captioning.endpoint import Behaviour, Endpoint, valid
from tests.captioning.tiny_qwen import write_tiny_qwen

BATCH = "b000001"
CAPTIONS = CaptionSettings(backend="vllm", num_frames=2)
LAUNCH = LaunchSettings(num_ranks=1, zero_stage=1, accelerator="cpu", dtype="float32")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Four balanced shots: three with complete captions, one whose caption comes of rules; a person labelled the first."""
    opened = open_home(str(tmp_path / "home"))
    dog = {"TYPES": {"type": "Animal", "sub_type": "Dog"}}
    human = json.dumps({"shot_type": "close_up", "lighting": "Soft daylight.", "subjects": [dog]})
    sources = [{"source_id": f"src_{number}", "batch": BATCH, "status": "ready", "uri": f"/films/{number}.mp4", "name": f"{number}.mp4",
                "human_caption": human if number == 0 else "{}", "provenance": "p"} for number in range(4)]  # fmt: skip
    shots = [{"shot_id": f"shot_{number}", "source_id": f"src_{number}", "batch": BATCH, "start_frame": 0, "end_frame": 24, "start_s": 0.0,
              "end_s": 1.0, "provenance": "p"} for number in range(4)]  # fmt: skip
    frames = [
        {"shot_id": f"shot_{number}", "batch": BATCH, "position": place, "time_s": place / 3, "provenance": "p",
         "image": encode_picture(np.full((28, 56, 3), 60 * number + place, np.uint8))}
        for number in range(4) for place in range(3)
    ]  # fmt: skip
    captions = [{"shot_id": f"shot_{number}", "batch": BATCH, "status": "ok", "provenance": f"c {number}",
                 "structured": json.dumps(valid(f"Where {number} is.")) if number < 3 else StructuredCaption().to_json()}
                for number in range(4)]  # fmt: skip
    files = [{"batch": BATCH, "uri": row["uri"], "status": "ready", "source_id": row["source_id"], "provenance": "p"} for row in sources]
    verdicts = [{"stage": "balanced", "shot_id": row["shot_id"], "verdict": "pass", "reasons": [], "provenance": "p"} for row in shots]
    for table, rows in {"files": files, "sources": sources, "shots": shots, "frames": frames, "captions": captions}.items():
        opened.ledger.replace(table, BATCH, rows)
    opened.ledger.replace("verdicts", "balanced", verdicts)
    for gate in ("no_source_lost", "captions_sound"):
        set_gate(opened, BATCH, gate, passed=True, reason="")
    return opened


def test_complete_captions_of_balanced_shots_are_frozen(home: Home) -> None:
    first = freeze_dataset(home, CAPTIONS)
    assert (first.num_clips, first.num_incomplete, first.concepts) == (3, 1, {"Animal": 3})
    assert freeze_dataset(home, CAPTIONS) == first
    folder = home.fetch(f"captioner_data/{first.dataset_id}")
    lines = [json.loads(line) for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == ["shot_0", "shot_1", "shot_2"]
    assert [len(line["lengths"]) for line in lines] == [2, 2, 2]
    set_gate(home, BATCH, "captions_sound", passed=False, reason="too few")
    with pytest.raises(GateError, match=r"none of 4 .* complete caption\. batch b000001 is held back by captions_sound: too few"):
        freeze_dataset(home, CAPTIONS)


def test_a_captioner_is_trained_published_and_not_trained_again(home: Home, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    freeze_dataset(home, CAPTIONS)
    settings = CaptionerTraining(base=str(write_tiny_qwen(tmp_path / "base")), batch_size=2, learning_rate=1e-3, lora_rank=2)
    result = train_captioner(home, settings, LAUNCH, seed=0)
    assert result.num_steps == 3, "two epochs of three clips, two at a time"
    assert result.final_loss < result.first_loss
    folder = home.fetch(result.path)
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["captioner_id"] == result.captioner_id
    Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).chat_template
    before = (home.work / "runs" / result.captioner_id / "train.log").stat().st_mtime
    assert train_captioner(home, settings, LAUNCH, seed=0) == result
    assert (home.work / "runs" / result.captioner_id / "train.log").stat().st_mtime == before


def test_a_served_captioner_is_scored_where_people_wrote_fields(home: Home) -> None:
    with Endpoint(lambda key, seen, body: Behaviour(text=json.dumps(valid("x")))) as endpoint:
        scores = {score.field: score for score in evaluate_captioner(home, CAPTIONS, model="mine", urls=[endpoint.base_url], seed=0)}
        assert list(endpoint.requests) == ["shot_0"]
    assert {field: score.score for field, score in scores.items()} == {
        "shot_type": 0.0, "lighting": pytest.approx(2 / 3), "type": 1.0, "sub_type": 0.0, "is_main_subject": 0.0,
    }  # fmt: skip
    assert "| shot_type | 0.0% | 1 | equality | 93.7% |" in shown(scores.values())


def test_scores_of_fields() -> None:
    truth = parse(valid("A small yard."), is_complete=True)
    perfect = {score.field: score.score for score in score_fields({"a": truth}, {"a": truth})}
    assert set(perfect.values()) == {1.0}
    assert "camera_motion" not in perfect, "nobody filled it in"
    changed: dict[str, Any] = valid("A yard.")
    changed["subjects"].insert(0, {**changed["subjects"][0], "TYPES": {"type": "Plant", "sub_type": "Tree"}, "action": ""})
    half = {score.field: score.score for score in score_fields({"a": parse(changed, is_complete=True)}, {"a": truth, "b": truth})}
    assert half["shot_type"] == half["sub_type"] == half["is_main_subject"] == 0.5, "the cat is found among others; b has no caption"
    assert half["environment"] == pytest.approx(0.8 / 2)


def test_the_papers_column_is_the_papers() -> None:
    assert PAPER["shot_type"] == 0.937
    assert PAPER_AVERAGE == 0.763
    assert sum(PAPER.values()) / len(PAPER) == pytest.approx(PAPER_AVERAGE, abs=0.01)
