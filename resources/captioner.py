"""Where captions come from: language model servers that run somewhere, or a vLLM server of our own for the length of a step.

    SKYREELS_CAPTIONERS    base URLs of servers of the captioner, with commas; default: the recipe's captions.captioner.urls
    SKYREELS_WRITERS       the same for the writer of texts and prompts
    SKYREELS_VLLM_PYTHON   the python of an environment with vLLM: the captioner's server is started from it, and ended with the step
    SKYREELS_VLLM_FLAGS    flags of that server, e.g. `--tensor-parallel-size 2 --gpu-memory-utilization 0.6`
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import dagster as dg

from skyreels_platform.errors import CaptionerError
from skyreels_platform.recipe import CaptionSettings, EndpointSettings


class CaptionerResource(dg.ConfigurableResource):
    """Knows the servers; cheap to make."""

    captioners: list[str] = []  # noqa: RUF012 (Dagster reads the default as a value)
    """Base URLs in place of the recipe's."""
    writers: list[str] = []  # noqa: RUF012
    vllm_python: str = ""
    """Interpreter of vLLM's environment; empty: no server is started."""
    vllm_flags: list[str] = []  # noqa: RUF012

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables; CaptionerError names one that cannot be used."""
        captioners, writers = (_urls(environment, name) for name in ("SKYREELS_CAPTIONERS", "SKYREELS_WRITERS"))
        python = environment.get("SKYREELS_VLLM_PYTHON", "")
        if captioners and python:
            raise CaptionerError("SKYREELS_CAPTIONERS and SKYREELS_VLLM_PYTHON are both set: name servers, or let one be started, not both")
        return cls(
            captioners=captioners, writers=writers, vllm_python=python, vllm_flags=shlex.split(environment.get("SKYREELS_VLLM_FLAGS", "")),
        )  # fmt: skip

    @contextmanager
    def captioner_urls(self, settings: CaptionSettings, work: Path) -> Iterator[list[str]]:
        """Base URLs of the captioner while the block lasts; none for a backend that asks nobody.

        work: the home's scratch folder, where a server of our own keeps its log.
        """
        if settings.backend != "vllm":
            yield []
        elif self.vllm_python:
            from skyreels_platform.captioning.server import vllm_server

            folder = work / "servers" / "captioner"
            with vllm_server(self.vllm_python, settings.captioner.model, folder=folder, flags=self.vllm_flags) as url:
                yield [url]
        else:
            yield self.captioners or list(settings.captioner.urls)

    @contextmanager
    def serve(self, folder: str, work: Path) -> Iterator[str | None]:
        """Base URL of a server of a captioner in a folder, called by the folder's name; None where no vLLM can be started."""
        if not self.vllm_python:
            yield None
            return
        from skyreels_platform.captioning.server import vllm_server

        place = work / "servers" / "evaluation"
        with vllm_server(self.vllm_python, folder, folder=place, name=Path(folder).name, flags=self.vllm_flags) as url:
            yield url

    def writer_urls(self, settings: EndpointSettings) -> list[str]:
        """Base URLs of the writer."""
        return self.writers or list(settings.urls)


def _urls(environment: Mapping[str, str], name: str) -> list[str]:
    urls = [url.strip() for url in environment.get(name, "").split(",") if url.strip()]
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise CaptionerError(f"{name} = {url!r}: give base URLs such as http://HOST:8000/v1, with commas between them")
    return urls
