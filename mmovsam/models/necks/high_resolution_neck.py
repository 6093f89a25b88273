"""Fine maps for the last steps of the mask decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..freezable import Freezable


@MODELS.register_module()
class HighResolutionNeck(Freezable):
    """A top-down pyramid whose maps the decoder adds while it upscales the embedding, as in SAM 2.

    Args:
        in_channels: Channels of the tower's maps, from fine to coarse, each half as large as the
            one before.
        channels: Inner width of each.
        out_channels: Channels of the outputs, for as many of the finest maps.
        frozen: Keep the neck without gradients.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (16, 24, 48, 120, 352),
        channels: Sequence[int] = (16, 32, 64, 64, 64),
        out_channels: Sequence[int] = (16, 32, 64),
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        self.laterals = nn.ModuleList(nn.Conv2d(i, c, 1) for i, c in zip(in_channels, channels))
        self.reductions = nn.ModuleList(
            nn.Identity() if coarse == fine else nn.Conv2d(coarse, fine, 1)
            for fine, coarse in zip(channels[:-1], channels[1:])
        )
        self.smoothing = nn.ModuleList(
            nn.Conv2d(c, c, 3, padding=1) for c in channels[: len(out_channels)]
        )
        self.outputs = nn.ModuleList(nn.Conv2d(c, o, 1) for c, o in zip(channels, out_channels))
        self.freeze(frozen)

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of the finest stages, one for each of `out_channels`, from fine to coarse as all."""
        x, outputs = None, []
        for level in reversed(range(len(stages))):
            lateral = self.laterals[level](stages[level])
            if x is not None:
                x = self.reductions[level](x)
                lateral = lateral + F.interpolate(x, scale_factor=2, mode='nearest')
            x = lateral
            if level < len(self.outputs):
                x = x + self.smoothing[level](F.gelu(x))
                outputs.append(self.outputs[level](F.gelu(x)))
        return tuple(reversed(outputs))
