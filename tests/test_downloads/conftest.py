"""A server, and a cache of its own for each test."""

import pytest
from hub_server import server  # noqa: F401  a fixture


@pytest.fixture
def cache(server, tmp_path):  # noqa: F811
    """The folder of the package's cache."""
    return tmp_path / 'cache'
