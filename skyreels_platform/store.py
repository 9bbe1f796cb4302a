"""Where big objects live: checkpoints, latents, proxies, films, reports. A local folder or an S3 bucket behind one interface.

Keys are relative POSIX paths ("checkpoints/pretrain_256p/ckpt_0f.../model.safetensors"); no key is also a folder. No reader
ever sees half an object: a local write goes to a temporary name in the same folder, is flushed to disk and renamed; S3 shows
an object when it is complete.

A folder becomes visible by its manifest. `upload` of a folder takes back `<key>/manifest.json` first if there is one, writes
every other file, and writes the manifest last; `delete` removes it first; `download` refuses a folder without it. So whoever
asks for `exists("<key>/manifest.json")` sees either nothing or the whole folder. A folder without a manifest cannot be uploaded.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from skyreels_platform.errors import SourceError

MANIFEST = "manifest.json"
"""Last file of a folder to be written, first to be removed."""

_TEMPORARY = ".tmp-"  # start of a name that a killed writer may leave behind; never listed, never a key
_DELETE_LIMIT = 1000  # keys per call that S3 takes
_counter = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Item:
    """One object of a store."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Changes when the content does: S3's ETag, or modification time and size of a local file."""
    modified_s: float
    """When it was last written (Unix time)."""


class Store(Protocol):
    """Objects by key. Every method raises SourceError, naming the place and the remedy, when the storage does not do it."""

    uri: str
    """What was opened: an absolute folder, or s3://bucket/prefix."""

    def write_bytes(self, key: str, data: bytes, *, only_if_absent: bool = False) -> bool:
        """Write one object whole. With `only_if_absent`, at most one of any number of writers gets True; the others get False."""
        ...

    def read_bytes(self, key: str) -> bytes: ...

    def upload(self, local: Path, key: str) -> None:
        """Copy a file, or a folder with its manifest last. A folder replaces what lay under `key`."""
        ...

    def download(self, key: str, local: Path) -> None:
        """Copy an object, or a published folder, to `local`, which appears only when it is whole and is replaced if there."""
        ...

    def exists(self, key: str) -> bool:
        """Whether an object (not a folder) has this key."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Item]:
        """The object `prefix` and all objects in the folder `prefix`, lazily, in key order; "" lists everything.

        `after`: only keys that come after this one; on S3 those before it are not asked for.
        """
        ...

    def delete(self, prefix: str) -> int:
        """Remove the object `prefix` and the folder `prefix`; returns how many objects went. Nothing there is not an error."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The file or folder itself if the store is a local folder (there or not), else None."""
        ...


class LocalStore:
    """A store in a local folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        self.uri = str(self.root)

    def write_bytes(self, key: str, data: bytes, *, only_if_absent: bool = False) -> bool:
        with self._errors(key), _replacing(self._path(key), only_if_absent=only_if_absent) as (file, outcome):
            file.write(data)
        return outcome["written"]

    def read_bytes(self, key: str) -> bytes:
        with self._errors(key):
            return self._path(key).read_bytes()

    def upload(self, local: Path, key: str) -> None:
        local = Path(local)
        with self._errors(key):
            if local.is_dir():
                files = _folder_files(local)
                self.delete(key)
                for name in files:
                    _copy(local / name, self._path(f"{key}/{name}"))
            else:
                _copy(local, self._path(key))

    def download(self, key: str, local: Path) -> None:
        with self._errors(key):
            _materialize(self, key, Path(local), lambda key, target: _copy(self._path(key), target))

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Item]:
        start = self._path(prefix) if prefix else self.root
        for path in [start] if start.is_file() else _walk(start):
            with suppress(FileNotFoundError):  # removed since its folder was read
                if (item := self._item(path)).key > after:
                    yield item

    def delete(self, prefix: str) -> int:
        path = self._path(prefix)
        with self._errors(prefix):
            if path.is_file():
                path.unlink()
                _sync_folder(path.parent)
                return 1
            if not path.is_dir():
                return 0
            (path / MANIFEST).unlink(missing_ok=True)
            _sync_folder(path)
            num_files = sum(1 for _ in _walk(path))
            shutil.rmtree(path)
            return num_files

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def _path(self, key: str) -> Path:
        path = self.root / check_key(key)
        resolved = path.resolve()
        if resolved != path and not resolved.is_relative_to(self.root):
            raise SourceError(f"{path}: a symbolic link leads out of the store, to {resolved}; move the whole store {self.root}")
        return path

    def _item(self, path: Path) -> Item:
        found = path.stat()
        key = path.relative_to(self.root).as_posix()
        return Item(key=key, size=found.st_size, etag=f"{found.st_mtime_ns}-{found.st_size}", modified_s=found.st_mtime)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise SourceError(f"{self.root}: no object {key!r} ({error.filename} is not there)") from error
        except OSError as error:
            raise SourceError(f"{self.root}: {key!r}: {error}") from error


class S3Store:
    """A store under a prefix of an S3 bucket. `client` is a boto3 S3 client; big files go through its multipart transfer."""

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self.bucket = bucket
        self.prefix = check_key(prefix.strip("/")) + "/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._client = client

    def write_bytes(self, key: str, data: bytes, *, only_if_absent: bool = False) -> bool:
        condition = {"IfNoneMatch": "*"} if only_if_absent else {}
        with self._errors(key):
            try:
                self._client.put_object(Bucket=self.bucket, Key=self._name(key), Body=data, **condition)
            except self._client.exceptions.ClientError as error:
                # 409: another conditional put of this key is under way; 412: it is there
                if only_if_absent and _status(error) in (409, 412):
                    return False
                raise
        return True

    def read_bytes(self, key: str) -> bytes:
        with self._errors(key):
            return self._client.get_object(Bucket=self.bucket, Key=self._name(key))["Body"].read()

    def upload(self, local: Path, key: str) -> None:
        local = Path(local)
        names = [f"/{name}" for name in _folder_files(local)] if local.is_dir() else [""]
        if local.is_dir():
            self.delete(key)
        with self._errors(key):
            for name in names:
                self._client.upload_file(str(local) + name, self.bucket, self._name(key + name))

    def download(self, key: str, local: Path) -> None:
        with self._errors(key):
            _materialize(self, key, Path(local), self._fetch)

    def exists(self, key: str) -> bool:
        with self._errors(key):
            try:
                self._client.head_object(Bucket=self.bucket, Key=self._name(key))
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
        return True

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Item]:
        # The folder "a" is "a/...", never its neighbour "ab/..."; the object "a" sorts before all of them.
        wanted = self._name(prefix) if prefix else self.prefix
        start = {"StartAfter": self._name(after)} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=wanted, **start)
        with self._errors(prefix):
            for page in pages:
                for entry in page.get("Contents", ()):
                    name = entry["Key"]
                    if name.endswith("/") or not (prefix == "" or name == wanted or name.startswith(wanted + "/")):
                        continue
                    yield Item(
                        key=name.removeprefix(self.prefix), size=entry["Size"], etag=entry["ETag"].strip('"'),
                        modified_s=entry["LastModified"].timestamp(),
                    )  # fmt: skip

    def delete(self, prefix: str) -> int:
        check_key(prefix)
        num_deleted = 0
        with self._errors(prefix):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(f"{prefix}/{MANIFEST}"))
            keys = (item.key for item in self.list(prefix))
            while page := [{"Key": self.prefix + key} for key in itertools.islice(keys, _DELETE_LIMIT)]:
                answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": page, "Quiet": True})
                if failed := answer.get("Errors"):
                    raise SourceError(f"{self.uri}: {failed[0]['Key']!r} was not deleted: {failed[0].get('Message')}")
                num_deleted += len(page)
        return num_deleted

    def local_path(self, key: str) -> Path | None:
        check_key(key)
        return None

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _fetch(self, key: str, target: Path) -> None:
        with _replacing(target) as (file, _):
            self._client.download_fileobj(self.bucket, self._name(key), file)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if _status(error) == 404:
                raise SourceError(f"{self.uri}: no object {key!r}, or no bucket {self.bucket!r}") from error
            raise SourceError(f"{self.uri}: {key!r}: {error}; check the credentials and their rights on the bucket") from error
        except (BotoCoreError, Boto3Error) as error:
            raise SourceError(f"{self.uri}: {key!r}: {error}; check AWS_ENDPOINT_URL, region and credentials") from error
        except OSError as error:
            raise SourceError(f"{self.uri}: {key!r}: {error}") from error


def check_key(key: str) -> str:
    """The key itself if it is a relative POSIX path without '.', '..', empty or reserved parts, else SourceError."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or part.startswith(_TEMPORARY) for part in parts) or "\\" in key or "\0" in key:
        raise SourceError(
            f"{key!r} is not a key: use a relative path with forward slashes, without empty, '.', '..' or '{_TEMPORARY}*' parts"
        )
    return key


def _status(error: Any) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _folder_files(folder: Path) -> list[str]:
    """Relative names of a folder's files, the manifest last. Raises SourceError without a manifest."""
    if not (folder / MANIFEST).is_file():
        raise SourceError(f"{folder}: a folder is published by its {MANIFEST}, which is missing; write it and upload again")
    names = [path.relative_to(folder).as_posix() for path in _walk(folder)]
    return sorted(names, key=lambda name: (name == MANIFEST, name))


def _walk(folder: Path) -> Iterator[Path]:
    """All files under a folder in key order, without what killed writers left."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(_TEMPORARY)]
    except FileNotFoundError:
        return
    # a folder sorts as "name/", so that the order equals that of whole keys, which is S3's
    for entry in sorted(entries, key=lambda entry: entry.name + "/" * entry.is_dir()):
        if entry.is_dir():
            yield from _walk(entry)
        else:
            yield entry


def _materialize(store: Store, key: str, local: Path, fetch: Any) -> None:
    """Copy an object or a published folder of a store to a local path, whole or not at all."""
    if store.exists(key):
        return fetch(key, local)
    if not store.exists(f"{key}/{MANIFEST}"):
        raise SourceError(f"{store.uri}: no object {key!r} and no published folder (with a {MANIFEST}) of that name")
    with temporary_beside(local) as folder:
        for item in store.list(key):
            fetch(item.key, folder / PurePosixPath(item.key).relative_to(key))
        if local.is_dir():
            shutil.rmtree(local)
        folder.rename(local)
        _sync_folder(local.parent)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A fresh name in the folder of `path`, on the same disk, that no reader looks at and that is gone at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{next(_counter)}-{path.name}"[:200])
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


@contextmanager
def _replacing(path: Path, *, only_if_absent: bool = False) -> Iterator[tuple[IO[bytes], dict[str, bool]]]:
    """A binary file that becomes `path` when the block ends well; the dict's `written` says whether it did."""
    outcome = {"written": True}
    with temporary_beside(path) as temporary:
        with temporary.open("wb") as file:
            yield file, outcome
            file.flush()
            os.fsync(file.fileno())
        if only_if_absent:
            try:
                os.link(temporary, path)  # unlike a rename, fails if the name is taken
            except FileExistsError:
                outcome["written"] = False
        else:
            temporary.replace(path)
        _sync_folder(path.parent)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, _replacing(target) as (file, _):
        shutil.copyfileobj(reader, file, 1 << 20)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's names, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
