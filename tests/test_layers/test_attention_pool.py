"""CLIP's attention pooling of regions."""

import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d

from mmovsam.layers import attention_pool_regions


@torch.no_grad()
@pytest.mark.parametrize('num', [0, 1, 5])
def test_pooling_equals_open_clips_own(num):
    torch.manual_seed(0)
    pool = AttentionPool2d(4, 48, 6, 20).eval()
    for bias in (pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias, pool.c_proj.bias):
        torch.nn.init.normal_(bias)
    regions = torch.randn(num, 48, 4, 4) * 3
    pooled = attention_pool_regions(pool, regions)
    assert pooled.shape == (num, 20)
    if num:
        assert torch.allclose(pooled, pool(regions), atol=1e-5)
