"""Does a film show what its prompt names? Read from the pixels, window by window, by the same code that captions footage."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

_SPAN = 17  # frames looked at together: one training clip

Outcome = Literal["pass", "fail", "not_applicable"]


@dataclass(frozen=True, kw_only=True)
class FilmCheck:
    """Outcome of the pixel check of one film."""

    outcome: Outcome
    text: str
    """One sentence for people."""
    wanted: str
    """`red circle`, or empty where the prompt names no subject that pixels can tell."""
    num_spans: int
    num_colour: int
    """Spans in which the subject has the named colour."""
    num_shape: int
    """Spans in which it has the named colour and shape."""


def names_subject(prompt: str) -> tuple[str, str] | None:
    """(colour, shape) that a prompt names, if both can be checked from pixels."""
    from skyreels_platform.captioning.subjects import COLOURS, SHAPES

    shapes = [shape for shape in SHAPES if shape != "other"]
    found = re.search(rf"\b({'|'.join(COLOURS)}) ({'|'.join(shapes)})\b", prompt.lower())
    return (found.group(1), found.group(2)) if found else None


def check_film(frames: np.ndarray, prompt: str) -> FilmCheck:
    """Check a film (F, H, W, 3) uint8 RGB: it passes if most spans of 17 frames show the named colour, and most the shape too."""
    from skyreels_platform.captioning.subjects import describe_subject

    named = names_subject(prompt)
    if named is None:
        text = "the prompt names no coloured shape that pixels can confirm"
        return FilmCheck(outcome="not_applicable", text=text, wanted="", num_spans=0, num_colour=0, num_shape=0)
    colour, shape = named
    spans = [frames[start : start + _SPAN] for start in range(0, max(1, len(frames) - _SPAN // 2), _SPAN)]
    found = [describe_subject(span) for span in spans]
    num_colour = sum(finding is not None and finding.colour == colour for finding in found)
    num_shape = sum(finding is not None and (finding.colour, finding.shape) == named for finding in found)
    names = Counter("nothing clear" if finding is None else finding.name for finding in found)
    seen = ", ".join(f"{name} in {count}" for name, count in names.most_common())
    passed = 2 * num_colour > len(spans) and 2 * num_shape > len(spans)
    text = f"the prompt names a {colour} {shape}; of {len(spans)} spans of {_SPAN} frames the pixels show {seen}"
    return FilmCheck(
        outcome="pass" if passed else "fail", text=text, wanted=f"{colour} {shape}", num_spans=len(spans),
        num_colour=num_colour, num_shape=num_shape,
    )  # fmt: skip
