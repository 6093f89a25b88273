"""RoIAlign of one map as matrix products."""

import torch
from torch import Tensor


def roi_align_weights(
    bboxes: Tensor, size: int, scale: float, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """What RoIAlign (He et al., 2017) does to a map `(h, w)`: `(N, size, h)` and `(N, size, w)`.

    It is aligned, with as many samples as it chooses. The samples of a region are a grid and their
    weights products of one for each axis, so a region is `down @ features @ across^T`. Boxes are
    `(N, 4)` xyxy in pixels of the input, `scale` is 1 / stride.
    """
    starts, ends = (corners * scale - 0.5 for corners in bboxes.split(2, dim=1))
    across = _weights(starts[:, 0], ends[:, 0], size, width)
    return _weights(starts[:, 1], ends[:, 1], size, height), across


def _weights(start: Tensor, end: Tensor, size: int, length: int) -> Tensor:
    """How much each of `length` positions counts in each of `size` bins, `(N, size, length)`.

    Intervals go from `start` to `end`, `(N,)`; a position's own value is at its whole number.
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
