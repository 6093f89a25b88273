"""Windows around objects: where they lie, and maps read and written in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .tensors import without_autocast

WINDOW = 1.4
"""Side of a window, in sides of the box."""
MIN_WINDOW = 16.0
"""Least side of a window in pixels of the input."""


def windows_of(bboxes: Tensor) -> Tensor:
    """Windows `(N, 4)` around boxes `(N, 4)`, xyxy."""
    center = (bboxes[:, :2] + bboxes[:, 2:]) / 2
    half = ((bboxes[:, 2:] - bboxes[:, :2]) * WINDOW).clamp(min=MIN_WINDOW) / 2
    return torch.cat((center - half, center + half), dim=1)


def around(bboxes: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Boxes `(N, 4)` made so large that foreground points lie inside; empty ones become those.

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
    # without such points a box stays, and an empty one is at the corner
    top_left = torch.where(empty, low, torch.minimum(top_left, low))
    bottom_right = torch.where(empty, high, torch.maximum(bottom_right, high))
    return torch.cat((top_left, bottom_right), dim=1).nan_to_num(posinf=0.0, neginf=0.0)


def cut_off(logits: Tensor, windows: Tensor, input_size: int) -> Tensor:
    """Which masks meet a side of their window that is no side of the input.

    Args:
        logits: `(N, 1, g, g)`.
        windows: `(N, 4)` xyxy in pixels of the input.
        input_size: Side of the input.

    Returns:
        `(N,)` bool.
    """
    inside = (logits[:, 0] > 0).float()
    sides = [inside[:, :, 0], inside[:, 0], inside[:, :, -1], inside[:, -1]]
    met = torch.stack([side.mean(1) for side in sides], dim=1) > 0.1
    return (met & (windows > 0) & (windows < input_size)).any(1)


def window_grid(windows: Tensor, side: int) -> Tensor:
    """Centers of the positions of windows, `(N, side, side, 2)` xy in pixels."""
    steps = (torch.arange(side, device=windows.device) + 0.5) / side
    xy = windows[:, None, :2] + steps[:, None] * (windows[:, None, 2:] - windows[:, None, :2])
    x = xy[:, None, :, 0].expand(-1, side, -1)
    y = xy[:, :, None, 1].expand(-1, -1, side)
    return torch.stack((x, y), dim=-1)


def read_windows(features: Tensor, places: Tensor, input_size: int) -> Tensor:
    """A map of an image at places in windows, bilinear.

    Args:
        features: `(1, C, h, w)` over the network's input.
        places: `(N, g, g, 2)` xy in pixels of it.
        input_size: Its side.

    Returns:
        `(N, C, g, g)`.
    """
    count, side = places.shape[:2]
    grid = (places * (2 / input_size) - 1).reshape(1, count * side, side, 2)
    # half precision is too little for places
    sampled = F.grid_sample(features.to(grid), grid, align_corners=False)
    return sampled[0].unflatten(1, (count, side)).transpose(0, 1)


def read_windows_of_each(maps: Tensor, places: Tensor, input_size: int) -> Tensor:
    """As `read_windows`, of a map for each window: `(N, C, h, w)`."""
    return F.grid_sample(maps.to(places), places * (2 / input_size) - 1, align_corners=False)


def paste_windows(
    logits: Tensor, windows: Tensor, size: int, input_size: int, outside: float = -10.0
) -> Tensor:
    """Logits of windows as logits over the network's input.

    Args:
        logits: `(N, 1, g, g)`.
        windows: `(N, 4)` xyxy in pixels of the input.
        size: Side of the result.
        input_size: Side of the input.
        outside: What is outside of the windows.

    Returns:
        `(N, 1, size, size)`.
    """
    places = (torch.arange(size, device=logits.device) + 0.5) * (input_size / size)
    extent = windows[:, 2:] - windows[:, :2]
    relative = (places - windows[:, :2, None]) / extent[..., None]  # (N, 2, size)
    # bilinear sampling along each axis as a matrix product, of what is more than `outside`
    side = logits.shape[-1]
    nearest = (relative * side - 0.5).clamp(0, side - 1)[..., None]
    shares = (1 - (nearest - torch.arange(side, device=logits.device)).abs()).clamp(min=0)
    x, y = (shares * ((relative >= 0) & (relative <= 1))[..., None]).unbind(1)  # (N, size, g)
    with without_autocast(logits):
        pasted = y @ (logits[:, 0].float() - outside) @ x.mT
    return pasted[:, None].add_(outside)
