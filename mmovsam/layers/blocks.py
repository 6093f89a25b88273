"""Layer norm over channels and MLPs, with the parameter names of SAM."""

from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channel dimension of `(B, C, H, W)`, as SAM uses it.

    The output is channels-last in memory, for a convolution after it. The base class tells MMEngine
    that the weights are those of a norm and do not decay.

    Args:
        channels: C.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between, `(..., C)` to `(..., C)`.

    Args:
        channels: C.
        hidden: Width between the two layers.
        act: Class of the activation.
    """

    def __init__(self, channels: int, hidden: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class MLP(nn.Module):
    """`num_layers` linear layers with ReLU between them.

    Args:
        in_channels: Width of the input.
        hidden: Width of every inner layer.
        out_channels: Width of the output.
        num_layers: Number of linear layers, at least 1.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_channels, *[hidden] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)
