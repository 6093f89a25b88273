"""RoIAlign of one map by matrix products, for maps of many channels."""

import torch
from torch import Tensor


def roi_align_products(features: Tensor, bboxes: Tensor, size: int, scale: float) -> Tensor:
    """RoIAlign (He et al., 2017), aligned and with as many samples as it chooses for itself.

    The samples of a region are a grid and their weights products of one for each axis, so a region
    is `A_y features A_x^T`. Its cost does not grow with the region.

    Args:
        features: `(1, C, h, w)`.
        bboxes: `(N, 4)` xyxy in pixels of the input.
        size: Side g of the result.
        scale: From pixels of the input to those of the map, 1 / stride.

    Returns:
        `(N, C, g, g)`.
    """
    height, width = features.shape[-2:]
    starts, ends = (corners * scale - 0.5 for corners in bboxes.to(features).split(2, dim=1))
    across = _weights(starts[:, 0], ends[:, 0], size, width)
    down = _weights(starts[:, 1], ends[:, 1], size, height)
    rows = down.flatten(0, 1) @ features[0].permute(1, 2, 0).flatten(1)
    rows = rows.unflatten(0, (-1, size)).unflatten(2, (width, -1))
    # (N, g, w, C) to (N, g, g, C)
    return (across[:, None] @ rows).permute(0, 3, 1, 2)


def _weights(start: Tensor, end: Tensor, size: int, length: int) -> Tensor:
    """How much each of `length` positions counts in each bin of N intervals, `(N, size, length)`.

    Args:
        start: `(N,)`, in positions; a position's own value is at its whole number.
        end: `(N,)`.
        size: How many bins an interval has.
        length: How many positions there are.
    """
    extent = end - start
    number = (extent / size).ceil().clamp(min=0)  # of samples in a bin
    most = int(number.max()) if len(number) else 0
    sample = torch.arange(most, device=start.device)
    bins = torch.arange(size, device=start.device)
    per_bin = extent[:, None, None] / size
    place = (sample + 0.5) * per_bin / number.clamp(min=1)[:, None, None]
    place = start[:, None, None] + bins[:, None] * per_bin + place
    counts = (sample < number[:, None, None]) & (place >= -1) & (place <= length)
    counts, place = counts.to(place), place.clamp(0, length - 1)
    low = place.long()
    share = (place - low) * counts
    weights = start.new_zeros(len(start), size, length)
    weights.scatter_add_(2, low, counts - share)
    weights.scatter_add_(2, (low + 1).clamp(max=length - 1), share)
    return weights / number.clamp(min=1)[:, None, None]
