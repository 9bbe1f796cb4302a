"""Traces: from a film back to the files that its ancestors saw, and from a file forward to every film that saw it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.ledger.trace import Node, resolve, trace, trace_film, trace_source

P = {"provenance": "p"}


@pytest.fixture
def ledger(template: Path, tmp_path: Path) -> Ledger:
    """A ledger of one's own with the rows of `template`."""
    shutil.copytree(template, tmp_path / "ledger")
    return Ledger(tmp_path / "ledger")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources a, b, c, d. Checkpoint base saw a, sft (its child) saw b, other saw c; nobody saw d, though it is in a snapshot.

    Films: one by base, one by sft, one by other.
    """
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder)
    names = "abcd"
    ledger.replace("sources", "b000001", [
        {"source_id": f"src_{n}", "batch": "b000001", "uri": f"/footage/{n}.mp4", "name": f"{n}.mp4", "status": "ready", **P}
        for n in names
    ])  # fmt: skip
    ledger.replace("files", "b000001", [
        {"batch": "b000001", "uri": uri, "status": "ready", "source_id": source, **P}
        for uri, source in [*((f"/footage/{n}.mp4", f"src_{n}") for n in names), ("/copy/of/a.mov", "src_a")]
    ])  # fmt: skip
    ledger.replace("shots", "b000001", [
        {"shot_id": f"shot_{n}{i}", "source_id": f"src_{n}", "batch": "b000001", "start_frame": i, "end_frame": i + 10, **P}
        for n in names for i in (0, 10)
    ])  # fmt: skip
    for snapshot, members in {"snap_base": "ad", "snap_sft": "b", "snap_other": "c"}.items():
        ledger.merge("snapshots", [{"snapshot_id": snapshot, "dataset": "dataset_256p", "num_clips": len(members), **P}])
        ledger.replace("snapshot_clips", snapshot, [
            {"snapshot_id": snapshot, "clip_id": f"clip_{n}", "shot_id": f"shot_{n}0", "source_id": f"src_{n}",
             "uri": f"/footage/{n}.mp4", "start_frame": 0, "end_frame": 9, **P}
            for n in members
        ])  # fmt: skip
    for key, parent, saw in (("base", None, "a"), ("sft", "ckpt_base", "b"), ("other", None, "c")):
        ledger.merge("checkpoints", [{
            "checkpoint_id": f"ckpt_{key}", "stage": key, "parent_id": parent, "snapshot_id": f"snap_{key}", "num_steps": 3, **P
        }])  # fmt: skip
        clip = {"checkpoint_id": f"ckpt_{key}", "clip_id": f"clip_{saw}", "shot_id": f"shot_{saw}0", **P}
        ledger.replace("seen", f"ckpt_{key}", [clip | {"step": step, "position": 0} for step in range(3)])
        film = {"film_id": f"film_{key}", "checkpoint_id": f"ckpt_{key}", "path": f"films/{key}/film.mp4", **P}
        ledger.merge("films", [film | {"prompt": "x", "seed": 1}])
    return folder


def _walk(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    path = (*path, node.id)
    yield path
    for child in node.children:
        yield from _walk(child, path)


def _ids(node: Node, kind: str) -> list[str]:
    return [node.id] * (node.kind == kind) + [key for child in node.children for key in _ids(child, kind)]


def _find(node: Node, key: str) -> Node:
    return next(found for found in _all(node) if found.id == key)


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)


def test_film_leads_to_the_files_that_its_ancestors_saw(ledger: Ledger) -> None:
    assert set(_walk(trace_film(ledger, "film_sft"))) == {
        ("film_sft",),
        ("film_sft", "ckpt_sft"),
        ("film_sft", "ckpt_sft", "snap_sft"),
        ("film_sft", "ckpt_sft", "snap_sft", "shot_b0"),
        ("film_sft", "ckpt_sft", "snap_sft", "shot_b0", "src_b"),
        ("film_sft", "ckpt_sft", "ckpt_base"),
        ("film_sft", "ckpt_sft", "ckpt_base", "snap_base"),
        ("film_sft", "ckpt_sft", "ckpt_base", "snap_base", "shot_a0"),
        ("film_sft", "ckpt_sft", "ckpt_base", "snap_base", "shot_a0", "src_a"),
    }
    shot = _find(trace_film(ledger, "film_sft"), "shot_b0")
    assert shot.facts == {
        "source_id": "src_b", "start_frame": 0, "end_frame": 10, "num_seen": 3, "first_step": 0, "last_step": 2
    }  # fmt: skip
    assert shot.children[0].label == "/footage/b.mp4"


def test_source_leads_to_every_film_that_depends_on_it(ledger: Ledger) -> None:
    tree = trace_source(ledger, "src_a")
    assert set(_walk(tree)) == {
        ("src_a",),
        ("src_a", "shot_a0"),
        ("src_a", "shot_a0", "snap_base"),
        ("src_a", "shot_a10"),
        ("src_a", "ckpt_base"),
        ("src_a", "ckpt_base", "film_base"),
        ("src_a", "ckpt_base", "ckpt_sft"),
        ("src_a", "ckpt_base", "ckpt_sft", "film_sft"),
    }
    assert tree.facts["files"] == ["/copy/of/a.mov", "/footage/a.mp4"]
    assert _find(tree, "ckpt_base").facts["num_seen"] == 3
    assert _find(tree, "ckpt_sft").facts["inherits"] is True
    assert _ids(trace_source(ledger, "src_b"), "film") == ["film_sft"]


def test_being_in_a_snapshot_is_not_being_seen(ledger: Ledger) -> None:
    tree = trace_source(ledger, "src_d")
    assert _ids(tree, "snapshot") == ["snap_base"]
    assert _ids(tree, "checkpoint") == _ids(tree, "film") == []
    assert "src_d" not in _ids(trace_film(ledger, "film_sft"), "source")


def test_both_directions_agree(ledger: Ledger) -> None:
    for film in ("film_base", "film_sft", "film_other"):
        for source in ("src_a", "src_b", "src_c", "src_d"):
            assert (source in _ids(trace_film(ledger, film), "source")) == (film in _ids(trace_source(ledger, source), "film"))


@pytest.mark.parametrize(
    ("ref", "kind", "key"),
    [
        ("film_sft", "film", "film_sft"),
        ("films/sft/film.mp4", "film", "film_sft"),
        ("/some/home/store/films/sft/film.mp4", "film", "film_sft"),
        ("/footage/a.mp4", "source", "src_a"),
        ("/footage/../footage/a.mp4", "source", "src_a"),
        ("/copy/of/a.mov", "source", "src_a"),
        ("c.mp4", "source", "src_c"),
        ("shot_c10", "shot", "shot_c10"),
        ("ckpt_base", "checkpoint", "ckpt_base"),
        ("snap_other", "snapshot", "snap_other"),
    ],
)
def test_references(ledger: Ledger, ref: str, kind: str, key: str) -> None:
    assert resolve(ledger, ref) == (kind, key)
    assert trace(ledger, ref).id == key


def test_relative_path_names_a_registered_file(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = str(tmp_path / "own.mp4")
    ledger.merge("sources", [{"source_id": "src_own", "batch": "b000002", "uri": uri, "name": "own.mp4", "status": "ready", **P}])
    monkeypatch.chdir(tmp_path)
    assert resolve(ledger, "./own.mp4") == ("source", "src_own")


def test_checkpoint_and_snapshot_and_shot_lead_both_ways(ledger: Ledger) -> None:
    checkpoint = trace(ledger, "ckpt_sft")
    assert _ids(checkpoint, "source") == ["src_b", "src_a"]
    assert _ids(checkpoint, "film") == ["film_sft"]
    snapshot = trace(ledger, "snap_base")
    assert _ids(snapshot, "source") == ["src_a", "src_d"]
    assert _ids(snapshot, "film") == ["film_base", "film_sft"]
    shot = trace(ledger, "shot_a0")
    assert _ids(shot, "source") == ["src_a"]
    assert _ids(shot, "snapshot") == ["snap_base"]
    assert _ids(shot, "film") == ["film_base", "film_sft"]


def test_frozen_clips_outlive_a_new_cut_of_their_source(ledger: Ledger) -> None:
    ledger.replace("shots", "b000001", [
        {"shot_id": "shot_new", "source_id": "src_a", "batch": "b000001", "start_frame": 0, "end_frame": 20, **P}
    ])  # fmt: skip
    assert _ids(trace_film(ledger, "film_sft"), "source") == ["src_b", "src_a"]
    assert _ids(trace_source(ledger, "src_a"), "film") == ["film_base", "film_sft"]
    assert resolve(ledger, "shot_a0") == ("shot", "shot_a0")
    ledger.replace("sources", "b000001", [])
    tree = trace_film(ledger, "film_base")
    assert _find(tree, "src_a").label == "/footage/a.mp4"
    assert _ids(trace(ledger, "/footage/a.mp4"), "film") == ["film_base", "film_sft"]


def test_named_but_absent_things_are_marked(ledger: Ledger) -> None:
    ledger.merge("films", [{"film_id": "film_lost", "checkpoint_id": "ckpt_lost", "path": "films/lost.mp4", **P}])
    lost = _find(trace(ledger, "film_lost"), "ckpt_lost")
    assert lost.label == "not in the ledger"
    assert lost.facts == {"missing": True}


def test_checkpoint_that_is_its_own_ancestor_is_an_error(ledger: Ledger) -> None:
    row: dict[str, Any] = ledger.rows("checkpoints", {"checkpoint_id": "ckpt_base"}).to_pylist()[0]
    ledger.merge("checkpoints", [row | {"parent_id": "ckpt_sft"}])
    with pytest.raises(LedgerError, match="ckpt_sft -> ckpt_base -> ckpt_sft"):
        trace_film(ledger, "film_sft")


def test_unknown_references_name_the_nearest(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="'film_stf' is not in the ledger; nearest: film_sft"):
        trace(ledger, "film_stf")
    with pytest.raises(LedgerError, match=r"nearest: /footage/a.mp4"):
        trace(ledger, "/footage/aa.mp4")
    with pytest.raises(LedgerError, match="the ledger is empty"):
        trace(Ledger(tmp_path / "new"), "film_1")
    with pytest.raises(LedgerError, match="'src_a' is a source, not a film"):
        trace_film(ledger, "src_a")
    ledger.merge("sources", [{"source_id": "src_e", "batch": "b2", "uri": "/other/a.mp4", "name": "a.mp4", **P}])
    with pytest.raises(LedgerError, match=r"'a.mp4' names 2 things; give one id: src_a, src_e"):
        trace(ledger, "a.mp4")


def test_tree_is_plain_data(ledger: Ledger) -> None:
    text = json.dumps(asdict(trace(ledger, "film_sft")))
    assert json.loads(text)["children"][0]["kind"] == "checkpoint"
