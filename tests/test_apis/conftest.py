"""A small random model and a picture for it."""

import numpy as np
import pytest
import tiny
from small_predictor import HEIGHT, WIDTH, build

from mmovsam.apis import OVSAMPredictor


@pytest.fixture(scope='module')
def model():
    return build()


@pytest.fixture(scope='module')
def four_masks():
    """As SAM's decoder has them, with their predicted IoU."""
    return build(head=dict(mask_decoder=dict(num_masks=4, with_iou=True)))


@pytest.fixture(scope='module')
def picture():
    """`(H, W, 3)` uint8, RGB."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def predictor(model, picture):
    model.set_vocabulary(tiny.vocabulary())
    predictor = OVSAMPredictor(model)
    predictor.set_image(picture)
    return predictor
