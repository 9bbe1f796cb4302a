"""Stickers and effects laid over the picture."""

import cv2
import numpy as np

from skyreels_platform.curation.signals.base import Region, Sample, Score, ShotInfo, Signal
from skyreels_platform.curation.signals.mosaic import Mosaic
from skyreels_platform.curation.signals.overlay_statistics import MOVED, TEXTURE, Edges, OverlayStatistics, is_corner_mark

HARD = 8.0
"""Levels per pixel: mean gradient of a graphic's edges."""
FIXED = 0.75
"""Share of their energy that a graphic's edges keep; an edge in the middle of a zoom keeps less."""
SMALLEST, LARGEST = 0.05, 0.5
"""Longer side of a graphic over the frame's short side; its share of the frame."""
_JOIN = 0.05  # gaps within a graphic, share of the short side
_OUTLINE = 0.5  # edge pixels over half of the box's outline
_BARE = 0.002  # share of the frame on hard edges below which no graphic can hide there
_PIXELATED = 0.5  # share of a box in a mosaic, from which its edges are those of blocks
_WRITTEN = 0.3  # share of a box under text from which it is the text's plate or shadow
_EITHER = 0.15  # share of a graphic's edges that are upright, and that are level, at least
_MOST = 32  # graphics looked at
_AROUND = 0.06  # width of the ring around a graphic, share of the short side
_FEW = 20  # textured pixels that show nothing
_MOST_MOVES = 0.6  # share of the textured pixels whose edges come and go


class Sticker(Signal):
    """Share of the frame that hard-edged graphics cover which stand still while the picture around them moves.

    Arrows, emojis, drawings and effects that stay for most of the shot. Logos (corners) and lines of text have signals of their
    own. Where the picture does not move, a graphic cannot be told from the scene: unknown, unless nothing there has a hard edge.
    Source: paper names stickers and effects and a trained expert for them; method our choice.
    """

    name, unit, version = "sticker", "share of frame", "4"
    video_only = True
    still = "one picture cannot tell a graphic from the scene"
    shared = OverlayStatistics
    of_sample = Mosaic.of_sample

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._mosaic = Mosaic(shot)
        self._found: tuple[list[tuple[float, Region]], int] | None = None

    def add(self, sample: Sample) -> None:
        self._mosaic.add(sample)  # whose lattices are found once for all signals

    def result(self) -> Score:
        found = self._measured()
        if found is None:
            return self.unknown("fewer than two pictures that are large enough: nothing to tell a graphic from the scene")
        graphics, undecided = found
        if not graphics and undecided:
            return self.unknown("the picture does not move: a graphic cannot be told from the scene")
        return self.measured(min(1.0, sum(share for share, _ in graphics)))

    def regions(self) -> list[Region]:
        found = self._measured()
        return [region for _, region in found[0]] if found else []

    def _measured(self) -> tuple[list[tuple[float, Region]], int] | None:
        state: OverlayStatistics = self.shared_state
        if self._found is None and (edges := state.edges()) is not None:
            self._found = _graphics(edges, state, self._mosaic.regions())
        return self._found


def _graphics(
    edges: Edges, state: OverlayStatistics, mosaics: list[Region]
) -> tuple[list[tuple[float, Region]], int]:
    """Share and place of each graphic, and how many things stay in a part of the picture that does not move."""
    height, width = edges.strength.shape
    short = min(height, width)
    share = edges.share
    camera_moves = any(state.travelled(x, y) for x in (0.0, 1.0) for y in (0.0, 1.0))
    lasting = edges.lasting(with_lines=True)
    hard = state.without_text(lasting & (edges.strength >= HARD) & (share >= FIXED))
    text = ~state.without_text(np.ones_like(hard))
    textured = edges.energy >= TEXTURE
    # People who walk through a picture at rest bare and hide its edges as well: what little moves there proves nothing.
    all_moves = camera_moves or np.count_nonzero(textured) <= _FEW or bool(np.mean(share[textured] < MOVED) >= _MOST_MOVES)
    side = max(3, round(_JOIN * short))
    joined = cv2.morphologyEx(np.pad(hard.view(np.uint8), side), cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    joined = np.ascontiguousarray(joined[side:-side, side:-side])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    graphics: list[tuple[float, Region]] = []
    undecided = int(not all_moves and bool(np.mean(hard) > _BARE))
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:_MOST]
    for label in order:
        x0, y0, w, h, _ = (int(value) for value in stats[label])
        x1, y1 = x0 + w, y0 + h
        box = x0 / width, y0 / height, x1 / width, y1 / height
        fits = max(w, h) >= SMALLEST * short and min(w, h) >= SMALLEST * short / 2 and w * h <= LARGEST * width * height
        if not fits or is_corner_mark(*box) or np.mean(text[y0:y1, x0:x1]) > _WRITTEN:
            continue
        if any(region.covers(*box) >= _PIXELATED for region in mosaics):
            continue
        mine = labels[y0:y1, x0:x1] == label
        own = hard[y0:y1, x0:x1] & mine
        upright = np.count_nonzero(own & edges.upright[y0:y1, x0:x1]) / max(1, np.count_nonzero(own))
        # A thing that moves leaves the edges that it slides along, all of one direction.
        if np.count_nonzero(own) < _OUTLINE * (w + h) or not _EITHER <= upright <= 1 - _EITHER:
            continue
        whole = np.zeros_like(hard)
        whole[y0:y1, x0:x1] = own
        if not edges.is_steady(whole):
            continue
        if not all_moves or not _moves_around((x0, y0, x1, y1), edges, share, state, camera_moves=camera_moves):
            undecided += 1
            continue
        contours, _ = cv2.findContours(np.ascontiguousarray(mine).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(np.zeros(mine.shape, np.uint8), contours, -1, (1,), cv2.FILLED)
        region = Region(kind=Sticker.name, x0=box[0], y0=box[1], x1=box[2], y1=box[3])
        graphics.append((np.count_nonzero(filled) / (width * height), region))
    return graphics, undecided


def _moves_around(
    box: tuple[int, int, int, int], edges: Edges, share: np.ndarray, state: OverlayStatistics, *, camera_moves: bool
) -> bool:  # fmt: skip
    """Whether the picture around a box of pixels moves; where a zoom or a roll has its middle, it does not."""
    x0, y0, x1, y1 = box
    height, width = share.shape
    margin = max(3, round(_AROUND * min(height, width)))
    around = np.zeros(share.shape, bool)
    around[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = True
    around[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = False
    textured = around & (edges.energy >= TEXTURE)
    travelled = state.travelled((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
    if np.count_nonzero(textured) <= _FEW:
        return travelled
    return (travelled or not camera_moves) and bool(np.mean(share[textured] < MOVED) >= _MOST_MOVES)
