"""A server, and caches of its own for each test."""

import pytest
from hub_server import HubServer


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the package's cache."""
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def server(tmp_path, monkeypatch, cache):
    """A hub and file server that everything is fetched from."""
    server = HubServer()
    server.serve_as_hub(monkeypatch, tmp_path / 'hub')
    monkeypatch.setattr('mmovsam.downloads.http._PAUSE', 0)
    yield server
    server.close()
