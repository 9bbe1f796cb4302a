"""Drawn pictures and screens: animation, games, recordings of a desktop."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Sample, Score, ShotInfo, Signal

WINDOW = 5
"""Pixels on a side of the window in which the range of luma is taken."""
EVEN, SOFT = 2, 12
"""Levels of 255: range of an even window, and the largest of a softly shaded one. Lenses, grain and light shade nearly everything;
paint from a bucket does not."""
DARK, LIGHT = 16, 250
"""Levels beyond which pixels are left out: crushed shadows and burnt skies are even in any picture."""
SEEN = 0.2
"""Share of a still that must lie between them."""
EVEN_SHARE, SOFT_SHARE = (0.5, 0.75), (0.25, 0.1)
"""Shares of even and of soft windows at which confidence begins, and at which it is full; in footage up to 0.60 is even where 0.30 is
soft (measured)."""
FOUND = 0.5
"""Confidence from which the score is a number."""
WORDS = {
    "animation": (
        "animation", "anime", "cartoon", "animated character", "animated film", "animated scene", "animated style", "2d animated",
        "3d animated",
    ),
    "game": ("video game", "gameplay", "game engine"),
    "rendering": ("3d render", "3d-rendered", "cgi", "computer-generated", "computer generated"),
    "screen": ("screen recording", "screencast", "screenshot"),
    "surveillance": ("surveillance footage", "surveillance video", "cctv footage", "security camera footage"),
}  # fmt: skip
"""Kind of source -> what a caption that names it says."""


class Synthetic(Signal):
    """Confidence, 0.5 to 1, that the picture was drawn or is a screen: flat areas that meet at hard edges, mean over the stills.

    Says only what it can see: flat-shaded animation, title cards and desktops. Whatever is shaded softly (footage, painted grounds,
    rendered films, most games) is `unknown`: it may be either. Where the shot's caption names its kind (WORDS), a pool takes the
    caption's word instead (`named_kind`): 1, with the word as remark.
    Source: paper 3.1 filters synthetic material and the source's kind, by models; method and numbers our choice.
    """

    name, unit, version = "synthetic", "confidence", "1"

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._sum, self._count = 0.0, 0

    def add(self, sample: Sample) -> None:
        if sample.still is None:
            return
        found = _confidence(sample.still.large)
        if found is not None:
            self._sum += found
            self._count += 1

    def result(self) -> Score:
        if not self._count:
            return self.unknown("no still shows enough between black and white")
        confidence = self._sum / self._count
        if confidence < FOUND:
            return self.unknown("softly shaded: footage, or drawn so well that it looks like it")
        return self.measured(confidence)


def named_kind(caption: Mapping[str, Any]) -> str | None:
    """The word by which a structured caption says that its shot is no ordinary footage, with its kind; None if it says nothing.

    A word after `no` or `not` does not count; a cartoon that somebody watches in the scene does.
    """
    spoken = " ".join(_texts(caption)).lower()
    for kind, words in WORDS.items():
        found = re.search(rf"(?<!\bno )(?<!\bnot )(?<!\bnot a )\b({'|'.join(map(re.escape, words))})s?\b", spoken)
        if found:
            return f"{found[1]} ({kind})"
    return None


def _texts(part: Any) -> Iterator[str]:
    """Every text in a structured caption, however deep."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping | list):
        for value in part.values() if isinstance(part, Mapping) else part:
            yield from _texts(value)


def with_caption(scores: Mapping[str, Score], caption: Mapping[str, Any]) -> dict[str, Score]:
    """One shot's scores, with the caption's word on the kind of source where it gives one."""
    named = named_kind(caption)
    if named is None or Synthetic.name not in scores:
        return dict(scores)
    return {**scores, Synthetic.name: Synthetic.measured(1.0, remark(named))}


def remark(named: str) -> str:
    """How a score says what the caption named."""
    return f"the caption says {named}"


def _confidence(luma: np.ndarray) -> float | None:
    """Of one (h, w) uint8 still; None where too little lies between black and white."""
    window = np.ones((WINDOW, WINDOW), np.uint8)
    span = cv2.subtract(cv2.dilate(luma, window), cv2.erode(luma, window))
    seen = (luma > DARK) & (luma < LIGHT)
    amount = int(np.count_nonzero(seen))
    if amount < SEEN * luma.size:
        return None
    even = np.count_nonzero(seen & (span <= EVEN)) / amount
    soft = np.count_nonzero(seen & (span > EVEN) & (span <= SOFT)) / amount
    parts = ((share - start) / (full - start) for share, (start, full) in ((even, EVEN_SHARE), (soft, SOFT_SHARE)))
    return float(np.prod([min(max(part, 0.0), 1.0) for part in parts]))
