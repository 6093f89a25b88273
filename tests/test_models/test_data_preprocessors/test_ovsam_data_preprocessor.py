"""Normalizing and padding to the network's square."""

import pytest
import torch
from mmdet.registry import MODELS


@pytest.fixture
def preprocessor():
    return MODELS.build(dict(type='OVSAMDataPreprocessor', image_size=64))


def test_pictures_are_normalized_rgb_padded_with_zeros_at_the_bottom_and_right(preprocessor):
    picture = torch.randint(0, 256, (3, 40, 64), dtype=torch.uint8)  # blue, green, red
    inputs = preprocessor(dict(inputs=[picture, picture[:, :, :1]]))['inputs']
    assert inputs.shape == (2, 3, 64, 64)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    assert torch.allclose(inputs[0, :, :40], (picture.flip(0) - mean) / std, atol=1e-5)
    assert (inputs[0, :, 40:] == 0).all() and (inputs[1, :, :, 1:] == 0).all()


def test_a_picture_that_does_not_fit_is_refused_with_the_remedy(preprocessor):
    with pytest.raises(
        ValueError, match=r"65x40 pixels does not fit.*type='Resize', scale=\(64, 64\)"
    ):
        preprocessor(dict(inputs=[torch.zeros(3, 40, 65)]))
