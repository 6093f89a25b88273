"""SAM's two-way transformer."""

import pytest
import torch

from mmovsam.layers import TwoWayTransformer


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    return TwoWayTransformer(depth=2, channels=16, num_heads=4, mlp_channels=32).eval()


@torch.no_grad()
def test_shared_image_equals_an_image_repeated_for_each_prompt(transformer):
    image, image_pe = torch.randn(1, 20, 16), torch.randn(1, 20, 16)
    tokens = torch.randn(5, 7, 16)
    shared = transformer(image, image_pe, tokens)
    repeated = transformer(image.repeat(5, 1, 1), image_pe, tokens)
    assert shared[0].shape == (5, 7, 16) and shared[1].shape == (5, 20, 16)
    for a, b in zip(shared, repeated):
        assert torch.allclose(a, b, atol=1e-5)
