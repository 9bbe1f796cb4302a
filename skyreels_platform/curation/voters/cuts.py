"""Hard cuts: one voter that is sure decides alone, two that are nearly sure decide together, and a flash is never a cut.

Every rule has its reason in what a camera or an editor does. The numbers are our choice, set where nothing lay near them on ten
annotated films.
"""

from collections.abc import Iterator

import numpy as np

from skyreels_platform.curation.voters import Votes
from skyreels_platform.curation.voters.jump import AROUND, NEARLY, PALETTE_RATIO, UNMATCHED_RATIO

MIN_SHOT = 3
"""Boundaries closer than this many frames are one boundary."""
MIN_MIX = 4
"""A transition of fewer frames is a cut that compression or interlacing smeared."""
SURE = 0.5
"""TransNetV2's own threshold: on the annotated films everything above it is a boundary."""
_ALIKE = 0.9
"""Above this correlation the picture is the same in another light: a lamp switched on is no cut (annotated cuts: 0.82 at most)."""
_MIN_CHANGED, _CHANGE = 0.4, 6
"""A cut changes this share of the picture by so much (annotated cuts of pictures 0.59 and more, bars above and below included); a
subtitle, a logo or a banner changes a third at most."""
_TURNOVER = 0.8
"""A step that replaces this share of the light shows another picture: no motion does that to a picture that is steady."""
_STEADY = 0.4
"""Light replaced per step in a picture that moves stays below this; beyond it the light flickers or fades."""
_LEVEL = 0.7
"""Light of a steady picture varies less than by this factor within AROUND frames; a title that fades in varies more."""
MIN_LIGHT = 0.2
"""Mean luma above black that a small title card still has: 0.1 % of the pixels white."""
_MAX_FLASH = 3
"""Longest flash in frames: a photographer's flash lights one to three."""
_RETURN = 0.3
"""The picture is back when it differs from the one before the flash by less than this share of the flash's own difference."""


def find_cuts(votes: Votes, opinions: dict[str, np.ndarray]) -> list[int]:
    """First frames of the shots that begin with a hard cut, ascending."""
    agreeing = sum(_near(opinion, NEARLY).astype(int) for opinion in opinions.values())
    loudest = np.max(list(opinions.values()), axis=0)
    strength = np.where((loudest >= NEARLY) & (agreeing >= 2), np.maximum(loudest, 1), loudest)
    strength[0] = 0
    cuts: list[int] = []
    for t in np.argsort(-strength, kind="stable").tolist():
        if strength[t] < 1:
            break
        if all(abs(t - cut) >= MIN_SHOT for cut in cuts) and not is_flash(votes.thumbs, t):
            cuts.append(t)
    return sorted(cuts)


def opinions_of(votes: Votes) -> dict[str, np.ndarray]:
    """Voter -> (N,) how sure it is that a hard cut lies at step t; 1 and more: sure alone."""
    return {"transnet": _network(votes), "pyscenedetect": _detectors(votes), "jump": _jump(votes), "light": _replaced(votes)}


def is_flash(thumbs: np.ndarray, t: int) -> bool:
    """Whether step t begins or ends a flash: a picture of at most _MAX_FLASH frames between two that are the same."""
    for length in range(1, _MAX_FLASH + 1):
        for first in (t, t - length):
            after = first + length
            if first < 1 or after >= len(thumbs):
                continue
            flash = min(difference(thumbs[first - 1], thumbs[first]), difference(thumbs[after - 1], thumbs[after]))
            if difference(thumbs[first - 1], thumbs[after]) < _RETURN * flash:
                return True
    return False


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two uint8 pictures, 0..255."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """Spans [first, last) in which `flags` (N,) hold."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _network(votes: Votes) -> np.ndarray:
    """Sharp peaks; a peak within a longer transition is not a hard cut."""
    if votes.sharp is None or votes.spread is None:
        return np.zeros(len(votes))
    strength = np.where(votes.sharp >= _surroundings(votes.sharp), votes.sharp / SURE, 0)
    for first, last in runs(votes.spread >= SURE):
        if last - first >= MIN_MIX:
            strength[first : last + 1] = 0
    return strength


def _detectors(votes: Votes) -> np.ndarray:
    """Both share one measure, so they count as one voter; covered lenses and whip pans fool them, so never as a sure one."""
    strength = np.zeros(len(votes))
    strength[votes.content_cuts] = strength[votes.adaptive_cuts] = NEARLY
    return strength


def _jump(votes: Votes) -> np.ndarray:
    """Palette and motion-compensated difference both stand out, all over the picture, and it is not the same in another light."""
    palette = votes.palette / (_surroundings(votes.palette) + 1)  # the 1 and 2 are compression noise
    unmatched = votes.unmatched / (_surroundings(votes.unmatched) + 2)
    strength = np.where(votes.alike < _ALIKE, np.minimum(palette / PALETTE_RATIO, unmatched / UNMATCHED_RATIO), 0)
    for t in np.flatnonzero(strength >= NEARLY):
        change = np.abs(votes.thumbs[t].astype(np.int16) - votes.thumbs[t - 1]).max(axis=-1)
        if (change >= _CHANGE).mean() < _MIN_CHANGED:
            strength[t] = 0
    return strength


def _replaced(votes: Votes) -> np.ndarray:
    """The light is replaced at once, and each side that has light is steady."""
    before, here = np.concatenate([[0], votes.light[:-1]]), votes.light
    turnover = np.where(np.maximum(before, here) >= MIN_LIGHT, votes.turnover, 0)
    steady = _steady(turnover, here) & _steady(turnover[::-1], before[::-1])[::-1]
    return np.where(steady, turnover / _TURNOVER, 0)


def _steady(turnover: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(N,) bool: the light of frame t stays what it is in the following frames, or there is none."""
    ahead = np.pad(turnover, (0, AROUND))
    later = np.pad(light, (0, AROUND), mode="edge")
    replaced = np.max([ahead[k : k + len(light)] for k in range(1, AROUND + 1)], axis=0)
    last = later[AROUND:]
    level = np.minimum(light, last) / np.maximum(np.maximum(light, last), 1e-6)
    return (light < MIN_LIGHT) | ((replaced <= _STEADY) & (level >= _LEVEL))


def _surroundings(values: np.ndarray) -> np.ndarray:
    """(N,) largest of the AROUND values before and after each, itself left out."""
    padded = np.pad(values, AROUND)
    shifts = [shift for shift in range(2 * AROUND + 1) if shift != AROUND]
    return np.max([padded[shift : shift + len(values)] for shift in shifts], axis=0)


def _near(values: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) bool: the value here or one frame beside reaches the threshold."""
    padded = np.pad(values >= threshold, 1)
    return padded[:-2] | padded[1:-1] | padded[2:]
