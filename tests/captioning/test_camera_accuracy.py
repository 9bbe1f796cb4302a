"""How often the camera expert is right, over shots of a world with depth under cameras of known motion."""

import pytest

from skyreels_platform.captioning.camera import AXES
from tests.captioning.camera_shots import CameraScore, score


def _show(found: CameraScore) -> str:
    axes = ", ".join(f"{axis} {share:.3f} ({moving:.3f} where it moves)"
                     for axis, share, moving in zip(AXES, found.axes, found.moving_axes, strict=True))  # fmt: skip
    return (f"{found.num_shots} shots, {found.num_unknown} unknown: {axes}; speed {found.speed:.3f}; "
            f"static against moving {found.is_moving:.3f}")  # fmt: skip


def test_most_axes_of_a_few_shots() -> None:
    found = score(range(10_000, 10_032))
    assert min(found.axes) >= 0.9, _show(found)
    assert found.speed >= 0.8, _show(found)
    assert found.is_moving >= 0.9, _show(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_axes_speed_and_rest_of_320_shots(capsys: pytest.CaptureFixture[str]) -> None:
    found = score(range(320))
    with capsys.disabled():
        print("\n" + _show(found))
    assert min(found.axes) >= 0.9
    assert min(found.moving_axes) >= 0.9
    assert found.speed >= 0.85
    assert found.is_moving >= 0.97
