"""Blocks: layer norm over channels."""

import torch

from mmovsam.layers import LayerNorm2d


def test_it_equals_torchs_layer_norm_with_channels_last():
    torch.manual_seed(0)
    norm = LayerNorm2d(12)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 12, 5, 7) * 4 + 3
    plain = torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (12,), norm.weight, norm.bias, 1e-6
    )
    assert torch.allclose(norm(x), plain.permute(0, 3, 1, 2), atol=1e-5)
