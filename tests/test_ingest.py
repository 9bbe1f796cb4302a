"""Ingest: what is listed, what is registered, and a row with a status and a reason for every file."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.object_store import lance_options, open_store
from skyreels_platform.errors import LedgerError, SourceError
from skyreels_platform.footage import FileItem, list_footage, local_copy
from skyreels_platform.ingest import BatchSummary, ingest_batch, register_batch
from skyreels_platform.ledger.ids import content_id
from skyreels_platform.ledger.ledger import Ledger

pytest_plugins = ("tests.s3_server",)

_open = functools.cache(open_store)  # a client takes up to a second to make; each test has a bucket of its own


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three different small videos."""
    from skyreels_platform.media.encode import write_video

    folder = tmp_path_factory.mktemp("films")
    for i in range(3):
        images = np.full((6, 32, 48, 3), 40 * i, np.uint8)
        images[:, :, : 8 * (i + 1)] = 200
        write_video(folder / f"{i}.mp4", images, 24)
    return [(folder / f"{i}.mp4").read_bytes() for i in range(3)]


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _names(items: list[FileItem], folder: Path | str) -> list[str]:
    return [item.uri.removeprefix(f"{folder}/") for item in items]


def _list(*uris: Any) -> list[FileItem]:
    return list_footage(uris, open_store=_open)


def _ingest(ledger: Ledger, batch: str | None, tmp_path: Path, **changes: Any) -> BatchSummary:
    from skyreels_platform.media.probe import probe

    assert batch is not None
    scratch = tmp_path / "scratch"
    summary = ingest_batch(ledger, batch, **{"probe": probe, "open_store": _open, "scratch": scratch} | changes)
    assert not scratch.exists() or list(scratch.iterdir()) == []
    return summary


def _files(ledger: Ledger, batch: str) -> dict[str, dict[str, Any]]:
    rows = ledger.rows("files", {"batch": batch}).to_pylist()
    return {row["uri"].rsplit("/", 1)[1]: row for row in rows}


# Listing


def test_folders_are_listed_whole_but_for_hidden_files_and_sidecars(tmp_path: Path) -> None:
    folder = _write(tmp_path / "in", dict.fromkeys(
        ["b.mp4", "a.MOV", "a.txt", "b.json", "notes.txt", "sub/c.webm", "sub/c.TXT", "sub/b.txt", "sub/.x.mp4", ".hidden/y.mp4",
         "photo.jpg", "what.xyz", "no_suffix", "sub/deep/d.png"], b"1",
    ))  # fmt: skip
    expected = ["a.MOV", "b.mp4", "no_suffix", "notes.txt", "photo.jpg", "sub/b.txt", "sub/c.webm", "sub/deep/d.png", "what.xyz"]
    assert _names(_list(folder), folder) == expected
    assert _names(_list(f"{folder}/", folder / "b.mp4", f"{folder}/sub/../b.mp4"), folder) == expected


def test_explicit_files_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["z.mp4", "a.mp4", "a.txt", ".h.mp4", "x/b.mp4", "alone.json", "t[1].mp4"]
    folder = _write(tmp_path / "in", dict.fromkeys(names, b"1"))
    monkeypatch.chdir(folder)
    assert _names(_list("z.mp4", "a.mp4"), folder) == ["z.mp4", "a.mp4"]
    assert _names(_list(".h.mp4", "alone.json", "a.txt"), folder) == [".h.mp4", "alone.json", "a.txt"]
    assert _names(_list("a.txt", "a.mp4"), folder) == ["a.mp4"]  # as a shell expands a*
    assert _names(_list("*.mp4"), folder) == ["a.mp4", "t[1].mp4", "z.mp4"]
    assert _names(_list("**/*.mp4"), folder) == ["a.mp4", "t[1].mp4", "x/b.mp4", "z.mp4"]
    assert _names(_list("t[1].mp4"), folder) == ["t[1].mp4"]
    assert _names(_list("?"), folder) == ["x/b.mp4"]


def test_links_are_followed_once_and_broken_ones_are_listed(tmp_path: Path) -> None:
    outside = _write(tmp_path / "disk", {"a.mp4": b"1"})
    folder = _write(tmp_path / "in", {"b.mp4": b"2"})
    (folder / "linked").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "gone.mp4").symlink_to("nowhere")
    items = _list(folder)
    assert _names(items, folder) == ["b.mp4", "gone.mp4", "linked/a.mp4"]
    assert items[1] == FileItem(uri=f"{folder}/gone.mp4", size_bytes=0, modified="")


def test_uris_that_name_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert _list(tmp_path / "empty") == []
    for uri in (tmp_path / "absent.mp4", tmp_path / "*.mp4"):
        with pytest.raises(SourceError, match="no such file or folder"):
            _list(uri)
    with pytest.raises(SourceError, match="give a file, a folder, a glob or s3"):
        _list("https://example.org/a.mp4")


def test_s3_prefixes(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    store = open_store(s3_uri)
    for key in ("in/a.mp4", "in/a.txt", "in/sub/b.mp4", "in/.hidden.mp4", "in/c.png", "in/sub/deep/d.mp4", "in2/e.mp4", "f.mp4"):
        store.write_bytes(key, b"123")
    assert _names(_list(f"{s3_uri}/in"), s3_uri) == ["in/a.mp4", "in/c.png", "in/sub/b.mp4", "in/sub/deep/d.mp4"]
    assert _list(f"{s3_uri}/in/") == _list(f"{s3_uri}/in")
    assert _names(_list(f"{s3_uri}/in/a.mp4"), s3_uri) == ["in/a.mp4"]
    assert _names(_list(f"{s3_uri}/in*/*.mp4"), s3_uri) == ["in/.hidden.mp4", "in/a.mp4", "in2/e.mp4"]
    assert len(_list(s3_uri)) == 6
    item = _list(f"{s3_uri}/f.mp4")[0]
    assert item.size_bytes == 3
    assert item.modified
    with pytest.raises(SourceError, match="no objects there"):
        _list(f"{s3_uri}/i")


# Registering


def test_files_are_registered_once(ledger: Ledger, tmp_path: Path) -> None:
    folder = _write(tmp_path / "in", {"a.mp4": b"1", "b.mp4": b"2"})
    assert register_batch(ledger, []) is None
    assert register_batch(ledger, _list(folder)) == "b000001"
    assert register_batch(ledger, _list(folder)) is None
    _write(folder, {"c.mp4": b"3", "a.mp4": b"changed"})
    assert register_batch(ledger, _list(folder)) == "b000002"
    assert sorted(_files(ledger, "b000002")) == ["a.mp4", "c.mp4"]
    assert {row["status"] for row in _files(ledger, "b000001").values()} == {"listed"}
    assert register_batch(ledger, _list(folder)) is None


def test_ingests_at_the_same_time_get_batches_of_their_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    items = [FileItem(uri=f"/f/{i}.mp4", size_bytes=1, modified="m") for i in range(12)]
    batches: list[str | None] = []
    # four people hand in three files each, and one of them the same as another
    parts = [items[0:3], items[3:6], items[6:9], items[9:12], items[0:3]]
    threads = [threading.Thread(target=lambda part=part: batches.append(register_batch(ledger, part))) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # whoever hands in the same files at the same moment is told the same batch or that there is nothing new
    assert {batch for batch in batches if batch} == {f"b00000{i}" for i in range(1, 5)}
    assert sorted(ledger.rows("files")["uri"].to_pylist()) == sorted(item.uri for item in items)


# Reading


def test_every_file_gets_a_row(home_uri: str, ledger: Ledger, films: list[bytes], tmp_path: Path) -> None:
    """The same mixed batch, handed in from a folder and from S3."""
    files = {
        "a.mp4": films[0], "a.txt": b" A red ball. \n", "copy of a.mp4": films[0], "b.mp4": films[1],
        "b.json": b'{"licence": "CC0", "source_kind": "film", "subjects": ["dog"]}', "b.txt": b"text",
        "broken.mp4": b"not a video", "empty.mp4": b"", "c.mp4": films[2], "c.json": b'{"caption": ', "notes.txt": b"hello",
    }  # fmt: skip
    if home_uri.startswith("s3://"):
        uri = home_uri + "/footage"
        place = open_store(uri)
        for name, data in files.items():
            place.write_bytes(name, data)
    else:
        uri = str(_write(tmp_path / "footage", files))
    batch = register_batch(ledger, _list(uri))
    summary = _ingest(ledger, batch, tmp_path)
    assert batch == "b000001"
    rows = _files(ledger, batch)
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "ready", "b.mp4": "ready", "c.mp4": "ready", "copy of a.mp4": "duplicate", "broken.mp4": "refused",
        "empty.mp4": "refused", "notes.txt": "refused",
    }  # fmt: skip
    assert (summary.num_ready, summary.num_duplicates, summary.num_refused) == (3, 1, 3)
    assert summary.refused[f"{uri}/empty.mp4"] == "empty file: 0 bytes"
    assert rows["empty.mp4"]["source_id"] is None
    assert f"{uri}/broken.mp4" in summary.refused[f"{uri}/broken.mp4"]  # and not the scratch copy
    assert str(tmp_path / "scratch") not in str(summary)
    assert rows["copy of a.mp4"]["reason"] == f"repeats {rows['a.mp4']['source_id']}, first handed in as {uri}/a.mp4 in b000001"
    assert summary.notes == {f"{uri}/c.mp4": rows["c.mp4"]["reason"]}
    assert rows["c.mp4"]["reason"].startswith("sidecar c.json ignored: Expecting value")

    sources = {row["name"]: row for row in ledger.rows("sources").to_pylist()}
    assert {name: row["status"] for name, row in sources.items()} == {
        "a.mp4": "ready", "b.mp4": "ready", "c.mp4": "ready", "broken.mp4": "refused", "notes.txt": "refused"
    }  # fmt: skip
    assert sources["broken.mp4"]["reason"] == rows["broken.mp4"]["reason"]
    a, b = sources["a.mp4"], sources["b.mp4"]
    assert (a["media"], a["width"], a["height"], a["fps_num"], a["fps_den"], a["num_frames"]) == ("video", 48, 32, 24, 1, 6)
    assert (a["uri"], a["size_bytes"], a["human_caption"]) == (f"{uri}/a.mp4", len(films[0]), '{"caption":"A red ball."}')
    assert (a["licence"], a["source_kind"], sources["c.mp4"]["human_caption"]) == ("", "unknown", "{}")
    assert (b["licence"], b["source_kind"]) == ("CC0", "film")
    assert b["human_caption"] == '{"caption":"text","licence":"CC0","source_kind":"film","subjects":["dog"]}'

    versions = [ledger.version(table) for table in ("files", "sources")]
    assert _ingest(ledger, batch, tmp_path) == summary
    assert [ledger.version(table) for table in ("files", "sources")] == versions


def test_content_has_one_owner_across_batches(tmp_path: Path, films: list[bytes]) -> None:
    ledger = Ledger(tmp_path / "ledger")
    folder = _write(tmp_path / "in", {"b.mp4": films[0]})
    first = register_batch(ledger, _list(folder))
    _ingest(ledger, first, tmp_path)
    _write(folder, {"a.mp4": films[0], "new.mp4": films[1]})
    second = register_batch(ledger, _list(folder))
    summary = _ingest(ledger, second, tmp_path)
    assert (summary.num_ready, summary.num_duplicates) == (1, 1)
    assert _files(ledger, "b000002")["a.mp4"]["reason"].endswith(f"first handed in as {folder}/b.mp4 in b000001")
    assert ledger.rows("sources", columns=["name", "batch"]).sort_by("name").to_pylist() == [
        {"name": "b.mp4", "batch": "b000001"}, {"name": "new.mp4", "batch": "b000002"}
    ]  # fmt: skip
    assert _ingest(ledger, first, tmp_path).num_ready == 1  # its source is still its own


def test_batches_read_at_the_same_time_share_a_content_fairly(tmp_path: Path, films: list[bytes]) -> None:
    """While the first batch is being read, the second takes the same content: one source, and the first says whose."""
    ledger = Ledger(tmp_path / "ledger")
    for name, own in (("a", films[1]), ("b", films[2])):
        register_batch(ledger, _list(_write(tmp_path / name, {f"{name}.mp4": films[0], f"own_{name}.mp4": own})))
    replace = ledger.replace

    def overtaken(table: str, *arguments: Any, **options: Any) -> int:
        if table == "sources":
            ledger.replace = replace
            _ingest(ledger, "b000002", tmp_path)
        return replace(table, *arguments, **options)

    ledger.replace = overtaken
    summary = _ingest(ledger, "b000001", tmp_path)
    assert (summary.num_ready, summary.num_duplicates) == (1, 1)
    assert _files(ledger, "b000001")["a.mp4"]["reason"].endswith("in b000002")
    assert ledger.rows("sources").num_rows == 3


def test_unusual_files_are_refused_with_a_reason(tmp_path: Path, films: list[bytes]) -> None:
    ledger = Ledger(tmp_path / "ledger")
    folder = _write(tmp_path / "in", {"gone.mp4": films[0], "ok.mp4": films[1]})
    os.mkfifo(folder / "pipe.mp4")  # opening it for reading would wait for ever
    (folder / "broken_link.mp4").symlink_to("nowhere")
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.mp4"))).write_bytes(films[2])
    batch = register_batch(ledger, _list(folder))
    (folder / "gone.mp4").unlink()
    summary = _ingest(ledger, batch, tmp_path)
    reasons = {uri.rsplit("/", 1)[1]: reason for uri, reason in summary.refused.items()}
    assert summary.num_ready == 1
    assert sorted(reasons) == ["bad\\xff.mp4", "broken_link.mp4", "gone.mp4", "pipe.mp4"]
    assert "not a regular file" in reasons["pipe.mp4"]
    assert "no such file" in reasons["gone.mp4"]
    assert "no such file" in reasons["broken_link.mp4"]
    assert "name is not UTF-8" in reasons["bad\\xff.mp4"]


def test_object_that_is_gone_is_refused(ledger: Ledger, s3_uri: str, films: list[bytes], tmp_path: Path) -> None:
    store = open_store(f"{s3_uri}/in")
    for i, name in enumerate(("a.mp4", "b.mp4")):
        store.write_bytes(name, films[i])
    batch = register_batch(ledger, _list(f"{s3_uri}/in"))
    store.delete("a.mp4")
    summary = _ingest(ledger, batch, tmp_path)
    assert list(summary.refused) == [f"{s3_uri}/in/a.mp4"]
    assert "no object 'in/a.mp4'" in summary.refused[f"{s3_uri}/in/a.mp4"]
    assert summary.num_ready == 1


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Root reads everything, so give up root for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_file_is_named_with_a_remedy(films: list[bytes], tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    path = _write(tmp_path / "in", {"secret.mp4": films[0]}) / "secret.mp4"
    path.chmod(0)
    with _unprivileged(), pytest.raises(SourceError, match="Permission denied; check its permissions"):
        local_copy(str(path), open_store=open_store, scratch=tmp_path).__enter__()
    locked = _write(tmp_path / "locked", {"x.mp4": films[0]})
    locked.chmod(0)
    with _unprivileged():
        items = _list(locked)
    assert _names(items, tmp_path) == ["locked"]  # a folder that cannot be read is not passed over in silence
    locked.chmod(0o755)


def test_one_bad_file_never_stops_a_batch(tmp_path: Path, films: list[bytes]) -> None:
    ledger = Ledger(tmp_path / "ledger")
    batch = register_batch(ledger, _list(_write(tmp_path / "in", {f"{i}.mp4": films[i] for i in range(3)})))

    def probe(path: Path) -> Any:
        if path.name == "1.mp4":
            raise ZeroDivisionError("boom \ud800")
        raise AssertionError("no facts") if path.name == "2.mp4" else MemoryError()

    summary = _ingest(ledger, batch, tmp_path, probe=probe)
    assert [reason for _, reason in sorted(summary.refused.items())] == [
        "MemoryError: ", "ZeroDivisionError: boom \\ud800", "AssertionError: no facts"
    ]  # fmt: skip
    assert ledger.rows("sources")["media"].to_pylist() == ["none"] * 3


def test_source_whose_file_is_gone_is_kept_as_refused(tmp_path: Path, films: list[bytes]) -> None:
    ledger = Ledger(tmp_path / "ledger")
    folder = _write(tmp_path / "in", {"a.mp4": films[0]})
    batch = register_batch(ledger, _list(folder))
    _ingest(ledger, batch, tmp_path)
    (before,) = ledger.rows("sources").to_pylist()
    (folder / "a.mp4").rename(tmp_path / "away.mp4")
    _ingest(ledger, batch, tmp_path)
    (after,) = ledger.rows("sources").to_pylist()
    assert after["reason"].startswith(f"{folder}/a.mp4: no such file")
    assert after == before | {"status": "refused", "reason": after["reason"]}
    (tmp_path / "away.mp4").rename(folder / "a.mp4")
    _ingest(ledger, batch, tmp_path)
    assert ledger.rows("sources").to_pylist() == [before]


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("a.json", b"[1, 2]", "sidecar a.json ignored: its JSON is a list, not an object"),
        ("a.json", b"\xff\xfe", "sidecar a.json ignored: 'utf-8' codec"),
        ("a.json", b'{"x": NaN}', "sidecar a.json ignored: NaN is not JSON"),
        ("a.json", b'{"x": "\\ud800"}', "sidecar a.json ignored: 'utf-8' codec"),
        ("a.json", b'{"x": ' + b"[" * 100_000, "sidecar a.json ignored: "),
        ("a.txt", b"x" * ((1 << 20) + 1), "sidecar a.txt ignored: 1048577 bytes; at most 1048576 are read"),
        ("a.json", b'{"source_kind": "cartoon"}', "source_kind 'cartoon' of the sidecar taken as 'unknown'"),
    ],
)  # fmt: skip
def test_bad_sidecar_is_noted_and_the_source_taken(tmp_path: Path, films: list[bytes], name: str, data: bytes, note: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    folder = _write(tmp_path / "in", {"a.mp4": films[0], name: data})
    summary = _ingest(ledger, register_batch(ledger, _list(folder)), tmp_path)
    assert summary.num_ready == 1
    assert summary.notes[f"{folder}/a.mp4"].startswith(note)


def test_changed_sidecar_changes_the_words_and_not_the_provenance(tmp_path: Path, films: list[bytes]) -> None:
    """Provenance of a source is its content: a new caption must not make shots and latents stale."""
    ledger = Ledger(tmp_path / "ledger")
    folder = _write(tmp_path / "in", {"a.mp4": films[0]})
    batch = register_batch(ledger, _list(folder))
    _ingest(ledger, batch, tmp_path)
    (before,) = ledger.rows("sources").to_pylist()
    _write(folder, {"a.txt": b"\xef\xbb\xbfa dog"})
    _ingest(ledger, batch, tmp_path)
    assert ledger.rows("sources").to_pylist() == [before | {"human_caption": '{"caption":"a dog"}'}]


def test_unknown_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ingest batch 'b000009'"):
        _ingest(Ledger(tmp_path), "b000009", tmp_path)


def test_real_footage_is_taken_whole(footage: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    items = _list(footage / "videos")
    summary = _ingest(ledger, register_batch(ledger, items), tmp_path)
    assert summary.num_ready + summary.num_duplicates + summary.num_refused == len(items) > 0
    sources = ledger.rows("sources").to_pylist()
    assert {row["source_id"] for row in sources} == {content_id(item.uri) for item in items}
    assert all(row["reason"] for row in sources if row["status"] == "refused")


def test_ledger_options_follow_the_environment(s3_uri: str) -> None:
    options = lance_options(s3_uri)
    assert options is not None
    assert options["allow_http"] == "true"
    assert lance_options("/local") is None
