"""Embeddings of regions from several features: the tower's, the region maps', and the box."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..freezable import Freezable

BOX_CHANNELS = 8


@MODELS.register_module()
class RegionNamer(Freezable):
    """A residual on the tower's embedding of a region, learned from labels; zero before training.

    Args:
        embed_dim: Width D of the space of names.
        region_channels: Width H of the head's pooled features.
        hidden: Width of the hidden layer.
        dropout: Of the input and of the hidden layer.
        frozen: Keep the module in eval mode and without gradients.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        embed_dim: int = 256,
        region_channels: int = 512,
        hidden: int = 512,
        dropout: float = 0.3,
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.lin1 = nn.Linear(embed_dim + region_channels + BOX_CHANNELS, hidden)
        self.lin2 = nn.Linear(hidden, embed_dim)
        nn.init.zeros_(self.lin2.weight)
        nn.init.zeros_(self.lin2.bias)
        self.dropout = nn.Dropout(dropout)
        self.freeze(frozen)

    def untrained(self) -> RegionNamer:
        """A namer of the same widths, before training."""
        hidden, channels = self.lin1.weight.shape
        embed_dim = len(self.lin2.weight)
        return RegionNamer(embed_dim, channels - embed_dim - BOX_CHANNELS, hidden, self.dropout.p)

    def forward(
        self, embeddings: Tensor, regions: Tensor, bboxes: Tensor, input_size: int
    ) -> Tensor:
        """Embeddings `(N, D)` of regions, normalized.

        Args:
            embeddings: The tower's, `(N, D)`.
            regions: Of `CLIP2SAMHead.pool_regions`, `(N, H)`.
            bboxes: `(N, 4)` xyxy in pixels of the network's input.
            input_size: Side of that input.
        """
        embeddings = F.normalize(embeddings, dim=1)
        features = (embeddings, F.normalize(regions, dim=1), box_features(bboxes, input_size))
        x = self.dropout(torch.cat([feature.to(embeddings) for feature in features], dim=1))
        x = self.lin2(self.dropout(F.gelu(self.lin1(x))))
        return F.normalize(embeddings + x, dim=1)


def box_features(bboxes: Tensor, input_size: int) -> Tensor:
    """Position, size and aspect ratio of boxes `(N, 4)` relative to the input, `(N, 8)`."""
    corners = bboxes / input_size
    extent = (corners[:, 2:] - corners[:, :2]).clamp(min=1 / input_size)
    width, height = extent.unbind(1)
    shape = (width.log(), height.log(), (width / height).log(), (width * height).sqrt())
    return torch.cat((corners, torch.stack(shape, dim=1)), dim=1)
