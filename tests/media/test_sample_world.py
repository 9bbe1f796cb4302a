import cv2
import numpy as np
import pytest

from skyreels_platform.media.sample_world import Leg, SampleWorld


def _shift(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Pixels that the picture moved right and down."""
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (first, second))
    window = cv2.createHanningWindow((before.shape[1], before.shape[0]), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(before, after, window)
    return right, down


@pytest.mark.parametrize(("axis", "expected"), [("yaw", (-16, 0)), ("x", (-16, 0)), ("pitch", (0, 16)), ("y", (0, 16))])
def test_a_rate_is_a_share_of_the_width_per_second(axis: str, expected: tuple[int, int]) -> None:
    frames = SampleWorld([Leg(duration_s=1, rates={axis: 0.1})], seed=2, has_depth=False, view_deg=30).frames()
    assert len(frames) == 16
    assert _shift(frames[0], frames[8]) == pytest.approx(expected, abs=0.6)  # half a second, 320 pixels wide


def test_near_cards_move_more_than_the_wall_under_a_truck_and_alike_under_a_pan() -> None:
    def spread(axis: str) -> float:
        frames = SampleWorld([Leg(duration_s=1, rates={axis: 0.1})], seed=3).frames()
        gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:5:4]]
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(gray[0], gray[1], None)  # type: ignore[call-overload]
        low, high = np.percentile(flow[..., 0], (10, 90))
        return float(high - low)

    assert spread("x") > 4 * spread("yaw")


def test_the_same_seed_draws_the_same_film() -> None:
    first, again, other = (SampleWorld([Leg(duration_s=0.5, rates={"z": 0.1})], seed=seed, shake=0.01).frames() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_refuses_an_unknown_axis() -> None:
    with pytest.raises(ValueError, match="axes of"):
        SampleWorld([Leg(duration_s=1, rates={"pan": 0.1})], seed=1)
