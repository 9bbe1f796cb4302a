"""How often the camera expert names axis and sign, over drawn shots of every motion."""

from collections import Counter

import numpy as np
import pytest

from skyreels_platform.captioning.camera import CameraFinding, measure_camera
from skyreels_platform.media.sample_scene import Background, Camera, ScenePainter, SceneSpec, Subject

SHOTS_PER_MOTION = 36
MOTIONS = {
    "static": "", "pan_left": "pans left", "pan_right": "pans right", "tilt_up": "tilts up", "tilt_down": "tilts down",
    "zoom_in": "zooms in", "zoom_out": "zooms out", "roll_clockwise": "rolls clockwise", "roll_anticlockwise": "rolls anticlockwise",
}
FORMATS = ((192, 108), (128, 128), (320, 180), (108, 192))


def _shot(motion: str, number: int) -> tuple[np.ndarray, int]:
    """Frames and rate of one shot with everything but the motion drawn from the number."""
    generator = np.random.default_rng([len(motion), sum(map(ord, motion)), number])
    fps, (width, height) = int(generator.choice([16, 24, 25, 30])), FORMATS[number % len(FORMATS)]
    if motion == "static":
        speed = 0.0
    elif motion.startswith("roll"):
        speed = float(np.exp(generator.uniform(np.log(4), np.log(40))))
    else:
        speed = float(np.exp(generator.uniform(np.log(0.03), np.log(0.5))))
    heading = generator.uniform(0, 2 * np.pi)
    rate = generator.uniform(0.1, 0.4)
    scene = SceneSpec(
        num_frames=int(fps * generator.uniform(0.8, 2.5)), look=number,
        background=Background(kind="texture", level=float(generator.uniform(0.35, 0.65))),
        subject=Subject(
            colour=str(generator.choice(["red", "green", "blue", "yellow"])),
            shape=str(generator.choice(["circle", "square", "triangle"])), size=float(generator.uniform(0.15, 0.5)),
            position=(float(generator.uniform(0.3, 0.7)), float(generator.uniform(0.3, 0.7))),
            velocity=(float(rate * np.cos(heading)), float(rate * np.sin(heading))),
        ),
        camera=Camera(motion=motion, speed=speed),
    )
    painter = ScenePainter(scene, width=width, height=height, fps=fps, seed=number)
    return np.stack([painter.frame(index) for index in range(scene.num_frames)]), fps


def _answer(finding: CameraFinding) -> str:
    return "unknown" if not finding.known else finding.moves[0] if finding.moves else "static"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_names_axis_and_sign_of_nine_tenths_of_all_motions() -> None:
    table = {}
    for motion, words in MOTIONS.items():
        answers = Counter(_answer(measure_camera(*_shot(motion, number))) for number in range(SHOTS_PER_MOTION))
        table[motion] = answers[words or "static"], answers
    for motion, (right, answers) in table.items():
        print(f"{motion:20s} {right:3d} of {SHOTS_PER_MOTION}   {dict(answers.most_common())}")
    total = sum(right for right, _ in table.values())
    print(f"{'all':20s} {total:3d} of {SHOTS_PER_MOTION * len(MOTIONS)}")
    assert total >= 0.9 * SHOTS_PER_MOTION * len(MOTIONS)
    assert all(right >= 0.8 * SHOTS_PER_MOTION for right, _ in table.values())
