"""Values of masks at points, without masks in float."""

import torch
from torch import Tensor


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of masks at points, as `mmcv.ops.point_sample` gives them for float masks.

    The masks of a training image are large and the points few, so the masks stay as they are.

    Args:
        masks: `(N, H, W)` bool or uint8, 1 inside.
        points: `(N, P, 2)` xy from 0 to 1.

    Returns:
        `(N, P)` of the type of `points`; what lies outside of a mask counts as 0.
    """
    height, width = masks.shape[1:]
    place = torch.stack((points[..., 0] * width, points[..., 1] * height), dim=-1) - 0.5
    first = place.floor()
    share = place - first
    flat = masks.flatten(1)
    values = torch.zeros_like(points[..., 0])
    for right in (0, 1):
        for below in (0, 1):
            x, y = first[..., 0].long() + right, first[..., 1].long() + below
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            weight_x = share[..., 0] if right else 1 - share[..., 0]
            weight_y = share[..., 1] if below else 1 - share[..., 1]
            values += flat.gather(1, index) * inside * weight_x * weight_y
    return values
