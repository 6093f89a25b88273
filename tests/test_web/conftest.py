"""A session on a small random model."""

import numpy as np
import pytest
import tiny
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.apis import OVSAMPredictor
from mmovsam.web import NameEncoder, Session


@pytest.fixture(scope='session')
def predictor():
    """Of a model that knows `tiny.NAMES`."""
    init_default_scope('mmdet')
    model = MODELS.build(tiny.OVSAM)
    model.set_vocabulary(tiny.vocabulary())
    return OVSAMPredictor(model)


@pytest.fixture(scope='session')
def name_encoder():
    return NameEncoder(tiny.vocabulary(), dict(model=tiny.CLIP))


@pytest.fixture
def session(predictor, name_encoder):
    return Session(predictor.fork(), name_encoder)


@pytest.fixture
def picture():
    """`(60, 80, 3)` uint8, RGB."""
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
