"""Prompts on a regular grid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor

from ..validation import require_at_least
from .prompter import Prompter
from .prompts import Prompts


def grid_points(height: int, width: int, rows: int, columns: int) -> Tensor:
    """Centers of the cells of a grid over an image, (rows * columns, 2) xy, row by row.

    They are pixel indices: the image's center is at ((width - 1) / 2, (height - 1) / 2).
    """
    ys = (torch.arange(rows) + 0.5) * (height / rows) - 0.5
    xs = (torch.arange(columns) + 0.5) * (width / columns) - 0.5
    return torch.stack(torch.meshgrid(xs, ys, indexing='xy'), dim=-1).flatten(0, 1)


@MODELS.register_module()
class GridPrompter(Prompter):
    """One foreground point for each cell of a grid over the image, to segment everything.

    Args:
        points_per_side: Number of cells along each side of the image.
        even: Whether the shorter side has fewer cells, so that they are nearly square.
        filter: Arguments of `PromptFilter`; points have no scores.
    """

    def __init__(
        self, points_per_side: int = 32, even: bool = False, filter: Mapping | None = None
    ) -> None:
        super().__init__(filter)
        require_at_least(1, points_per_side=points_per_side)
        self.points_per_side = points_per_side
        self.even = even

    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """Grid points of one image, before the filter."""
        if data_sample.get('ori_shape') is None:
            raise ValueError('GridPrompter needs ori_shape: name it in meta_keys of PackDetInputs')
        height, width = data_sample.get('ori_shape')[:2]
        shape = [self.points_per_side] * 2
        if self.even:
            density = self.points_per_side / max(height, width)
            shape = [max(1, round(density * side)) for side in (height, width)]
        points = grid_points(height, width, *shape)
        return Prompts(
            point_coords=points[:, None], point_labels=torch.ones(len(points), 1, dtype=torch.int64)
        )
