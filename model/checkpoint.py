"""Checkpoints: safetensors and JSON only, written whole or not at all, found again by their manifest.

    <run>/checkpoints/step-00000200/
        transformer/      config.json, diffusion_pytorch_model.safetensors (diffusers' layout)
        ema/              the same for the moving average, if one is kept
        optimizer.safetensors   first and second moments per parameter name, independent of the number of ranks
        manifest.json     step, spec hash, the SHA-256 of every other file and of the manifest itself; written last

A folder without a manifest does not exist for a reader. It is written under a temporary name, flushed to disk and renamed. One whose
files do not match is set aside as `bad-step-...` when a run resumes, and the one before it is used.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SEAL = "seal"
"""Key of the manifest's own SHA-256, over everything else in it."""
_BAD = "bad-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One complete checkpoint on disk."""

    path: Path
    step: int
    """Optimizer steps done."""
    spec_hash: str
    """Hash of the training spec that wrote it; a run never resumes from another spec's checkpoint."""


def write_folder(target: Path, fill: Callable[[Path], None], manifest: Mapping[str, Any]) -> None:
    """Create `target` atomically: `fill` writes into a temporary sibling, the manifest goes last, then one rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        fill(temporary)
        write_manifest(temporary, [path for path in sorted(temporary.rglob("*")) if path.is_file()], manifest)
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk gets its room back
        raise
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    _sync(target.parent)


def write_manifest(folder: Path, files: Iterable[Path], manifest: Mapping[str, Any]) -> None:
    """Write a folder's manifest: the given values, the SHA-256 of these files and a seal over both."""
    values = {**manifest, "files": {path.relative_to(folder).as_posix(): file_hash(path) for path in files}}
    write_json(folder / MANIFEST, {**values, SEAL: _seal(values)})


def find_checkpoints(run_dir: Path) -> list[Checkpoint]:
    """Complete checkpoints of a run, oldest first; their manifests are sound, their files are not looked at (`verify_folder`)."""
    found = []
    for path in sorted((run_dir / "checkpoints").glob("step-*")):
        if values := _manifest(path):
            found.append(Checkpoint(path=path, step=values["step"], spec_hash=values["spec_hash"]))
    return found


def remove_debris(run_dir: Path, keep: int, milestone_every: int = 0) -> None:
    """Delete temporaries that a killed writer left and all checkpoints but the newest `keep` and the milestones.

    milestone_every: checkpoints at multiples of this many steps stay; 0 = none do.
    """
    folder = run_dir / "checkpoints"
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
    for checkpoint in find_checkpoints(run_dir)[:-keep]:
        if not milestone_every or checkpoint.step % milestone_every:
            shutil.rmtree(checkpoint.path, ignore_errors=True)


def set_bad_aside(run_dir: Path) -> dict[str, list[str]]:
    """Verify the newest checkpoint, rename it if it is damaged, go on with the one before: `step-X` -> the files that differ.

    Afterwards the newest checkpoint of the run is sound, or there is none. One damaged folder is kept for whoever wants to know why.
    """
    folder = run_dir / "checkpoints"
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("step-*"), reverse=True):
        if not (wrong := verify_folder(path)):
            break
        found[path.name] = wrong
        for older in folder.glob(f"{_BAD}step-*"):
            shutil.rmtree(older, ignore_errors=True)
        path.rename(folder / f"{_BAD}{path.name}")
    return found


def verify_folder(path: Path) -> list[str]:
    """Files of a checkpoint that are missing or differ from its manifest, the manifest among them; empty = sound."""
    values = _manifest(path)
    if values is None:
        return [MANIFEST]
    return [name for name, digest in values["files"].items() if not (path / name).is_file() or file_hash(path / name) != digest]


def _manifest(path: Path) -> dict[str, Any] | None:
    """A folder's manifest; None if there is none, or not as it was written."""
    try:
        values = json.loads((path / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no JSON, no UTF-8
        return None
    is_whole = isinstance(values, dict) and values.pop(SEAL, None) == _seal(values)
    return values if is_whole else None


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _sync(temporary)
    temporary.rename(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
