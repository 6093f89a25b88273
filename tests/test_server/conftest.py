"""A small random model that is served, and a client in this process."""

import hashlib

import pytest
import tiny
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from rest_client import HEIGHT, MAX_FILE_SIZE, WIDTH, User, png

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.name_encoder import NameEncoder

server = pytest.importorskip('mmovsam.server', reason="no FastAPI: pip install 'mmovsam[test]'")

from fastapi.testclient import TestClient  # noqa: E402


@pytest.fixture(scope='session')
def predictor():
    """Of a model that knows `tiny.NAMES`, and remembers no image for others."""
    init_default_scope('mmdet')
    model = MODELS.build(tiny.merged(tiny.OVSAM, dict(head=dict(mask_decoder=dict(num_masks=4)))))
    model.set_vocabulary(tiny.vocabulary())
    return OVSAMPredictor(model, cache_size=0)


@pytest.fixture(scope='session')
def serve(predictor):
    """`serve(password='plum')`: what is served, and a client of it."""
    name_encoder = NameEncoder(tiny.vocabulary(), dict(model=tiny.CLIP))

    def make(limits=None, **settings):
        limits = limits or server.Limits(max_file_size=MAX_FILE_SIZE, max_pixels=10_000)
        served = server.Served(predictor, name_encoder, limits, **settings)
        return served, TestClient(server.make_app(served), raise_server_exceptions=False)

    return make


@pytest.fixture(scope='session')
def client(serve):
    return serve()[1]


@pytest.fixture
def user(client):
    """One with a picture."""
    user = User(client)
    digest = hashlib.sha256(png()).hexdigest()
    assert user.image(png()) == (200, dict(width=WIDTH, height=HEIGHT, sha256=digest))
    return user
