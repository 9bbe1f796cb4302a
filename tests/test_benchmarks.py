"""The benchmarks: each has small settings, says its options, and the runner tells one that fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as runner

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_benchmark_has_small_settings():
    assert sorted(runner.SMALL) == NAMES


@pytest.mark.parametrize("name", ["codec", "training_memory"])
def test_a_benchmark_says_its_options_and_refuses_others(name: str):
    told = run(f"benchmarks.{name}", "--help")
    assert told.returncode == 0
    assert f"python -m benchmarks.{name}" in told.stdout
    assert run(f"benchmarks.{name}", "--absent").returncode == 2


def test_a_benchmark_that_is_not_there_is_refused():
    refused = run("benchmarks", "codec", "absent")
    assert refused.returncode == 2
    assert "no such benchmark: absent" in refused.stderr


@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--absent", "failed: codec")])
def test_the_runner_tells_one_that_fails(monkeypatch: pytest.MonkeyPatch, option: str, code: int | str):
    monkeypatch.setattr(runner, "SMALL", {"codec": option})
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(SystemExit) as ended:
        runner.main()
    assert ended.value.code == code
