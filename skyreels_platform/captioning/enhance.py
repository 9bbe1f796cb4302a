"""A short wish becomes a full prompt, by the writer's model (upstream's prompt enhancer). The same wish gives the same prompt.

Answers are kept in the ledger by their request, so a film can be made again without the server.
"""

from collections.abc import Sequence

from skyreels_platform.captioning.questions import ask_and_keep
from skyreels_platform.captioning.writer import check_text, enhance_request
from skyreels_platform.errors import CaptionerError
from skyreels_platform.home import Home
from skyreels_platform.recipe import EndpointSettings

_SCOPE = "prompts"
"""Stands in the table `answers` where captions have their batch."""


def enhance(home: Home, prompt: str, settings: EndpointSettings, *, urls: Sequence[str], seed: int) -> str:
    """The richer prompt. CaptionerError if the model has none; ValueError for an empty wish."""
    request = enhance_request(prompt, model=settings.model, seed=seed)
    answers, _ = ask_and_keep(home, _SCOPE, "enhance", iter([request]), 1, settings, urls, check_text)
    answer = answers[request.key]
    if answer.status != "success":
        raise CaptionerError(f"{prompt!r} could not be enhanced: {answer.status}, {answer.reason}; make the film without --enhance")
    return " ".join(answer.text.split()).removeprefix("Description: ")
