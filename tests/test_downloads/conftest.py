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
    from huggingface_hub import constants

    server = HubServer()
    for variable in ('NO_PROXY', 'no_proxy'):
        monkeypatch.setenv(variable, '127.0.0.1,localhost')
    template = server.url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'ENDPOINT', server.url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr('mmovsam.downloads.http._PAUSE', 0)
    yield server
    server.close()
