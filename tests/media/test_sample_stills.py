"""The demo's stills show what their names say."""

from pathlib import Path

import numpy as np
from PIL import Image

from skyreels_platform.captioning.subjects import describe_subject
from skyreels_platform.media.sample_scene import COLOURS
from skyreels_platform.media.sample_stills import SIDE, sample_stills


def test_every_still_shows_the_subject_of_its_name(tmp_path: Path):
    paths = sample_stills(tmp_path)
    assert len(set(paths)) == len(COLOURS) * 2
    for path in paths:
        picture = np.asarray(Image.open(path))
        assert picture.shape == (SIDE, SIDE, 3)
        found = describe_subject(picture[None])
        assert found is not None
        assert f"{found.colour}_{found.shape}" == path.stem


def test_the_same_seed_draws_the_same_stills_and_another_one_does_not(tmp_path: Path):
    one, same, other = (sample_stills(tmp_path / name, seed=seed) for name, seed in (("one", 0), ("same", 0), ("other", 1)))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in same]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(one, other, strict=True))
