"""What the page needs of the server, without a browser."""

import io

import numpy as np
import pytest
import tiny
from fastapi.testclient import TestClient
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from PIL import Image

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.name_encoder import NameEncoder
from mmovsam.server import Limits, Served, add_page, make_app

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def client():
    init_default_scope('mmdet')
    model = MODELS.build(tiny.OVSAM)
    model.set_vocabulary(tiny.vocabulary())
    encoder = NameEncoder(tiny.vocabulary(), dict(model=tiny.CLIP), built=dict(A=tiny.vocabulary()))
    served = Served(OVSAMPredictor(model), encoder, Limits(max_pixels=10_000, max_file_size=90_000))
    app = make_app(served)
    add_page(app, served, {'noise: nobody': PICTURE})
    return TestClient(app, raise_server_exceptions=False)


def test_files_and_settings(client):
    page = client.get('/')
    assert 'Open-Vocabulary SAM' in page.text and "script-src 'self'" in str(page.headers)
    for name in ('main.js', 'mask.js', 'api.js', 'store.js', 'stage.js', 'widgets.js', 'page.css'):
        assert client.get(f'/page/{name}').status_code == 200
    assert client.get('/page/../page.py').status_code == 404
    assert client.get('/page/settings').json() == dict(
        names=list(tiny.NAMES),
        num_names=len(tiny.NAMES),
        vocabularies=dict(A=list(tiny.NAMES)),
        examples=['noise: nobody'],
    )
    example = Image.open(io.BytesIO(client.get('/page/examples/0').content))
    np.testing.assert_array_equal(example, PICTURE)
    assert client.get('/page/examples/1').status_code == 404
    assert client.get('/page/examples/-1').status_code == 404
    assert not [path for path in client.get('/openapi.json').json()['paths'] if 'page' in path]


def test_pictures_that_browsers_do_not_show_are_decoded_in_a_session(client):
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, 'TIFF')
    assert client.post('/page/decode', content=stream.getvalue()).status_code == 401
    token = client.post('/sessions').json()['token']
    headers = dict(Authorization=f'Bearer {token}')
    decoded = client.post('/page/decode', content=stream.getvalue(), headers=headers)
    assert Image.open(io.BytesIO(decoded.content)).size == (80, 60)
    assert client.post('/page/decode', content=b'none', headers=headers).status_code == 400
    big = client.post('/page/decode', content=bytes(90_001), headers=headers)
    assert big.status_code == 413
