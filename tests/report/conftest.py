from pathlib import Path

import pytest

from tests.report.small_home import SmallHome


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SmallHome:
    """A home that no test may spoil."""
    return SmallHome(tmp_path_factory.mktemp("home"))


@pytest.fixture
def small(tmp_path: Path) -> SmallHome:
    """A fresh home that a test may spoil."""
    return SmallHome(tmp_path / "home")
