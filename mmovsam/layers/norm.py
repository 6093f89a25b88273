"""Normalization over the channels of a feature map."""

from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channel dimension of `(B, C, H, W)`, as SAM uses it.

    The result has its channels last in memory, which suits a convolution after it. MMEngine knows
    by the base class that its weights are a norm's and do not decay.

    Args:
        channels: C.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
