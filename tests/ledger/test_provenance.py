"""Provenance changes with code version, settings and parents, and with nothing else."""

import hashlib
from dataclasses import dataclass

import pytest

from skyreels_platform.ledger.provenance import canonical_json, hash_json, provenance
from skyreels_platform.recipe import Bound, PoolSettings


@dataclass(frozen=True, kw_only=True)
class _Settings:
    threshold: float
    names: tuple[str, ...] = ()


def test_value_is_stable_across_versions() -> None:
    """Stored rows hold these values: a change of the rule makes every row stale."""
    text = '{"code_version":"v1","parents":["p1","p2"],"settings":{"a":1}}'
    assert provenance("v1", {"a": 1}, ["p2", "p1"]) == hashlib.sha256(text.encode()).hexdigest()[:16] == "1c5862f58f0c3d43"


def test_every_part_counts() -> None:
    base = provenance("v1", {"a": 1}, ["p1"])
    assert len(base) == 16
    others = {provenance("v2", {"a": 1}, ["p1"]), provenance("v1", {"a": 2}, ["p1"]), provenance("v1", {"a": 1}, ["p2"])}
    assert len({base, *others}) == 4
    assert base != provenance("v1", {"a": 1}, ["p1", "p2"])


def test_order_and_repetition_do_not_count() -> None:
    assert provenance("v1", {"a": 1, "b": 2}, ["p1", "p2"]) == provenance("v1", {"b": 2, "a": 1}, ["p2", "p1", "p1"])


def test_settings_are_values_whatever_holds_them() -> None:
    assert hash_json(_Settings(threshold=0.5, names=("x",))) == hash_json({"threshold": 0.5, "names": ["x"]})
    bounds = PoolSettings(bounds={"motion": Bound(min=0.2)})
    assert hash_json(bounds) == hash_json({"bounds": {"motion": {"min": 0.2, "max": None, "unknown": "fail"}}})
    assert hash_json({"pools": [bounds]}) != hash_json({"pools": [PoolSettings(bounds={"motion": Bound(min=0.3)})]})


def test_canonical_json_has_one_text_per_value() -> None:
    assert canonical_json({"b": (1, None), "a": {"\u00e9": 0.1}}) == '{"a":{"\u00e9":0.1},"b":[1,null]}'
    for bad, error in (({1: "a"}, TypeError), (float("inf"), ValueError), (object(), TypeError), (_Settings, TypeError)):
        with pytest.raises(error):
            canonical_json(bad)
