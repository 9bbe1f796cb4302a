"""What holds for every test: one thread, no network beyond this machine, no outside settings, no unexpected error in the log."""

import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ["OMP_NUM_THREADS"] = "1"  # before numpy or torch is imported, and for fixtures that outlive a test: waiting threads spin


_LONG = {"tests/test_end_to_end.py": "micro", "tests/test_kill.py": "micro", "tests/training/test_healing.py": "healing"}
"""Files that take minutes -> what they have in common. `make test` starts with them, those of one name on one worker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.relative_to(ROOT).as_posix() not in _LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests share fixtures, so they stay on one worker (xdist's own `loadgroup` does nothing under pytest 9.2)."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return _LONG.get(path, path)

    return ByFile(config, log)


@pytest.fixture(scope="session")
def footage() -> Path:
    """Real footage (`videos/`, `truth/`, `manifest.json`): the folder SKYREELS_FOOTAGE, else ../shared/data of the checkout."""
    folder = Path(os.environ.get("SKYREELS_FOOTAGE") or ROOT.parent / "shared" / "data")
    if not (folder / "videos").is_dir():
        pytest.skip(f"no real footage: {folder / 'videos'} is not there (SKYREELS_FOOTAGE names another folder)")
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same settings on every machine, for the test and for the processes that it starts."""
    for name in os.environ:
        if name.startswith("SKYREELS_") and name != "SKYREELS_FOOTAGE":
            monkeypatch.delenv(name)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_unexpected_errors(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test during which something was logged at ERROR or above; the marker `expects_error_logs` allows it."""
    yield
    if request.node.get_closest_marker("expects_error_logs"):
        return
    errors = [record for when in ("setup", "call") for record in caplog.get_records(when) if record.levelno >= logging.ERROR]
    if errors:
        lines = "\n".join(f"{record.name}: {record.getMessage()}" for record in errors)
        pytest.fail(f"logged at ERROR (mark the test expects_error_logs if that is its subject):\n{lines}", pytrace=False)


class NetworkBlockedError(RuntimeError):
    """A test tried to leave this machine. No OSError: code that tolerates a dead network must not hide it."""


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """Sockets of this process connect to loopback and Unix addresses only. Child processes and C libraries are not seen."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(method: Any) -> Any:
    def call(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise NetworkBlockedError(f"a test tried to reach {address!r}; tests talk to this machine only")
        return method(self, *arguments)

    return call


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("localhost", "")
