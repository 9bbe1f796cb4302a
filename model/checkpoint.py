"""Checkpoints: safetensors and JSON only, written whole or not at all, found again by their manifest.

    <run>/checkpoints/step-00000200/
        transformer/      config.json, diffusion_pytorch_model.safetensors (diffusers' layout)
        ema/              the same for the moving average, if one is kept
        optimizer.safetensors   first and second moments per parameter name, independent of the number of ranks
        manifest.json     step, spec hash and the SHA-256 of every other file; written last

A folder without a manifest does not exist for a reader. It is written under a temporary name, flushed to disk and renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


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
    fill(temporary)
    files = {path.relative_to(temporary).as_posix(): file_hash(path) for path in sorted(temporary.rglob("*")) if path.is_file()}
    write_json(temporary / MANIFEST, {**manifest, "files": files})
    for path in [*temporary.rglob("*"), temporary]:
        _sync(path)
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    _sync(target.parent)


def find_checkpoints(run_dir: Path) -> list[Checkpoint]:
    """Complete checkpoints of a run, oldest first."""
    found = []
    for path in sorted((run_dir / "checkpoints").glob("step-*")):
        manifest = path / MANIFEST
        if manifest.is_file():
            values = json.loads(manifest.read_text(encoding="utf-8"))
            found.append(Checkpoint(path=path, step=values["step"], spec_hash=values["spec_hash"]))
    return found


def remove_debris(run_dir: Path, keep: int) -> None:
    """Delete temporaries that a killed writer left and all but the newest `keep` checkpoints."""
    folder = run_dir / "checkpoints"
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
    for checkpoint in find_checkpoints(run_dir)[:-keep]:
        shutil.rmtree(checkpoint.path, ignore_errors=True)


def verify_folder(path: Path) -> list[str]:
    """Files of a checkpoint that are missing or differ from its manifest; empty = sound."""
    files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
    return [name for name, digest in files.items() if not (path / name).is_file() or file_hash(path / name) != digest]


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
