"""A server of our own: ready by a real request, ended with all that it started. The interpreter is a stand-in for vLLM's."""

import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

from resources.captioner import CaptionerResource
from skyreels_platform.captioning.server import probe, vllm_server
from skyreels_platform.errors import CaptionerError
from skyreels_platform.recipe import CaptionSettings
from tests.captioning.endpoint import Behaviour, Endpoint

ROOT = Path(__file__).resolve().parents[2]
VLLM = CaptionSettings(backend="vllm")

SERVER = '''#!{python}
"""Takes the arguments that vLLM's python gets; answers health at once and chat only after a while; has a child of its own."""
import asyncio, json, subprocess, sys, time
sys.path.insert(0, {root!r})
port = int(sys.argv[sys.argv.index("--port") + 1])
if "--crash" in sys.argv:
    print("engine core died")
    sys.exit(3)
child = subprocess.Popen(["sleep", "600"])
print("child", child.pid, flush=True)
from tests.captioning.endpoint import Behaviour, Endpoint
started = time.monotonic()
loading = Behaviour(status=503, text="loading")
policy = lambda key, seen, body: Behaviour(text="yes") if time.monotonic() - started > 1.5 and "--deaf" not in sys.argv else loading
asyncio.run(Endpoint(policy, keep=False).serve(lambda: None, port))
'''


@pytest.fixture
def python(tmp_path: Path) -> str:
    path = tmp_path / "python"
    path.write_text(SERVER.format(python=sys.executable, root=str(ROOT)), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def child_of(log: Path) -> int:
    return int(log.read_text(encoding="utf-8").split("child ")[1].split()[0])


def test_is_ready_when_it_answers_and_ends_with_its_children(python: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with vllm_server(python, "m", folder=tmp_path / "work", ready_s=60) as url:
        assert time.monotonic() - started > 1.5
        assert probe(url, "m") is None
        child = child_of(tmp_path / "work" / "vllm.log")
        assert psutil.pid_exists(child)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert "no answer" in (probe(url, "m") or "")
    assert not (tmp_path / "work" / "vllm.pid").exists()


def test_ends_with_an_error_of_the_caller(python: str, tmp_path: Path) -> None:
    resource = CaptionerResource(vllm_python=python)
    with pytest.raises(KeyError, match="x"), resource.captioner_urls(VLLM, tmp_path) as urls:  # noqa: PT012
        assert len(urls) == 1
        child = child_of(tmp_path / "servers" / "captioner" / "vllm.log")
        raise KeyError("x")
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_server_that_dies_or_never_answers_is_told_with_its_log(python: str, tmp_path: Path) -> None:
    def start(flag: str, ready_s: float) -> None:
        with vllm_server(python, "m", folder=tmp_path / flag, flags=[flag], ready_s=ready_s):
            raise AssertionError("never ready")

    with pytest.raises(CaptionerError, match=r"exit code 3; its log, .*vllm\.log, ends with:\nengine core died"):
        start("--crash", 60)
    with pytest.raises(CaptionerError, match=r"not ready within 2\.5 s \(HTTP 503 .*loading"):
        start("--deaf", 2.5)


def test_where_the_servers_are(tmp_path: Path) -> None:
    resource = CaptionerResource.from_environment({"SKYREELS_CAPTIONERS": "http://a:1/v1, http://b:1/v1", "SKYREELS_WRITERS": ""})
    with resource.captioner_urls(VLLM, tmp_path) as urls:
        assert urls == ["http://a:1/v1", "http://b:1/v1"]
    assert resource.writer_urls(VLLM.writer) == ["http://127.0.0.1:8000/v1"]
    with CaptionerResource().captioner_urls(VLLM, tmp_path) as urls:
        assert urls == ["http://127.0.0.1:8000/v1"]
    with CaptionerResource(vllm_python="/nowhere/python").captioner_urls(CaptionSettings(backend="rules"), tmp_path) as urls:
        assert urls == []
    with pytest.raises(CaptionerError, match="SKYREELS_CAPTIONERS = 'a:1': give base URLs"):
        CaptionerResource.from_environment({"SKYREELS_CAPTIONERS": "a:1"})
    with pytest.raises(CaptionerError, match="both set"):
        CaptionerResource.from_environment({"SKYREELS_CAPTIONERS": "http://a:1/v1", "SKYREELS_VLLM_PYTHON": "python"})


def test_a_probe_is_a_real_question() -> None:
    with Endpoint(lambda key, seen, body: Behaviour(text="yes")) as endpoint:
        assert probe(endpoint.base_url, "m") is None
        (asked,) = endpoint.requests["probe"]
    assert (asked["model"], asked["max_tokens"], asked["path"]) == ("m", 1, "/v1/chat/completions")
    with Endpoint(lambda key, seen, body: Behaviour(status=500, text="engine is dead")) as endpoint:
        assert "engine is dead" in (probe(endpoint.base_url, "m") or "")
