"""Prompts of a window decoder: from prompts of all kinds, and as maps in the windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...layers import to_device
from ...layers.bboxes import bboxes_of_logits
from ...layers.tensors import of_each
from ...layers.windows import WINDOW
from ...prompts import Prompts

GRIDS = (16, 32, 64)
"""Sides of the grids on which a window is sampled."""
PROMPT_CHANNELS = 9


class WindowPrompts(NamedTuple):
    """Prompts of N objects of one image, in pixels of the network's input."""

    bboxes: Tensor
    """`(N, 4)` xyxy, of the prompt or of an earlier mask."""
    given: Tensor
    """`(N,)` bool, whether the box is a prompt; else it is a guess."""
    points: Tensor
    """`(N, P, 2)` xy."""
    labels: Tensor
    """`(N, P)`: 1 foreground, 0 background, -1 padding."""
    previous: Tensor
    """`(N, 1, h, w)` logits of an earlier mask over the network's input; 0 where there is none."""

    @classmethod
    def of(cls, prompts: Prompts, bboxes: Tensor, previous: Tensor) -> WindowPrompts:
        """Of N prompts with M boxes `(N * M, 4)` and earlier masks `(N * M, 1, h, w)` each."""
        count = len(bboxes) // max(len(prompts), 1)
        fields = (prompts.has_bbox, *points_of(prompts))
        fields = (of_each(to_device(field, bboxes.device), count) for field in fields)
        return cls(bboxes, *fields, previous)


def points_of(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Points `(N, P, 2)` and labels `(N, P)` of prompts, P at least 1: padding is -1."""
    points, labels = prompts.point_coords, prompts.point_labels
    if points is None or not points.shape[1]:
        points = torch.zeros(len(prompts), 1, 2, device=prompts.device)
        labels = torch.full((len(prompts), 1), -1, device=prompts.device)
    return points.nan_to_num(0.0), labels


def bboxes_and_masks(prompts: Prompts, image_size: int) -> tuple[Tensor, Tensor]:
    """Boxes `(N, 4)`, those of the masks where there are none, and masks `(N, 1, h, w)`."""
    masks = torch.zeros(len(prompts), 1, 1, 1, device=prompts.device)
    bboxes = torch.zeros(len(prompts), 4, device=prompts.device)
    if prompts.mask_input is not None:
        masks = torch.where(prompts.has_mask[:, None, None, None], prompts.mask_input, masks)
        bboxes = bboxes_of_logits(masks, image_size)
    if prompts.bboxes is not None:
        bboxes = torch.where(prompts.bboxes.isnan(), bboxes, prompts.bboxes)
    return bboxes, masks


def window_prompt_maps(
    prompts: WindowPrompts, windows: Tensor, previous: Sequence[Tensor], image_size: int
) -> list[Tensor]:
    """Prompts as maps in windows `(N, 4)`, `(N, 9, g, g)` on each of `GRIDS`.

    Channels are the coverage of the box, the same for boxes that are prompts, foreground points,
    background points, the input's extent, x and y relative to the box, the earlier mask, and an
    ellipse in the box. `previous` are the earlier masks on each grid, `(N, g, g)`.
    """
    origin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
    # centers of the positions of all grids along an axis, and half of their spacing, from 0 to 1
    device = windows.device
    half = torch.cat([torch.full((side,), 0.5 / side, device=device) for side in GRIDS])
    steps = torch.cat([2 * torch.arange(side, device=device) + 1 for side in GRIDS]) * half
    low, high = ((corner - origin) / extent for corner in prompts.bboxes.split(2, dim=1))
    covered = high[..., None].minimum(steps + half) - low[..., None].maximum(steps - half)
    covered = (covered / (2 * half)).clamp(0, 1)  # (N, 2, 112)
    # a Gaussian around each point, whose sigma is a sixteenth of the window
    points = (prompts.points - origin[:, None]) / extent[:, None]
    near = (-0.5 * (16 * (steps - points[..., None])).square()).exp()  # (N, P, 2, 112)
    pixels = origin[..., None] + steps * extent[..., None]
    inside = ((pixels >= 0) & (pixels < image_size)).float()
    relative = WINDOW * (2 * steps - 1)  # to the box: the window is around it
    axes = (values.split(GRIDS, dim=-1) for values in (covered, near, inside, relative))
    maps = []
    for box, near, inside, relative, earlier in zip(*axes, previous):
        box, near, inside = map(_outer, (box, near, inside))
        given = box * prompts.given[:, None, None]
        clicks = [
            (near * (prompts.labels == label)[..., None, None]).sum(1).clamp(max=1)
            for label in (1, 0)
        ]
        x, y = relative.expand_as(box), relative[:, None].expand_as(box)
        ellipse = 1 - x.square() - y.square()
        maps.append(torch.stack((box, given, *clicks, inside, x, y, earlier, ellipse), dim=1))
    return maps


def _outer(axes: Tensor) -> Tensor:
    """Products `(..., g, g)` of values along x and along y, `(..., 2, g)`."""
    return axes[..., 1, :, None] * axes[..., 0, None, :]
