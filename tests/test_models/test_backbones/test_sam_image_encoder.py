"""SAM's image encoder; its values are compared with the original in test_sam_values.py."""

import pytest
import torch
from mmdet.registry import MODELS


def build(**settings):
    small = dict(image_size=64, embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,))
    return MODELS.build(dict(type='SAMImageEncoder', out_channels=12, **{**small, **settings}))


def test_another_size_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r'built for 64x64 pixels and got \(64, 48\)'):
        build()(torch.randn(1, 3, 64, 48))
    with pytest.raises(ValueError, match='image_size 70 is not a multiple of patch_size 16'):
        build(image_size=70)
