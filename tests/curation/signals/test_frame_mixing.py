"""Footage slowed by mixing frames."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyreels_platform.curation.observe import measure
from skyreels_platform.curation.signals.frame_mixing import FrameMixing
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe


def _moving(bench, count: int, step: float) -> list[np.ndarray]:
    """A disc that crosses a textured ground by `step` shares of the width per frame."""
    ground = bench.rgb(bench.noise(180, 320, 4.0))
    frames = []
    for index in range(count):
        frame = ground.copy()
        place = round((0.1 + step * index) % 0.9 * 320), 90
        cv2.circle(frame, place, 30, (230, 60, 60), -1, cv2.LINE_AA)
        frames.append(frame)
    return frames


def _slowed(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Half the speed: between any two frames stands their mean."""
    slowed = []
    for frame, after in pairwise(frames):
        slowed += [frame, cv2.addWeighted(frame, 0.5, after, 0.5, 0)]
    return slowed


def _score(bench, frames: list[np.ndarray]):
    return bench.measured(frames, kinds=[FrameMixing])[0]["frame_mixing"]


def test_half_of_the_frames_are_mixed_when_speed_is_halved(bench):
    assert _score(bench, _slowed(_moving(bench, 24, 0.05))).value == pytest.approx(0.5, abs=0.1)


def test_it_survives_a_codec(bench, tmp_path: Path):
    frames = _slowed(_moving(bench, 24, 0.05))
    write_video(tmp_path / "slow.mp4", frames, 24, crf=26, preset="veryfast")
    spans = [bench.span(0, len(frames))]
    ((scores, _),) = measure(tmp_path / "slow.mp4", probe(tmp_path / "slow.mp4"), spans, kinds=[FrameMixing])
    assert scores[0].value is not None
    assert scores[0].value > 0.35


def test_fast_motion_as_it_was_filmed_is_not_mixed(bench):
    assert _score(bench, _moving(bench, 48, 0.05)).value == 0


def test_slow_motion_cannot_say(bench):
    score = _score(bench, _moving(bench, 48, 0.0008))
    assert score.outcome == "unknown"
    assert "fast motion" in score.reason


def test_a_picture_at_rest_cannot_say(bench):
    assert _score(bench, [bench.rgb(bench.noise(180, 320, 4.0))] * 30).outcome == "unknown"


@pytest.mark.parametrize("name", ["mdn_crystal.mp4", "jet_sintel.mp4", "vdf_cat.3.webm"])
def test_no_real_footage_is_called_mixed(bench, footage: Path, name: str):
    path = footage / "videos" / name
    ((scores, _),) = measure(path, probe(path), [bench.span(0, 120)], kinds=[FrameMixing])
    assert scores[0].value is None or scores[0].value < 0.1
