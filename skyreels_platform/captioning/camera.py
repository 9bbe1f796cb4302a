"""Camera motion of one shot, measured from its pixels: a weight-free stand-in for the paper's camera-motion captioner (3.2).

Six axes, each -, 0 or +, times three speeds are the paper's 2,187 classes; beside them the kinds static, handheld, tracking and abrupt,
and several motions one after another. Points are tracked (camera_tracks), two-view geometry says how the camera moved between two
frames (egomotion), and the path is cut where it changes (camera_legs).

Rates are displacements as shares of the frame per second, as the paper measures speed: slow < 5 %, medium 5-20 %, fast > 20 %. Truck
and pedestal count at the median depth of what is seen; dolly, zoom and roll at the frame's edge; pan and tilt at its centre.
Without parallax a dolly and a zoom look the same (both are axis z; the words say zoom), and so do a truck and a pan (called pan).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skyreels_platform.captioning.camera_legs import cut_path
from skyreels_platform.captioning.camera_tracks import follow, is_spread
from skyreels_platform.captioning.egomotion import EgoMotion, Tracks, explain, turning_motion
from skyreels_platform.captioning.experts import Said

VERSION = "camera-3"

AXES = ("x", "y", "z", "roll", "pitch", "yaw")
"""Right, up, ahead; clockwise, up, right: the positive senses."""
STILL_PER_S = 0.01     # our choice: slower than this is static; tracking noise is about 0.002
SLOW_PER_S, FAST_PER_S = 0.05, 0.20  # paper 3.2
JITTER_PER_S = 0.012   # our choice: irregular part of the velocity, over quarter seconds, that makes a shot handheld
_ABRUPT_PER_S = 0.6    # our choice: a whip pan crosses the frame in under two seconds
_ABRUPT_RATIO = 4.0    # and is that much faster than the shot's usual speed
_MIN_RATIO = 0.25      # of the strongest axis: weaker ones are mostly leakage of it
_MIN_SIGMAS = 3.0
_MOST_VERBS = 3
_NEAR, _SLACK = 3.0, 0.06  # noise floors, and part of its way, within which a point moves with the world
_FLOOR = 1e-3          # frame widths; on films of a camera at rest 70 % of the points stay within 3 of them, on drawn ones nearly all
_MIN_SHARE = 0.4       # of the points, that must move with the world
_MIN_CONFIDENCE = 0.4
_MIN_TRAVEL_CONFIDENCE = 0.8  # our choice: a crowd of actors is half explained by some travelling camera, a still world nearly whole
_HELD = 0.3            # a subject that the camera follows moves less than this part of what the world does
_MIN_HELD_POINTS = 6

_WORDS = {
    "x": ("trucks right", "trucks left"), "y": ("cranes up", "cranes down"), "z": ("dollies in", "dollies out"),
    "roll": ("rolls clockwise", "rolls anticlockwise"), "pitch": ("tilts up", "tilts down"), "yaw": ("pans right", "pans left"),
}
_ZOOM = ("zooms in", "zooms out")


@dataclass(frozen=True, kw_only=True)
class CameraLeg:
    """One steady motion within a shot."""

    start_s: float
    end_s: float
    rates: tuple[float, ...]
    """Per axis of AXES: signed share of the frame per second (of its height for y and pitch, of its width for the others)."""
    signs: tuple[int, ...]
    """Per axis: -1, 0 or 1."""
    moves: tuple[str, ...]
    """In words, strongest first; empty when static."""
    speed: str
    """still | slow | medium | fast, of the strongest axis."""

    @property
    def class_index(self) -> int:
        """0 to 2,186: six ternary digits, then the speed (paper 3.2: 3^6 x 3). A still camera counts as slow."""
        index = 0
        for sign in self.signs:
            index = 3 * index + sign + 1
        return 3 * index + {"medium": 1, "fast": 2}.get(self.speed, 0)


@dataclass(frozen=True, kw_only=True)
class CameraFinding:
    """What the camera does over one shot."""

    known: bool
    """False: the shot has no texture, or no common motion, that could tell; see `reason`."""
    sentence: str
    """SkyCaptioner's free text, e.g. `the camera pans left slowly`; '' when static or unknown."""
    legs: tuple[CameraLeg, ...]
    """In order of time; empty when unknown."""
    kind: str
    """static | steady | handheld | tracking | abrupt; '' when unknown."""
    moves: tuple[str, ...]
    """Of the longest moving leg; then `back and forth`, `handheld`; empty when static."""
    speed: str
    """still | slow | medium | fast, of the fastest leg, or of an abrupt move too short to be one."""
    pan: float
    """How the picture as a whole drifts, read as turning and zooming: camera turns right, shares of the width per second."""
    tilt: float
    """Camera turns up, shares of the height per second."""
    zoom: float
    """Picture grows: positive (displacement of the frame's edge)."""
    roll: float
    """Camera turns clockwise: positive (displacement of the frame's edge)."""
    jitter: float
    """Irregular part of pan and tilt."""
    confidence: float
    """0..1: share of pairs that could be measured times the mean share of points that move with the world."""
    reason: str
    """Why nothing is known; '' otherwise."""

    @property
    def remark(self) -> str:
        """Kind and the class of each leg, for a field's provenance: `steady; class 1093 from 0.0 to 2.1 s`."""
        return "; ".join((self.kind, *(f"class {leg.class_index} from {leg.start_s:.1f} to {leg.end_s:.1f} s" for leg in self.legs)))


@dataclass(frozen=True)
class CameraExpert:
    """An Expert for camera_motion (captioning.experts): what is measured, where that is known."""

    fps: float
    """Of the frames that it will see."""

    @property
    def version(self) -> str:
        """See Expert."""
        return VERSION

    def look(self, frames: np.ndarray) -> Mapping[str, Said]:
        """See Expert."""
        found = measure_camera(frames, self.fps)
        return {"camera_motion": Said(value=found.sentence, confidence=found.confidence, remark=found.remark)} if found.known else {}


def measure_camera(frames: np.ndarray, fps: float) -> CameraFinding:
    """Camera motion of `frames` (F, H, W, 3) uint8 RGB, which are `1 / fps` seconds apart."""
    if fps <= 0:
        raise ValueError(f"fps is {fps}: camera speeds need the rate of the frames given, above 0")
    if len(frames) < 2:
        return _unknown("a single picture shows no motion")
    shape = frames.shape[1] / frames.shape[2]
    followed, num_tried = follow(frames, fps)
    if len(followed) * 2 < num_tried:
        return _unknown(f"texture moves together in only {len(followed)} of {num_tried} pairs of frames")
    times = np.array([time for time, _ in followed])
    pairs = [tracks for _, tracks in followed]
    turns = [turning_motion(tracks) for tracks in pairs]
    drift = np.array([(turn.yaw, turn.pitch / shape, turn.z, turn.roll) for turn in turns])
    jitter = _jitter(times, drift[:, :2])
    is_shaken = jitter >= max(JITTER_PER_S, 0.5 * float(np.abs(drift.mean(0)).max()))
    spans = [slice(0, len(pairs))] if is_shaken else cut_path(times, drift, noise=max(jitter, STILL_PER_S / 2))
    motions = [explain(pairs[span], turns[span]) for span in spans]
    worlds = [world for span, found in zip(spans, motions, strict=True)
              for world in (_moves_with(tracks, motion) for tracks, motion in zip(pairs[span], found, strict=True))]  # fmt: skip
    sound = [world.mean() >= _MIN_SHARE and is_spread(tracks.before[world], shape)
             for tracks, world in zip(pairs, worlds, strict=True)]  # fmt: skip
    confidence = float(np.mean([world.mean() * good for world, good in zip(worlds, sound, strict=True)])) * len(pairs) / num_tried
    if 2 * sum(sound) < num_tried:
        return _unknown(f"texture moves together in only {sum(sound)} of {num_tried} pairs of frames")
    travels = any(found[0].has_parallax for found in motions)
    if confidence < (_MIN_TRAVEL_CONFIDENCE if travels else _MIN_CONFIDENCE):
        return _unknown(f"only {confidence:.0%} of the texture moves together")
    length = len(frames) / fps
    legs = tuple(_leg(times, span, found, shape, length) for span, found in zip(spans, motions, strict=True))
    is_tracking = _follows_subject(pairs, worlds, drift)
    return _describe(legs, drift, jitter, is_shaken, is_tracking, confidence)


def _unknown(reason: str) -> CameraFinding:
    return CameraFinding(
        known=False, sentence="", legs=(), kind="", moves=(), speed="still", pan=0.0, tilt=0.0, zoom=0.0, roll=0.0, jitter=0.0,
        confidence=0.0, reason=reason,
    )  # fmt: skip


def _leg(times: np.ndarray, span: slice, motions: list[EgoMotion], shape: float, length_s: float) -> CameraLeg:
    """What a steady stretch does: per axis the median over its pairs, kept where it is clear."""
    vectors = np.array([motion.vector() for motion in motions])
    vectors[:, [1, 4]] /= shape
    rates = np.median(vectors, axis=0)
    sigma = 1.4826 * np.median(np.abs(vectors - rates), axis=0) / np.sqrt(len(vectors))
    size = np.abs(rates)
    is_clear = (size >= STILL_PER_S) & (size >= _MIN_RATIO * size.max()) & (size >= _MIN_SIGMAS * sigma)
    signs = tuple(int(sign) for sign in np.where(is_clear, np.sign(rates), 0))
    words = {**_WORDS, "z": _WORDS["z"] if motions[0].has_parallax else _ZOOM}
    verbs = [words[AXES[axis]][0 if signs[axis] > 0 else 1] for axis in np.argsort(-size, kind="stable") if signs[axis]]
    start = 0.0 if span.start == 0 else float(times[span.start - 1] + times[span.start]) / 2
    end = length_s if span.stop >= len(times) else float(times[span.stop - 1] + times[span.stop]) / 2
    return CameraLeg(
        start_s=start, end_s=end, rates=tuple(float(rate) for rate in rates), signs=signs, moves=tuple(verbs[:_MOST_VERBS]),
        speed=_speed(float(size[is_clear].max(initial=0.0))),
    )  # fmt: skip


def _moves_with(tracks: Tracks, motion: EgoMotion) -> np.ndarray:
    """(N,) bool: points that the camera's motion explains."""
    way = np.linalg.norm(tracks.after - tracks.before, axis=1)
    return motion.distances(tracks) < _NEAR * _FLOOR + _SLACK * way


def _follows_subject(pairs: list[Tracks], worlds: list[np.ndarray], drift: np.ndarray) -> bool:
    """Whether some points stay where they are in the picture while the world passes behind them."""
    num_held = 0
    for tracks, world, rates in zip(pairs, worlds, drift, strict=True):
        passing = np.median(np.linalg.norm((tracks.after - tracks.before)[world], axis=1)) if world.any() else 0.0
        moved = np.linalg.norm(tracks.after - tracks.before, axis=1)
        held = ~world & (moved < _HELD * passing)
        num_held += bool(np.abs(rates[:2]).max() >= 2 * STILL_PER_S and held.sum() >= _MIN_HELD_POINTS)
    return num_held * 2 > len(pairs)


def _jitter(times: np.ndarray, rates: np.ndarray) -> float:
    """Irregular part of pan and tilt: median deviation from the smooth part, a cubic in time, or less with few samples.

    No more than what neighbours differ by, as deviations: one motion after another is no cubic, but no shaking either.
    """
    degree = min(3, len(times) - 1)
    elapsed = (times - times.mean()) / max(float(np.ptp(times)), 1e-9)
    smooth = np.stack([np.polyval(np.polyfit(elapsed, column, degree), elapsed) for column in rates.T], axis=1)
    around = 1.4826 * np.median(np.abs(rates - smooth), axis=0)
    between = 1.4826 * np.median(np.abs(np.diff(rates, axis=0)), axis=0) / np.sqrt(2) if len(times) > 2 else around
    return float(np.minimum(around, between).max())


def _describe(
    legs: tuple[CameraLeg, ...], drift: np.ndarray, jitter: float, is_shaken: bool, is_tracking: bool, confidence: float
) -> CameraFinding:
    net, path = drift.mean(0), np.abs(drift).mean(0)
    moving = [leg for leg in legs if leg.moves]
    is_wandering = not moving and not is_shaken and float(path.max()) >= 2 * STILL_PER_S
    peak = float(np.abs(drift).max())
    is_abrupt = peak >= _ABRUPT_PER_S and peak >= _ABRUPT_RATIO * float(np.median(np.abs(drift).max(axis=1)))
    kind = (
        "abrupt" if is_abrupt else "handheld" if is_shaken else "tracking" if is_tracking
        else "steady" if moving or is_wandering else "static"
    )  # fmt: skip
    longest = max(moving, key=lambda leg: leg.end_s - leg.start_s, default=None)
    size = peak if is_abrupt else float(path.max()) if not moving and (is_wandering or is_shaken) else 0.0
    speeds = ("still", "slow", "medium", "fast")
    speed = max((_speed(size), *(leg.speed for leg in moving)), key=speeds.index)
    extra = (("back and forth",) if is_wandering else ()) + (("handheld",) if is_shaken else ())
    return CameraFinding(
        known=True, sentence=_sentence(moving, is_shaken, is_wandering, is_tracking), legs=legs, kind=kind,
        moves=(longest.moves if longest else ()) + extra, speed=speed, pan=float(net[0]), tilt=float(net[1]), zoom=float(net[2]),
        roll=float(net[3]), jitter=jitter, confidence=round(confidence, 3), reason="",
    )  # fmt: skip


def _speed(size: float) -> str:
    return "still" if size == 0 else "slow" if size < SLOW_PER_S else "medium" if size <= FAST_PER_S else "fast"


def _sentence(moving: list[CameraLeg], is_shaken: bool, is_wandering: bool, is_tracking: bool) -> str:
    """Medium is the unmarked speed, so that the plain sentence is the commonest one."""
    if is_wandering:
        return "the camera moves back and forth"
    if not moving:
        return "the camera is handheld" if is_shaken else ""
    parts = []
    for leg in moving:
        adverb = {"slow": " slowly", "fast": " quickly"}.get(leg.speed, "")
        parts.append(" and ".join(filter(None, (", ".join(leg.moves[:-1]), leg.moves[-1]))) + adverb)
    said = ", then ".join(part for index, part in enumerate(parts) if index == 0 or part != parts[index - 1])
    return f"the camera {said}" + (" following the subject" if is_tracking else "") + (", handheld" if is_shaken else "")
