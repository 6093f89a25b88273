"""Normalization over the channels of a feature map."""

import torch
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channel dimension of `(B, C, H, W)`, as SAM uses it.

    MMEngine knows by the base class that its weights are a norm's and do not decay.

    Args:
        channels: C.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centered = x - mean
        variance = centered.square().mean(1, keepdim=True)
        x = centered * torch.rsqrt(variance + self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]
