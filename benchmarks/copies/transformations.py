"""What is done to a shot to make a copy of it: one change each, with parameters from a generator, and five at once."""

from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.copies.clips import Clip, Film

Change = Callable[[Clip, np.random.Generator], tuple[Film, float, int]]
FURTHER = ("logo", "brighter", "darker", "five at once")
"""Beyond what a copy must survive by our aims; the last of them cannot be told from another take where there is little to see."""
_LINES = ("I did not expect you here.", "We leave at dawn.", "No.", "It was never about the money, was it?")


def _scaled(film: Film, factor: float) -> Film:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return [cv2.resize(image, None, fx=factor, fy=factor, interpolation=how) for image in film]


def _cropped(film: Film, area: float, generator: np.random.Generator) -> Film:
    height, width = film[0].shape[:2]
    rows, columns = (round(side * area**0.5) for side in (height, width))
    top, left = int(generator.integers(height - rows + 1)), int(generator.integers(width - columns + 1))
    return [cv2.resize(image[top : top + rows, left : left + columns], (width, height)) for image in film]


def _barred(film: Film, share: float, axis: int) -> Film:
    bar = round(share * film[0].shape[axis])
    widths = [(0, 0), (0, 0), (0, 0)]
    widths[axis] = (bar, bar)
    return [np.pad(image, widths) for image in film]


def _subtitled(film: Film, text: str, height_share: float) -> Film:
    height, width = film[0].shape[:2]
    size, thick = height / 320, max(1, height // 150)
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    place = ((width - length) // 2, round(height_share * height))
    shown = []
    for image in film:
        image = image.copy()
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thick + 2, cv2.LINE_AA)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thick, cv2.LINE_AA)
        shown.append(image)
    return shown


def _marked(film: Film) -> Film:
    """A half-transparent badge in the upper right corner."""
    height, width = film[0].shape[:2]
    top, left, side = round(0.06 * height), width - round(0.26 * height), round(0.2 * height)
    shown = []
    for image in film:
        image = image.copy()
        corner = image[top : top + side // 2, left : left + side]
        corner[:] = cv2.addWeighted(corner, 0.3, np.full_like(corner, 245), 0.7, 0)
        shown.append(image)
    return shown


def _graded(film: Film, gain: float, lift: float) -> Film:
    return [cv2.convertScaleAbs(image, alpha=gain, beta=lift) for image in film]


def _played(film: Film, speed: float) -> Film:
    return [film[min(len(film) - 1, int(index * speed))] for index in range(int(len(film) / speed))]


def _trimmed(film: Film, start: float, stop: float) -> Film:
    return film[int(start * len(film)) : round(stop * len(film))]


TRANSFORMATIONS: dict[str, Change] = {
    "re-encode": lambda clip, random: (clip.film, clip.fps, int(random.integers(20, 39))),
    "smaller": lambda clip, random: (_scaled(clip.film, random.uniform(0.4, 0.8)), clip.fps, 26),
    "larger": lambda clip, random: (_scaled(clip.film, random.uniform(1.3, 2)), clip.fps, 26),
    "crop 80 to 88 %": lambda clip, random: (_cropped(clip.film, random.uniform(0.8, 0.88), random), clip.fps, 26),
    "crop 88 to 96 %": lambda clip, random: (_cropped(clip.film, random.uniform(0.88, 0.96), random), clip.fps, 26),
    "letterbox": lambda clip, random: (_barred(clip.film, random.uniform(0.08, 0.17), 0), clip.fps, 26),
    "pillarbox": lambda clip, random: (_barred(clip.film, random.uniform(0.08, 0.17), 1), clip.fps, 26),
    "subtitle": lambda clip, random: (_subtitled(clip.film, str(random.choice(_LINES)), random.uniform(0.8, 0.94)), clip.fps, 26),
    "trim end": lambda clip, random: (_trimmed(clip.film, 0, random.uniform(0.5, 0.8)), clip.fps, 26),
    "trim start": lambda clip, random: (_trimmed(clip.film, random.uniform(0.2, 0.5), 1), clip.fps, 26),
    "faster": lambda clip, random: (_played(clip.film, random.uniform(1.1, 1.25)), clip.fps, 26),
    "slower": lambda clip, random: (_played(clip.film, random.uniform(0.8, 0.9)), clip.fps, 26),
    "logo": lambda clip, _: (_marked(clip.film), clip.fps, 26),
    "brighter": lambda clip, random: (_graded(clip.film, random.uniform(1.1, 1.25), random.uniform(5, 15)), clip.fps, 26),
    "darker": lambda clip, random: (_graded(clip.film, random.uniform(0.7, 0.85), 0), clip.fps, 26),
    "five at once": lambda clip, random: (
        _subtitled(_graded(_cropped(_trimmed(_played(clip.film, random.uniform(0.9, 1.1)), random.uniform(0, 0.25), 1), 0.9, random),
                           random.uniform(0.85, 1.15), 0), "We leave at dawn.", 0.92), clip.fps, 30),
}  # fmt: skip
