"""Everything that a cut, a dissolve or a fade leaves in the pictures of a film, measured in one pass over its frames.

Voters, one per file: `transnet` (the TransNetV2 network), `pyscenedetect` (PySceneDetect's content and adaptive detectors), and cheap
ones of our own for what those are blind to: `light` (black, and light that is replaced), `jump` (a step in the palette that no motion
explains), `blend` and `wipe` (frames between two pictures). Each takes one small picture at a time and keeps a few numbers per frame,
so memory grows by about 700 bytes per frame (two hours at 24 fps: 120 MB) whatever the size of the picture. What the votes amount to
is decided in `cuts`, `fades` and `mixes` and put in order by `fusion`; `curation.segments` asks for it while the film is still being read.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from skyreels_platform.curation.voters.blend import Thumbs
from skyreels_platform.curation.voters.jump import Jump
from skyreels_platform.curation.voters.light import Light
from skyreels_platform.curation.voters.pyscenedetect import PySceneDetect
from skyreels_platform.media.pyramid import BATCH, SMALL, Levels


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What each voter saw. Entry t of an array of changes speaks of the step from frame t - 1 to t (entry 0 is neutral)."""

    times_s: np.ndarray
    """(N,) float64: presentation time of each frame."""
    sharp: np.ndarray | None
    """(N,) TransNetV2: probability 0..1 that a new shot starts here; None when the network did not vote."""
    spread: np.ndarray | None
    """(N,) TransNetV2: probability 0..1 that the step into frame t belongs to a transition."""
    content: np.ndarray
    """(N,) PySceneDetect: mean change of hue, saturation and value, 0..255."""
    adaptive: np.ndarray
    """(N,) PySceneDetect: `content` over its mean in the four frames around, 0..255."""
    content_cuts: np.ndarray
    """Frames at which PySceneDetect's content detector cuts."""
    adaptive_cuts: np.ndarray
    """Frames at which PySceneDetect's adaptive detector cuts."""
    palette: np.ndarray
    """(N,) change of the sorted colour values, 0..255: what changes when nothing only moves."""
    unmatched: np.ndarray
    """(N,) mean change of luma left after motion compensation, 0..255."""
    alike: np.ndarray
    """(N,) correlation -1..1 of the motion-compensated picture before with the picture here."""
    luma: np.ndarray
    """(N,) mean luma of the frame, 0..255."""
    dark: np.ndarray
    """(N,) 95th percentile of the frame's luma, 0..255: small for black, also with a few burnt-in words on it."""
    light: np.ndarray
    """(N,) mean luma above the black level, 0..255."""
    turnover: np.ndarray
    """(N,) share 0..1 of the light that the step replaced."""
    thumbs: np.ndarray
    """(N, 9, 16, 3) uint8 RGB thumbnails."""

    def __len__(self) -> int:
        return len(self.times_s)


class Voter(Protocol):
    """One pass over the frames."""

    @property
    def num_known(self) -> int:
        """Frames, from the first on, whose numbers no later frame can change."""
        ...

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        """See the next frame: (81, 144, 3) RGB and (81, 144) luma, uint8."""
        ...

    def finish(self) -> None:
        """The film has ended: all its frames become known."""
        ...

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The voter's arrays of known frames start <= t < stop, by field of `Votes`; cuts count from `start`."""
        ...


class Ballot:
    """All voters over one film, frame by frame."""

    def __init__(self, *, transnet: bool = True) -> None:
        """Without `transnet`, torch is never imported. MissingExtraError where it is wanted and not installed."""
        self._voters: list[Voter] = [PySceneDetect(), Light(), Jump(), Thumbs()]
        if transnet:
            from skyreels_platform.curation.voters.transnet import TransNet

            self._voters.append(TransNet())
        self._times = array("d")
        self._waiting: list[np.ndarray] = []  # small frames

    @property
    def num_known(self) -> int:
        """Frames, from the first on, on which all votes are in."""
        return min(voter.num_known for voter in self._voters)

    def push(self, small: np.ndarray, time_s: float) -> None:
        """Let all voters see the next frame: (81, 144, 3) uint8 RGB."""
        assert small.shape == (SMALL[1], SMALL[0], 3), f"voters see frames of {SMALL}, not {small.shape}"
        self._times.append(time_s)
        self._waiting.append(small)
        if len(self._waiting) == BATCH:
            self._show()

    def _show(self) -> None:
        """Let one voter after another see all frames that wait."""
        grays = [cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) for small in self._waiting]
        for voter in self._voters:
            for small, gray in zip(self._waiting, grays, strict=True):
                voter.push(small, gray)
        self._waiting.clear()

    def finish(self) -> None:
        """The film has ended."""
        self._show()
        for voter in self._voters:
            voter.finish()

    def votes(self, start: int, stop: int) -> Votes:
        """What was said of known frames start <= t < stop, as if the film were these frames."""
        fields: dict[str, Any] = {"sharp": None, "spread": None}
        for voter in self._voters:
            fields |= voter.part(start, stop)
        return Votes(times_s=np.array(self._times[start:stop]), **fields)


def vote(frames: Iterable[Levels], *, transnet: bool = True) -> Votes:
    """The votes on a whole film of at least one frame."""
    ballot = Ballot(transnet=transnet)
    num_frames = 0
    for frame in frames:
        ballot.push(frame.small, frame.time_s)
        num_frames += 1
    assert num_frames, "a film has at least one frame"
    ballot.finish()
    return ballot.votes(0, num_frames)
