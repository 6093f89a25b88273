"""Windows around objects: their position, and how maps are sampled and pasted in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .tensors import without_autocast

WINDOW = 1.4
"""Side of a window, in units of the box's side."""
MIN_WINDOW = 16.0
"""Minimum side of a window in pixels of the input."""
OUTSIDE = -10.0
"""Logit outside of all windows."""


def windows_of(bboxes: Tensor) -> Tensor:
    """Windows `(N, 4)` around boxes `(N, 4)`, xyxy."""
    center = (bboxes[:, :2] + bboxes[:, 2:]) / 2
    half = ((bboxes[:, 2:] - bboxes[:, :2]) * WINDOW).clamp(min=MIN_WINDOW) / 2
    return torch.cat((center - half, center + half), dim=1)


def around(bboxes: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Boxes `(N, 4)` extended to the foreground points; empty ones become the box of the points.

    Args:
        bboxes: `(N, 4)` xyxy.
        points: `(N, P, 2)` xy.
        labels: `(N, P)`, 1 for foreground.
    """
    foreground = (labels == 1)[..., None]
    low = points.where(foreground, torch.inf).amin(1)
    high = points.where(foreground, -torch.inf).amax(1)
    top_left, bottom_right = bboxes.split(2, dim=1)
    empty = (bottom_right <= top_left).any(1, keepdim=True)
    # without foreground points a box stays, and an empty one becomes zeros
    top_left = torch.where(empty, low, torch.minimum(top_left, low))
    bottom_right = torch.where(empty, high, torch.maximum(bottom_right, high))
    return torch.cat((top_left, bottom_right), dim=1).nan_to_num(posinf=0.0, neginf=0.0)


def cut_off(logits: Tensor, windows: Tensor, input_size: int) -> Tensor:
    """Whether masks touch a side of their window that is no side of the input, `(N,)` bool.

    Args:
        logits: `(N, 1, g, g)`.
        windows: `(N, 4)` xyxy in pixels of the input.
        input_size: Side of the input.
    """
    inside = (logits[:, 0] > 0).float()
    sides = [inside[:, :, 0], inside[:, 0], inside[:, :, -1], inside[:, -1]]
    touches = torch.stack([side.mean(1) for side in sides], dim=1) > 0.1
    return (touches & (windows > 0) & (windows < input_size)).any(1)


def window_grid(windows: Tensor, side: int) -> Tensor:
    """Centers of a grid's positions in windows `(N, 4)`: `(N, side, side, 2)` xy in pixels."""
    steps = (torch.arange(side, device=windows.device) + 0.5) / side
    xy = windows[:, None, :2] + steps[:, None] * (windows[:, None, 2:] - windows[:, None, :2])
    x = xy[:, None, :, 0].expand(-1, side, -1)
    y = xy[:, :, None, 1].expand(-1, -1, side)
    return torch.stack((x, y), dim=-1)


def read_windows(features: Tensor, grid: Tensor, input_size: int) -> Tensor:
    """Sample the map of one image in N windows, bilinear: `(N, C, g, g)`.

    Args:
        features: `(1, C, h, w)` over the network's input.
        grid: `(N, g, g, 2)` xy in pixels of the input: see `window_grid`.
        input_size: Side of the input.
    """
    count, side = grid.shape[:2]
    grid = (grid * (2 / input_size) - 1).reshape(1, count * side, side, 2)
    # half precision is too coarse for coordinates
    sampled = F.grid_sample(features.to(grid), grid, align_corners=False)
    return sampled[0].unflatten(1, (count, side)).transpose(0, 1)


def read_windows_of_each(maps: Tensor, grid: Tensor, input_size: int) -> Tensor:
    """As `read_windows`, with a map of its own for each window, `(N, C, h, w)`."""
    return F.grid_sample(maps.to(grid), grid * (2 / input_size) - 1, align_corners=False)


def paste_windows(logits: Tensor, windows: Tensor, size: int, input_size: int) -> Tensor:
    """Logits in windows as logits over the network's input, `(N, 1, size, size)`.

    Args:
        logits: `(N, 1, g, g)`.
        windows: `(N, 4)` xyxy in pixels of the input.
        size: Side of the result.
        input_size: Side of the input.
    """
    pixels = (torch.arange(size, device=logits.device) + 0.5) * (input_size / size)
    extent = windows[:, 2:] - windows[:, :2]
    relative = (pixels - windows[:, :2, None]) / extent[..., None]  # (N, 2, size)
    # bilinear sampling as a matrix product along each axis, of the difference to OUTSIDE
    side = logits.shape[-1]
    nearest = (relative * side - 0.5).clamp(0, side - 1)[..., None]
    weights = (1 - (nearest - torch.arange(side, device=logits.device)).abs()).clamp(min=0)
    x, y = (weights * ((relative >= 0) & (relative <= 1))[..., None]).unbind(1)  # (N, size, g)
    with without_autocast(logits):
        pasted = y @ (logits[:, 0].float() - OUTSIDE) @ x.mT
    return pasted[:, None].add_(OUTSIDE)
