"""One world for all tests of the suite: artifacts are made once."""

import pytest

from tests.suites.merging.world import World


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Artifacts that are there are not made again."""
    return World(tmp_path_factory.mktemp("merging"))
