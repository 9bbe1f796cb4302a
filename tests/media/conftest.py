"""A sample film with every kind of edit, written and decoded once."""

import numpy as np
import pytest

from skyreels_platform.media.sample_film import render_film
from skyreels_platform.media.sample_truth import FilmTruth
from tests.media.sample_specs import EDITED, decoded


@pytest.fixture(scope="session")
def edited(tmp_path_factory) -> tuple[np.ndarray, FilmTruth]:
    path = tmp_path_factory.mktemp("edited") / "edited.mp4"
    truth = render_film(path, EDITED, seed=3)
    return decoded(path), truth
