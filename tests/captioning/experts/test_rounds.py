"""The loop of labels, heads and picks on drawn shots whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from resources.home import open_home
from skyreels_platform.captioning.batches import caption_batch
from skyreels_platform.captioning.experts.rounds import last_round, shown, train_expert
from skyreels_platform.captioning.experts.shots import ShotExpert
from skyreels_platform.captioning.labels import (
    Label,
    LabelError,
    add_labels,
    agreed,
    camera_words,
    check,
    import_labels,
    is_held_out,
)
from skyreels_platform.captioning.labels import export_labels as export
from skyreels_platform.curation.kept_frames import encode_picture
from skyreels_platform.errors import SourceError
from skyreels_platform.home import Home
from skyreels_platform.recipe import CaptionSettings, LabellingSettings
from skyreels_platform.workers import LocalWorkers
from tests.captioning.experts.test_experts import shot

BATCH = "b000001"
NUM = 120
SETTINGS = LabellingSettings(rounds=3, per_round=30, pool_size=200, min_labels=10)
TRUTH = {f"shot_{number:03d}": kind for number, kind in enumerate(["long_shot"] * 90 + ["close_up"] * 30)}


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[bytes]]:
    return {key: [encode_picture(frame) for frame in shot(kind, number)] for number, (key, kind) in enumerate(TRUTH.items())}


@pytest.fixture
def home(tmp_path: Path, pictures: dict[str, list[bytes]]) -> Home:
    opened = open_home(str(tmp_path / "home"))
    shots = [
        {"shot_id": key, "source_id": "src_0", "batch": BATCH, "start_frame": 24 * place, "end_frame": 24 * place + 24,
         "start_s": float(place), "end_s": place + 1.0, "provenance": f"p {key}"}
        for place, key in enumerate(TRUTH)
    ]  # fmt: skip
    frames = [
        {"shot_id": key, "batch": BATCH, "position": position, "time_s": place + position / 4, "image": image, "provenance": "p"}
        for place, (key, images) in enumerate(pictures.items()) for position, image in enumerate(images)
    ]  # fmt: skip
    source = {"source_id": "src_0", "batch": BATCH, "status": "ready", "human_caption": "{}", "provenance": "p"}
    for table, rows in {"sources": [source], "shots": shots, "frames": frames}.items():
        opened.ledger.replace(table, BATCH, rows)
    return opened


def queue(home: Home) -> list[str]:
    return [row["shot_id"] for row in last_round(home.ledger.rows("label_queue").to_pylist())]


def answer(home: Home, keys: list[str], labeller: str = "ann") -> None:
    """Label these shots truly."""
    labels = [Label(shot_id=key, field="shot_type", value=TRUTH[key], labeller=labeller) for key in keys]
    labels += [Label(shot_id=key, field="camera_motion", value="static", labeller=labeller) for key in keys[:3]]
    add_labels(home, labels)


def test_rounds_of_labels_make_an_expert_that_captions_use(home: Home) -> None:
    asked: list[list[str]] = []
    scores = []
    for number in range(1, 4):
        result = train_expert(home, SETTINGS, seed=0)
        assert (result.round, result.num_picked, result.num_open) == (number, 30, 30)
        assert train_expert(home, SETTINGS, seed=0) == result, "the same labels change nothing"
        asked.append(queue(home))
        scores.append({score.field: score for score in result.scores})
        answer(home, asked[-1])
    last = train_expert(home, SETTINGS, seed=0)
    assert (last.round, last.num_open) == (3, 0), "the paper's rounds are over, no more is picked"
    assert len({key for keys in asked for key in keys}) == 90, "nobody is asked twice about one shot"
    rare = [TRUTH[key] for key in asked[1]].count("close_up")
    open_ = [TRUTH[key] for key in TRUTH if key not in asked[0]].count("close_up")
    assert rare / 30 > open_ / 90, "a rare kind is asked about more often than it is there"
    judged = {score.field: score for score in last.scores}
    num_held_out = sum(is_held_out(key) for keys in asked for key in keys)
    assert judged["shot_type"].num == num_held_out > 5
    assert last.learned == {"shot_type": 90 - num_held_out}
    assert judged["shot_type"].accuracy >= 0.8
    assert judged["shot_type"].paper == 0.822
    assert (judged["camera_static"].num, scores[0]) == (9, {})
    assert "| shot_type |" in shown(last.scores)

    unlabelled = sorted(set(TRUTH) - {key for keys in asked for key in keys})
    caption_batch(home, BATCH, CaptionSettings(backend="rules", shot_expert="trained"), seed=0, workers=LocalWorkers(num_workers=1))
    rows = {row["shot_id"]: row for row in home.ledger.rows("captions", {"batch": BATCH}).to_pylist()}
    said = {key: (json.loads(rows[key]["structured"])["shot_type"], json.loads(rows[key]["field_provenance"])["shot_type"]) for key in rows}
    person = asked[0][0]
    assert (said[person][0], said[person][1]["source"]) == (TRUTH[person], "human"), "a person's word goes into the caption"
    by_expert = [key for key in unlabelled if said[key][1]["source"] == "expert"]
    assert by_expert
    assert {said[key][1]["version"].partition("-")[0] for key in by_expert} == {"shots"}
    right = [said[key][0] == TRUTH[key] for key in by_expert]
    assert np.mean(right) > 0.8


def test_a_round_waits_for_its_labels(home: Home) -> None:
    first = train_expert(home, SETTINGS, seed=0)
    picked = queue(home)
    answer(home, picked[:20])
    again = train_expert(home, SETTINGS, seed=0)
    assert (again.round, again.num_open, queue(home)) == (1, 10, picked)
    assert again.expert_id != first.expert_id, "what is there teaches already"
    answer(home, picked[20:25])
    assert train_expert(home, SETTINGS, seed=0).round == 2


def test_coarse_labels_come_first_and_fine_ones_win(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "coarse.csv"
    lines = [f"{key},shot_type,{'medium_shot' if kind == 'close_up' else kind}" for key, kind in TRUTH.items()]
    path.write_text("\n".join(["shot_id,field,value", *lines, "shot_x,shot_type,close_up", "shot_001,shot_type,wide"]), encoding="utf-8")
    count, refused = import_labels(home, path, labeller="web", grade="coarse")
    assert (count, refused) == (NUM, {
        "line 122": "no shot 'shot_x' in this home",
        "line 123": "shot_type is 'wide'; allowed: long_shot, full_shot, medium_shot, close_up, extreme_close_up, other",
    })  # fmt: skip
    result = train_expert(home, SETTINGS, seed=0)
    assert result.learned["shot_type"] == sum(not is_held_out(key) for key in TRUTH)
    assert not result.scores, "coarse labels judge nobody"
    assert agreed(home, "fine")["shot_type"] == {}
    assert export(home, tmp_path / "out.csv") == NUM
    path.write_text("shot_id,field\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no column value"):
        import_labels(home, path, labeller="web", grade="coarse")


def test_labellers_who_disagree_teach_nothing(home: Home) -> None:
    kinds = {"ann": "close_up", "ben": "close_up", "eve": "full_shot"}
    for name, kind in kinds.items():
        add_labels(home, [Label(shot_id="shot_001", field="shot_type", value=kind, labeller=name)])
    assert agreed(home, "fine")["shot_type"] == {"shot_001": "close_up"}
    add_labels(home, [Label(shot_id="shot_001", field="shot_type", value="full_shot", labeller="ben")])
    assert agreed(home, "fine")["shot_type"] == {"shot_001": "full_shot"}, "a labeller may think again"
    add_labels(home, [Label(shot_id="shot_001", field="shot_type", value="close_up", labeller="zoe")])
    assert agreed(home, "fine")["shot_type"] == {}


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("shot_angle", "low_angle", "low_angle"), ("emotion", "not_visible", "not_visible"), ("camera_motion", "static", "static"),
        ("camera_motion", "handheld,zooms in, pans left", "pans left, zooms in, handheld"),
    ],
)
def test_labels_have_one_form(field: str, value: str, stored: str) -> None:
    assert check(field, value) == stored


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mood", "x", "no field 'mood'"), ("shot_angle", "", "shot_angle is ''; allowed: eye_level"),
        ("emotion", "joy", "emotion is 'joy'"),
        ("camera_motion", "static, pans left", "a static camera does nothing else"), ("camera_motion", "flies", "camera_motion is 'flies'"),
        ("shot_type", "close_up, other", "shot_type is 'close_up, other'"),
    ],
)
def test_labels_that_cannot_be_are_refused(field: str, value: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        check(field, value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("static", ""), ("pans left", "the camera pans left"),
        ("pans left, tilts up, zooms in", "the camera pans left, tilts up and zooms in"), ("handheld", "the camera is handheld"),
        ("pans right, tracking", "the camera pans right, following the subject"),
        ("abrupt", "the camera is moved abruptly"),
    ],
)
def test_camera_labels_in_words(value: str, words: str) -> None:
    assert camera_words(value) == words


def test_heads_belong_to_their_features(tmp_path: Path) -> None:
    """An image encoder's heads are read with that encoder only."""
    import torch
    import transformers

    folder = tmp_path / "vision"
    torch.manual_seed(0)
    small = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32
    )  # fmt: skip
    transformers.CLIPVisionModel(small).save_pretrained(folder)
    from skyreels_platform.captioning.experts.shots import features_by_name

    features, name = features_by_name(str(folder))
    frames = shot("close_up", 1)
    assert features(frames).shape == (4, 16)
    assert np.abs(features(frames) - features(255 - frames)).max() > 1e-3
    expert = ShotExpert(features, name, source=str(folder))
    vectors = np.stack([expert.vector(frames), expert.vector(255 - frames)])
    expert.train("emotion", vectors, ["anger", "fear"], seed=0)
    expert.save(tmp_path / "heads")
    again = ShotExpert.load(tmp_path / "heads")
    np.testing.assert_allclose(again.probabilities("emotion", vectors), expert.probabilities("emotion", vectors))
    about = json.loads((tmp_path / "heads" / "heads.json").read_text(encoding="utf-8"))
    (tmp_path / "heads" / "heads.json").write_text(json.dumps({**about, "features": "vision-00000000"}), encoding="utf-8")
    with pytest.raises(ValueError, match="trained on vision-00000000"):
        ShotExpert.load(tmp_path / "heads")
