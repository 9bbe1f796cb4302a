"""Footage where it lies: listed from files, folders, globs and s3:// prefixes, and brought within reach of a decoder.

Nothing is lost without a word. In folders only hidden files are passed over; anything else is listed, and what is not footage
is refused later with a reason. A sidecar (`clip.txt`, `clip.json`) is not listed beside its `clip.mp4`: it belongs to it.
"""

import fnmatch
import functools
import glob
import itertools
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from skyreels_platform.errors import SourceError
from skyreels_platform.store import Store

SIDECARS = (".txt", ".json")
SIDECAR_BYTES = 1 << 20
"""A longer sidecar is not a caption."""
UNFINISHED = (".part", ".partial", ".crdownload", ".filepart", ".tmp")
"""Names that programs give to files until they are complete; in a watched folder they wait to be renamed."""

OpenStore = Callable[[str], Store]


@dataclass(frozen=True, kw_only=True)
class FileItem:
    """One file that somebody handed in."""

    uri: str
    """Absolute path, or s3://bucket/key."""
    size_bytes: int
    modified: str
    """Modification time (ISO, UTC), or the object's etag; empty if the file cannot be looked at."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file in a watched place."""

    item: FileItem
    name: str
    """Path below the watched place. Parts of a listing follow one another in the order of names."""
    changed_s: float | None
    """When its content, name or rights last changed (Unix time), None if it cannot be looked at."""


def list_footage(uris: Iterable[str | Path], *, open_store: OpenStore) -> list[FileItem]:
    """Every file below the URIs once, in order of the URIs, then of names.

    A URI is a file, a folder (with all folders below), a glob, or s3://bucket/prefix (an object, a folder, or a glob without
    `**`). `open_store` opens "s3://bucket". Raises SourceError if a URI names nothing, so that a typing error is not an empty
    batch; an empty folder is one.
    """
    items: dict[str, FileItem] = {}
    open_store = functools.cache(open_store)
    for uri in map(str, uris):
        found = _list_s3(uri, open_store) if uri.startswith("s3://") else _list_local(uri)
        items.update((item.uri, item) for item in found if item.uri not in items)
    media = {_stem(uri) for uri in items if PurePosixPath(uri).suffix.lower() not in SIDECARS}
    return [item for uri, item in items.items() if PurePosixPath(uri).suffix.lower() not in SIDECARS or _stem(uri) not in media]


def list_part(uri: str, *, after: str, limit: int, open_store: OpenStore) -> list[Found]:
    """At most `limit` files below a folder or s3://bucket/prefix whose names come after `after`, in the order of names.

    Hidden files, names of unfinished downloads and all sidecars are passed over: a sidecar may arrive before its footage. Folders
    before `after` are not read again. A linked folder is read under each of its names. Raises SourceError if the place is no
    folder; a prefix without objects is an empty place.
    """
    found = _part_s3(uri, after, open_store) if uri.startswith("s3://") else _part_local(uri, after)
    return list(itertools.islice(found, limit))


@contextmanager
def local_copy(uri: str, *, open_store: OpenStore, scratch: Path) -> Iterator[Path]:
    """A path that a decoder can open: the file itself, or a copy below `scratch` that is removed at the end.

    Raises SourceError if it is not there, not readable or not a regular file (a named pipe would block its reader for ever).
    """
    if uri.startswith("s3://"):
        bucket, key = _split(uri)
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="footage-") as folder:
            path = Path(folder, "footage" + PurePosixPath(key).suffix[:16])
            open_store(bucket).download(key, path)
            yield path
        return
    path = Path(uri)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise SourceError(f"{uri}: not a regular file")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise SourceError(f"{uri}: no such file: moved or deleted after it was listed, or its name is not UTF-8") from error
    except OSError as error:
        raise SourceError(f"{uri}: cannot be read: {error.strerror}; check its permissions") from error
    yield path


def read_sidecars(uri: str, *, open_store: OpenStore) -> tuple[dict[str, Any], list[str]]:
    """The fields that people wrote beside a file, and why a sidecar was ignored.

    `clip.txt` is the field `caption`; `clip.json` is an object of fields, which win over the text. Nothing in a sidecar stops
    an ingest.
    """
    fields: dict[str, Any] = {}
    notes = []
    for suffix in SIDECARS:
        name = _stem(uri) + suffix
        if name == uri:
            continue
        try:
            data = _read_small(name, open_store)
            if data is not None:
                fields |= _parse(suffix, data)
        except (SourceError, OSError, ValueError, RecursionError) as error:
            notes.append(f"sidecar {PurePosixPath(name).name} ignored: {error}")
    return fields, notes


def _parse(suffix: str, data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8-sig")
    if suffix == ".txt":
        return {"caption": text.strip()} if text.strip() else {}
    value = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError(f"its JSON is a {type(value).__name__}, not an object")
    json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is valid JSON but cannot be stored: UnicodeError
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read_small(uri: str, open_store: OpenStore) -> bytes | None:
    """The bytes of a sidecar, None if there is none."""
    if uri.startswith("s3://"):
        bucket, key = _split(uri)
        store = open_store(bucket)
        size = next((item.size for item in store.list(key) if item.key == key), None)
    else:
        store, key = None, uri
        size = Path(uri).stat().st_size if Path(uri).is_file() else None
    if size is None:
        return None
    if size > SIDECAR_BYTES:
        raise ValueError(f"{size} bytes; at most {SIDECAR_BYTES} are read")
    return Path(uri).read_bytes() if store is None else store.read_bytes(key)


def _list_local(uri: str) -> Iterator[FileItem]:
    if "://" in uri:
        raise SourceError(f"{uri!r}: give a file, a folder, a glob or s3://bucket/prefix")
    path = os.path.normpath(Path(uri).expanduser().absolute())
    # a file whose name has glob characters is itself; pathlib's glob would match hidden files
    matches = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
    if not matches:
        raise SourceError(f"{uri!r}: no such file or folder, and no file matches it as a glob (in {Path.cwd()})")
    for match in map(Path, matches):
        yield from _walk(match, set()) if match.is_dir() else [_local_item(match)]


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[FileItem]:
    """Files below a folder, through symbolic links, each folder once. A folder that cannot be read is listed itself."""
    try:
        found = folder.stat()
        if (found.st_dev, found.st_ino) in seen:
            return
        seen.add((found.st_dev, found.st_ino))
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        yield _local_item(folder)
        return
    for entry in entries:
        yield from _walk(entry, seen) if entry.is_dir() else [_local_item(entry)]


def _local_item(path: Path) -> FileItem:
    # A name that is not UTF-8 cannot be stored; its escaped form will not be found, and is refused with that reason.
    uri = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        found = path.stat()
    except OSError:
        return FileItem(uri=uri, size_bytes=0, modified="")
    return FileItem(uri=uri, size_bytes=found.st_size, modified=datetime.fromtimestamp(found.st_mtime, UTC).isoformat())


def _part_local(uri: str, after: str) -> Iterator[Found]:
    folder = Path(os.path.normpath(Path(uri).expanduser().absolute()))
    if not folder.is_dir():
        raise SourceError(f"{uri!r}: no such folder to watch; create it, or check that its disk is mounted")
    yield from _walk_part(folder, "", after, ())


def _walk_part(folder: Path, prefix: str, after: str, above: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    """Files below a folder with names after `after`; `above` are the folders that it lies in, so that links make no circle."""
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in above:
        return
    with os.scandir(folder) as entries:
        # a folder sorts as "name/", so that the order equals that of whole names, which is S3's
        named = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in entries if _is_footage(entry.name))
    for name, entry in named:
        path = prefix + name
        if not name.endswith("/"):
            if path > after:
                item = _local_item(Path(entry.path))
                yield Found(item=item, name=path, changed_s=_changed_s(entry))
        elif path > after or after.startswith(path):
            try:
                yield from _walk_part(Path(entry.path), path, after, (*above, identity))
            except PermissionError:  # listed itself, and so refused with a reason
                yield Found(item=_local_item(Path(entry.path)), name=path, changed_s=_changed_s(entry))


def _changed_s(entry: os.DirEntry[str]) -> float | None:
    try:
        status = entry.stat()
    except OSError:
        return None
    return max(status.st_mtime, status.st_ctime)  # a copy that keeps the old time of its content has a new one here


def _is_footage(name: str) -> bool:
    return not name.startswith(".") and not name.lower().endswith((*SIDECARS, *UNFINISHED))


def _part_s3(uri: str, after: str, open_store: OpenStore) -> Iterator[Found]:
    bucket, prefix = _split(uri.rstrip("/"))
    start = f"{prefix}/" if prefix else ""
    for item in open_store(bucket).list(prefix, after=start + after if after else ""):
        name = item.key.removeprefix(start)
        if not all(map(_is_footage, name.split("/"))):
            continue
        found = FileItem(uri=f"{bucket}/{item.key}", size_bytes=item.size, modified=item.etag)
        yield Found(item=found, name=name, changed_s=item.modified_s)


def _list_s3(uri: str, open_store: OpenStore) -> Iterator[FileItem]:
    bucket, pattern = _split(uri.rstrip("/"))
    parts = pattern.split("/") if pattern else []
    num_plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    prefix = "/".join(parts[:num_plain])
    num_found = 0
    for item in open_store(bucket).list(prefix):
        names = item.key.split("/")
        if num_plain < len(parts):
            if len(names) != len(parts) or not all(map(fnmatch.fnmatchcase, names, parts)):
                continue
        elif any(name.startswith(".") for name in names[len(parts) :]):
            continue
        num_found += 1
        yield FileItem(uri=f"{bucket}/{item.key}", size_bytes=item.size, modified=item.etag)
    if not num_found:
        raise SourceError(f"{uri!r}: no objects there; check bucket and prefix (a prefix is a whole folder name)")


def _split(uri: str) -> tuple[str, str]:
    """('s3://bucket', 'key') of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"s3://{bucket}", key


def _stem(uri: str) -> str:
    return uri.removesuffix(PurePosixPath(uri).suffix)
