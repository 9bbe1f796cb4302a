"""Stores: both homes behave the same; nothing half-written is ever seen."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resources.object_store import open_store
from skyreels_platform.errors import SourceError
from skyreels_platform.store import LocalStore, Store

pytest_plugins = ("tests.s3_server",)


def _folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_bytes_come_back(store: Store) -> None:
    assert store.write_bytes("reports/one.html", b"first")
    assert store.write_bytes("reports/one.html", b"second")
    assert store.read_bytes("reports/one.html") == b"second"
    assert store.exists("reports/one.html")
    assert not store.exists("reports")
    assert not store.exists("reports/two.html")


def test_missing_object_is_named(store: Store) -> None:
    with pytest.raises(SourceError, match=r"no object 'films/none\.mp4'"):
        store.read_bytes("films/none.mp4")


def test_only_the_first_conditional_write_wins(store: Store) -> None:
    outcomes = []
    threads = [
        threading.Thread(target=lambda i=i: outcomes.append((store.write_bytes("lock", b"%d" % i, only_if_absent=True), i)))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [i for won, i in outcomes if won]
    assert len(winners) == 1
    assert store.read_bytes("lock") == b"%d" % winners[0]


def test_keys_cannot_leave_the_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for key in ("", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a/", "a\\b", "a\0b", ".tmp-1/x"):
        for use in (
            lambda key: store.write_bytes(key, b""),
            lambda key: store.read_bytes(key),
            lambda key: store.exists(key),
            lambda key: store.delete(key),
            lambda key: store.local_path(key),
            lambda key: store.upload(tmp_path / "file", key),
            lambda key: store.download(key, tmp_path / "copy"),
        ):
            with pytest.raises(SourceError, match="is not a key"):
                use(key)


def test_listing_is_by_folder_and_in_key_order(store: Store) -> None:
    keys = ["a-b/x", "a.b", "a/b/c", "a/b.txt", "a/b/d", "ab/c", "b"]
    for key in keys:
        store.write_bytes(key, key.encode())
    assert [item.key for item in store.list()] == sorted(keys)
    assert [item.key for item in store.list("a")] == ["a/b.txt", "a/b/c", "a/b/d"]
    assert [item.key for item in store.list("a.b")] == ["a.b"]
    assert [item.key for item in store.list("a/b")] == ["a/b/c", "a/b/d"]
    assert list(store.list("nothing/here")) == []
    (item,) = store.list("ab")
    assert item.size == 4
    before = item.etag
    time.sleep(0.01)
    store.write_bytes("ab/c", b"changed")
    assert next(iter(store.list("ab"))).etag != before


def test_listing_and_deletion_go_beyond_one_page(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    monkeypatch.setattr("skyreels_platform.store._DELETE_LIMIT", 10)
    store = open_store(f"{s3_uri}/many")
    for i in range(25):
        store.write_bytes(f"shards/{i:05d}", b"")
    assert [item.key for item in store.list("shards")] == [f"shards/{i:05d}" for i in range(25)]
    assert store.delete("shards") == 25
    assert list(store.list()) == []


def test_deletion_takes_one_folder(store: Store) -> None:
    for key in ("a/manifest.json", "a/b", "ab/c"):
        store.write_bytes(key, b"1")
    store.delete("a")
    assert [item.key for item in store.list()] == ["ab/c"]
    assert store.delete("a") == 0


def test_file_upload_and_download(store: Store, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)  # above boto3's multipart threshold of 8 MiB
    (tmp_path / "film.mp4").write_bytes(data)
    store.upload(tmp_path / "film.mp4", "films/one.mp4")
    store.download("films/one.mp4", tmp_path / "new" / "copy.mp4")
    assert (tmp_path / "new" / "copy.mp4").read_bytes() == data
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy.mp4"]


def test_missing_local_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.mp4"):
        store.upload(tmp_path / "absent.mp4", "films/one.mp4")
    assert list(store.list()) == []


def test_folder_upload_replaces_the_old_folder(store: Store, tmp_path: Path) -> None:
    old = _folder(tmp_path / "old", {"manifest.json": b"{}", "old.bin": b"0", "sub/x.bin": b"1"})
    new = _folder(tmp_path / "new", {"manifest.json": b"[]", "new.bin": b"2"})
    store.upload(old, "checkpoints/c1")
    store.upload(new, "checkpoints/c1")
    assert [item.key for item in store.list()] == ["checkpoints/c1/manifest.json", "checkpoints/c1/new.bin"]
    _folder(tmp_path / "copy", {"stale": b""})
    store.download("checkpoints/c1", tmp_path / "copy")
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == {"manifest.json": b"[]", "new.bin": b"2"}


def test_folder_without_manifest_is_not_published(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"published by its manifest\.json"):
        store.upload(_folder(tmp_path / "bare", {"a": b""}), "latents/l1")
    store.write_bytes("latents/l1/a", b"")
    with pytest.raises(SourceError, match="no published folder"):
        store.download("latents/l1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_manifest_is_written_last_and_removed_first(store: Store, tmp_path: Path) -> None:
    """An upload that breaks off in the middle leaves a folder that nobody takes for whole, whether it was there before or not."""
    files = {"manifest.json": b"{}", "a.bin": b"1", "zz.bin": b"2"}
    folder = _folder(tmp_path / "folder", files)
    store.upload(folder, "c1")
    (folder / "a.bin").unlink()
    (folder / "a.bin").symlink_to("nowhere")
    with pytest.raises(SourceError):
        store.upload(folder, "c1")
    assert not store.exists("c1/manifest.json")


def test_symbolic_link_out_of_the_store_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.write_bytes("inside/x", b"1")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"secret")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "store" / "alias").symlink_to("inside")
    for use in (lambda: store.read_bytes("link/x"), lambda: store.write_bytes("link/y", b""), lambda: store.delete("link/x")):
        with pytest.raises(SourceError, match="symbolic link leads out"):
            use()
    assert store.read_bytes("alias/x") == b"1"
    assert (tmp_path / "outside" / "x").exists()


def test_local_path_is_the_file_itself(tmp_path: Path, s3_uri: str) -> None:
    local = open_store(tmp_path / "store")
    local.write_bytes("a/b", b"1")
    path = local.local_path("a/b")
    assert path is not None
    assert path.read_bytes() == b"1"
    assert open_store(s3_uri).local_path("a/b") is None


def test_unusable_places_are_refused(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="give a local folder or s3"):
        open_store("http://example.org/x")
    with pytest.raises(SourceError, match="no bucket 'nosuchbucket'"):
        open_store("s3://nosuchbucket/x").read_bytes("a")
    with pytest.raises(SourceError, match="nosuchbucket"):
        list(open_store("s3://nosuchbucket/x").list())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SourceError, match="check AWS_ENDPOINT_URL"):
        open_store("s3://bucket/x", endpoint_url="http://127.0.0.1:1").write_bytes("a", b"")


_WRITER = """
import sys
from skyreels_platform.store import LocalStore
store = LocalStore(sys.argv[1])
data = [b"a" * (8 << 20), b"b" * (8 << 20)]
print("go", flush=True)
i = 0
while True:
    store.write_bytes("big", data[i % 2])
    i += 1
"""


def test_killed_writer_leaves_a_whole_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write_bytes("big", b"a" * (8 << 20))
    for i in range(6):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=_env()) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.003 + 0.017 * i)
            writer.send_signal(signal.SIGKILL)
        data = store.read_bytes("big")
        assert data in (b"a" * (8 << 20), b"b" * (8 << 20))
        assert [item.key for item in store.list()] == ["big"]


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
