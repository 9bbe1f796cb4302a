"""Lays subtitles, logos, watermarks, stickers and scene text over a clip, from a seed, and says what was drawn where.

The test bench of everything that looks for things laid over the picture. All but `scene_text` stand still on the screen, as
burnt-in graphics do; scene text travels with the scene and is what a detector must not take for an overlay. Fonts are those that
come inside OpenCV 5 (its `sans`, `italic` and `uni` hold Latin, Greek, Cyrillic, Chinese, Japanese and Korean letters), Pillow
and matplotlib, so that the same seed draws the same picture on every machine.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from skyreels_platform.media.sample_patches import (
    Patch,
    blend,
    boxed,
    emblem,
    flat,
    ink_of,
    narrowed,
    shifted,
    subtitle_patch,
    visible,
)

_Choice = TypeVar("_Choice")
Kind = Literal["subtitle", "logo", "watermark", "sticker", "scene_text"]
KINDS: tuple[Kind, ...] = ("subtitle", "logo", "watermark", "sticker", "scene_text")
LANGUAGES = ("latin", "accents", "cyrillic", "greek", "chinese", "japanese", "korean")
FONTS = ("sans", "italic", "uni", "hershey", "pillow", "serif", "mono")

_SENTENCES: dict[str, tuple[str, ...]] = {
    "latin": (
        "I did not expect you here.", "Where were you last night?", "We leave at dawn.", "It was never about money.",
        "Listen to the sea, it never lies to us.", "They said the bridge would hold, and it did.", "Come with me.", "No, wait!",
    ),
    "accents": ("Où étais-tu hier soir ?", "Das hätte ich nie für möglich gehalten.", "¿Qué haces aquí?", "Não é bem assim."),
    "cyrillic": ("Я тебя здесь не ждал.", "Мы уходим на рассвете.", "Где ты была вчера вечером?"),
    "greek": ("Δεν σε περίμενα εδώ.", "Φεύγουμε την αυγή."),
    "chinese": ("我没想到你会在这里", "我们黎明出发", "你昨晚去哪里了"),
    "japanese": ("ここで会うとは思わなかった", "夜明けに出発する"),
    "korean": ("여기서 만날 줄은 몰랐어요", "우리는 새벽에 떠난다"),
}  # fmt: skip
_WESTERN = ("latin", "accents", "cyrillic", "greek")
_MARKS = ("TV", "NEWS", "HD1", "Kino", "ARTE+", "K7", "SPORT", "on air", "Vid24")
_NOTICES = ("(c) 2021 Studio Nord", "www.example.org", "@handle_name", "Preview copy", "stock footage 1138")
_SIGNS = ("EXIT", "OPEN 24H", "Hotel Astoria", "STOP", "Bus 42", "Fresh fish", "Platform 3", "Rue du Port")
_INKS = ((255, 255, 255), (255, 255, 255), (255, 255, 255), (255, 235, 60), (235, 235, 235), (120, 240, 240), (150, 255, 150))
_VIVID = ((235, 40, 40), (40, 160, 240), (250, 200, 30), (60, 190, 80), (240, 90, 190), (250, 250, 250), (245, 130, 30))


@dataclass(frozen=True, kw_only=True)
class OverlayTruth:
    """One thing that was laid over a clip."""

    kind: Kind
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in shares of width and height; of scene text, where its first frame shows it."""
    start: int
    """First frame of the clip that shows it."""
    end: int
    """First frame that does not show it any more."""
    text: str
    """What is written; empty for a drawing."""
    opacity: float
    """0 to 1."""


def draw_overlays(clip: np.ndarray, kinds: Iterable[Kind], *, seed: int, fps: float) -> list[OverlayTruth]:
    """Draw one overlay of each kind onto (F, H, W, 3) uint8 RGB, in place. Scene text lies below all others.

    A subtitle may be two texts, one after the other: then there are two entries. ValueError for an unknown kind or a clip of
    another shape.
    """
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or not clip.size:
        raise ValueError(f"draw_overlays takes (F, H, W, 3) uint8, F at least 1; got {clip.dtype} {clip.shape}")
    kinds = list(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"overlay {kind!r} is not known; known: {', '.join(KINDS)}")
    painter = _Painter(clip, np.random.default_rng([seed, 20_11]), fps)
    drawing: dict[Kind, Callable[[], list[OverlayTruth]]] = {
        "scene_text": painter.scene_text, "sticker": painter.sticker, "subtitle": painter.subtitle, "logo": painter.logo,
        "watermark": painter.watermark,
    }  # fmt: skip
    return [truth for kind in drawing if kind in kinds for truth in drawing[kind]()]


class _Painter:
    """Draws onto one clip; every method takes its random choices from the same generator, in order."""

    def __init__(self, clip: np.ndarray, generator: np.random.Generator, fps: float) -> None:
        self._clip, self._random, self._fps = clip, generator, fps
        self._frames, self._height, self._width = clip.shape[:3]
        self._taken: list[tuple[int, int, int, int]] = []  # where something stands, in pixels: marks keep clear of it

    def subtitle(self) -> list[OverlayTruth]:
        """One or two lines, outlined, shadowed, boxed or plain, in the bottom band, rarely at the top or down one side."""
        place = self._pick(("bottom",) * 8 + ("top", "side"))
        language = self._pick(("chinese", "japanese") if place == "side" else ("latin",) * 5 + LANGUAGES[1:])
        font = self._font(language)
        size = max(11, round(self._height * self._uniform(0.042, 0.07)))
        ink = self._pick(_INKS)
        style = self._pick(("outline", "outline", "outline", "shadow", "box", "plain"))
        spans = self._subtitle_spans()
        lines = 1 if place == "side" else self._pick((1, 1, 2))
        margin = self._uniform(0.03, 0.09)
        truths = []
        for start, end in spans:
            texts = [self._pick(_SENTENCES[language]) for _ in range(lines)]
            ground = self._clip[start, round((1 - margin) * self._height) - size :: 4, ::4].mean()
            readable = style if style != "plain" or abs(float(np.mean(ink)) - float(ground)) > 90 else "outline"
            widest = round(0.92 * self._width)
            patch = subtitle_patch(texts, font, size, ink, readable, upright=place == "side", widest=widest)
            height, width = patch.cover.shape
            left, top = (self._width - width) // 2, round((1 - margin) * self._height) - height
            if place == "top":
                top = round(margin * self._height)
            elif place == "side":
                left = round(margin * self._width) if self._random.random() < 0.5 else round((1 - margin) * self._width) - width
                top = (self._height - height) // 2
            truths.append(self._lay(patch, "subtitle", left, top, start, end, " / ".join(texts), self._pick((1.0, 1.0, 0.9))))
        return truths

    def logo(self) -> list[OverlayTruth]:
        """A mark in a corner for the whole clip: letters or an emblem, opaque or half-transparent."""
        size = max(14, round(self._height * self._uniform(0.06, 0.12)))
        colour = self._pick(((255, 255, 255), (255, 255, 255), (225, 225, 225), *_VIVID))
        text = self._pick(_MARKS) if self._random.random() < 0.5 else ""
        if text:
            patch = flat(ink_of(text, self._font("latin"), max(11, size // 2 if len(text) > 4 else round(0.75 * size))), colour)
            if self._random.random() < 0.3:
                patch = boxed(patch, self._pick(_VIVID), 1.0)
        else:
            patch = emblem(size, colour, self._pick(("ring", "star", "bars", "badge")), self._pick(_VIVID))
        opacity = self._uniform(0.4, 0.65) if self._random.random() < 0.4 else self._uniform(0.8, 1.0)
        return [self._in_corner(patch, "logo", text, opacity)]

    def watermark(self) -> list[OverlayTruth]:
        """A line of half-transparent small print in a corner for the whole clip."""
        text = self._pick(_NOTICES)
        size = max(11, round(self._height * self._uniform(0.032, 0.05)))
        patch = flat(ink_of(text, self._font("latin"), size), (255, 255, 255))
        return [self._in_corner(patch, "watermark", text, self._uniform(0.4, 0.7))]

    def sticker(self) -> list[OverlayTruth]:
        """A hard-edged drawing that stands in the middle of the frame, away from corners and subtitle bands."""
        size = max(16, round(self._height * self._uniform(0.12, 0.3)))
        patch = emblem(size, self._pick(_VIVID), self._pick(("arrow", "face", "star", "bubble", "badge")), self._pick(_VIVID))
        height, width = patch.cover.shape
        left = round(self._uniform(0.22, max(0.23, 0.78 - width / self._width)) * self._width)
        top = round(self._uniform(0.22, max(0.23, 0.58 - height / self._height)) * self._height)
        return [self._lay(patch, "sticker", left, top, 0, self._frames, "", self._uniform(0.85, 1.0))]

    def scene_text(self) -> list[OverlayTruth]:
        """A sign that crosses the picture at a tenth to a third of the frame's height a second, as things in a scene do."""
        text, size = self._pick(_SIGNS), max(11, round(self._height * self._uniform(0.05, 0.1)))
        patch = flat(ink_of(text, self._font("latin"), size), self._pick(_INKS))
        if self._random.random() < 0.7:
            patch = boxed(patch, self._pick(((20, 60, 140), (140, 20, 20), (30, 30, 30), (20, 110, 50))), 1.0)
        height, width = patch.cover.shape
        angle, speed = self._uniform(0, 2 * np.pi), self._uniform(0.1, 0.33) * self._height / self._fps
        step = speed * np.cos(angle), speed * np.sin(angle)
        # The sign passes its place halfway through the clip, so that it is seen for most of it wherever it comes from.
        middle = self._uniform(0.2, 0.8) * self._width - width / 2, self._uniform(0.2, 0.9) * self._height - height / 2
        places = [tuple(middle[k] + step[k] * (index - self._frames / 2) for k in range(2)) for index in range(self._frames)]
        for frame, (left, top) in zip(self._clip, places, strict=True):
            blend(frame, shifted(patch, left % 1, top % 1), int(np.floor(left)), int(np.floor(top)), 1.0)
        left, top = places[0]
        return [self._truth("scene_text", (left, top, left + width, top + height), 0, self._frames, text, 1.0)]

    def _subtitle_spans(self) -> list[tuple[int, int]]:
        """When texts are shown: throughout, from or to the middle of the clip, or two in turn; 1.2 seconds each at least."""
        least = round(1.2 * self._fps)
        if self._frames < 2 * least:
            return [(0, self._frames)]
        middle = int(self._random.integers(least, self._frames - least + 1))
        throughout, two = [(0, self._frames)], [(0, middle), (middle, self._frames)]
        return self._pick((throughout, throughout, two, two[:1], two[1:]))

    def _in_corner(self, patch: Patch, kind: Kind, text: str, opacity: float) -> OverlayTruth:
        patch = narrowed(patch, round(0.28 * self._width))
        height, width = patch.cover.shape
        across, down = (max(2, round(self._uniform(0.02, 0.05) * self._height)) for _ in range(2))
        corners = [(x, y) for y in (down, self._height - down - height) for x in (across, self._width - across - width)]
        places = [corners[number] for number in self._random.permutation(4)]
        left, top = next((place for place in places if self._is_free(place, width, height)), places[0])
        return self._lay(visible(patch, self._clip, left, top, opacity), kind, left, top, 0, self._frames, text, opacity)

    def _is_free(self, place: tuple[int, int], width: int, height: int) -> bool:
        left, top = place
        return all(left >= x1 or left + width <= x0 or top >= y1 or top + height <= y0 for x0, y0, x1, y1 in self._taken)

    def _lay(
        self, patch: Patch, kind: Kind, left: int, top: int, start: int, end: int, text: str, opacity: float
    ) -> OverlayTruth:  # fmt: skip
        for frame in self._clip[start:end]:
            blend(frame, patch, left, top, opacity)
        height, width = patch.cover.shape
        self._taken.append((left, top, left + width, top + height))
        return self._truth(kind, (left, top, left + width, top + height), start, end, text, opacity)

    def _truth(
        self, kind: Kind, box: tuple[float, float, float, float], start: int, end: int, text: str, opacity: float
    ) -> OverlayTruth:  # fmt: skip
        sides = self._width, self._height, self._width, self._height
        x0, y0, x1, y1 = (round(float(min(max(edge / side, 0.0), 1.0)), 5) for edge, side in zip(box, sides, strict=True))
        return OverlayTruth(kind=kind, box=(x0, y0, x1, y1), start=start, end=end, text=text, opacity=opacity)

    def _font(self, language: str) -> str:
        if language in _WESTERN:
            return self._pick(FONTS if language == "latin" else ("sans", "italic", "uni", "serif", "mono"))
        return "uni"

    def _pick(self, choices: tuple[_Choice, ...]) -> _Choice:
        return choices[int(self._random.integers(len(choices)))]

    def _uniform(self, low: float, high: float) -> float:
        return float(self._random.uniform(low, high))
