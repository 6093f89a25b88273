"""Small models and their pictures as fixtures."""

import pytest
import tiny
import torch

KEYS = ('bboxes', 'scores', 'labels', 'masks', 'topk_labels', 'topk_scores')


@pytest.fixture
def build():
    """`build('ovsam', head=dict(...))`: a small model, some of its settings replaced."""
    return tiny.build


@pytest.fixture
def make():
    """The functions of `tiny`."""
    return tiny


@pytest.fixture
def equal():
    """`equal(some, others, keys)`: instances have the same values, but for rounding."""

    def compare(some, others, keys=KEYS):
        for key in keys:
            a, b = some[key], others[key]
            assert a.shape == b.shape, key
            assert torch.allclose(a.float(), b.float(), atol=1e-5), key

    return compare


@pytest.fixture
def two():
    """A batch of two pictures of different size, whose original images are at hand."""
    batch = tiny.batch(tiny.sample(3), tiny.sample(2, (90, 50), 1.0, seed=1))
    for sample in batch['data_samples']:
        image = torch.randint(0, 256, (*sample.ori_shape, 3), dtype=torch.uint8)
        sample.set_metainfo(dict(ori_img=image.numpy()))
    return batch
