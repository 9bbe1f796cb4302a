"""Provenance: one hash per row over the code version and settings that made it and the provenance of what it was made from.

Equal provenance means equal content, so that work is skipped; a changed setting changes the provenance of exactly the rows
downstream of it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def provenance(code_version: str, settings: Any, parents: Iterable[str] = ()) -> str:
    """16 hex digits. `settings`: plain values, dataclasses or pydantic models. Order and repetition of parents do not count."""
    return hash_json({"code_version": code_version, "settings": settings, "parents": sorted(set(parents))})


def hash_json(value: Any) -> str:
    """16 hex digits over a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and without spaces: one text per value. TypeError or ValueError (NaN) on what has no such text."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # a pydantic model, without importing pydantic
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{odd[0]!r} is a {type(odd[0]).__name__}; keys must be text, or 1 and '1' would be the same")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
