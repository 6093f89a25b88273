"""What tests of predictors share."""

import numpy as np
import tiny
import torch
from mmdet.registry import MODELS

HEIGHT, WIDTH = 60, 80
"""Of `picture`."""
BOX = [10, 12, 50, 40]


def build(**changes):
    """A small random OVSAM with a vocabulary."""
    torch.manual_seed(0)
    model = MODELS.build(tiny.merged(tiny.OVSAM, changes))
    model.set_vocabulary(tiny.vocabulary())
    return model.eval()


def same(one, other):
    """Whether two predictions are equal."""
    arrays = ('masks', 'scores', 'low_res_logits', 'bboxes', 'name_scores')
    return one.names == other.names and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def close(one, other):
    """Whether two predictions are equal but for the order of floating point sums."""
    np.testing.assert_allclose(one.low_res_logits, other.low_res_logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one.name_scores, other.name_scores, rtol=1e-3, atol=1e-4)
    assert one.names == other.names and one.masks.shape == other.masks.shape
    assert (one.masks != other.masks).mean() < 1e-3
