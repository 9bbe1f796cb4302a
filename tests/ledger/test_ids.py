"""Ids depend on content and parents only."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.ledger.ids import clip_id, content_id, make_id, shot_id, snapshot_id


def test_content_id_is_the_start_of_the_sha256(tmp_path: Path) -> None:
    data = b"x" * 5_000_000
    (tmp_path / "a.mp4").write_bytes(data)
    (tmp_path / "other name").write_bytes(data)
    assert content_id(tmp_path / "a.mp4") == "src_" + hashlib.sha256(data).hexdigest()[:16]
    assert content_id(tmp_path / "other name") == content_id(str(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").write_bytes(data[:-1])
    assert content_id(tmp_path / "a.mp4") != content_id(tmp_path / "other name")


def test_ids_are_the_same_on_every_machine() -> None:
    """Stored ledgers hold these values: a change of the rule orphans every row."""
    assert _hash('["shot","src_0011223344556677",0,48]') == "2a3e716afa351530"
    assert shot_id("src_0011223344556677", 0, 48) == "shot_2a3e716afa351530"
    made = make_id("ckpt", "pretrain_256p", None, 1, 0.5, {"b": 1, "a": [True]})
    assert made == "ckpt_" + _hash('["ckpt","pretrain_256p",null,1,0.5,{"a":[true],"b":1}]')


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_every_part_counts() -> None:
    base: dict[str, Any] = {"crop": (0, 0, 64, 48), "train_fps": 24, "num_frames": 17, "size": (32, 32)}
    others: list[dict[str, Any]] = [{"crop": (0, 0, 64, 47)}, {"train_fps": 16}, {"num_frames": 13}, {"size": (32, 48)}]
    ids = {clip_id("shot_a", 0, 17, **dict(base, **other)) for other in others}
    for shot, start, end in (("shot_a", 0, 17), ("shot_b", 0, 17), ("shot_a", 1, 17), ("shot_a", 0, 18)):
        ids.add(clip_id(shot, start, end, **base))
    assert len(ids) == 8
    assert {len(key) for key in ids} == {len("clip_") + 16}


def test_parts_do_not_run_into_each_other() -> None:
    assert make_id("film", "a", "bc") != make_id("film", "ab", "c")
    assert make_id("film", 1) != make_id("film", "1")
    assert make_id("film", "a") != make_id("ckpt", "a").replace("ckpt", "film")


def test_snapshot_is_its_clips_and_captions_in_any_order() -> None:
    clips = [("clip_a", "a red ball"), ("clip_b", "a dog")]
    assert snapshot_id("dataset_256p", clips) == snapshot_id("dataset_256p", clips[::-1])
    assert snapshot_id("dataset_256p", clips) != snapshot_id("dataset_256p", [("clip_a", "a blue ball"), ("clip_b", "a dog")])
    assert snapshot_id("dataset_256p", clips) != snapshot_id("dataset_360p", clips)


def test_parts_without_one_text_are_refused() -> None:
    with pytest.raises(ValueError, match="float"):
        make_id("film", float("nan"))
    with pytest.raises(TypeError, match="set"):
        make_id("film", {1, 2})
