"""Multi-layer perceptrons with the parameter names of SAM's files."""

from torch import Tensor, nn


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
