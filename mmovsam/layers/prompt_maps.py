"""Boxes and earlier masks, painted at the resolution of a decoder's logits."""

import torch
from torch import Tensor

PROMPT_MAPS = 2
"""How many there are: one of the box, one of the mask."""


def box_coverage(bboxes: Tensor, size: int, stride: float) -> Tensor:
    """How much of each position lies in a box, `(N, size, size)` from 0 to 1.

    Boxes are `(N, 4)` xyxy in pixels, `stride` pixels to a position; NaN covers nothing.
    """
    low, high = (bboxes / stride).nan_to_num(0.0).unflatten(1, (2, 2)).unbind(1)
    start = torch.arange(size, device=bboxes.device, dtype=bboxes.dtype)
    shares = torch.minimum(high[..., None], start + 1) - torch.maximum(low[..., None], start)
    across, down = shares.clamp(0, 1).unbind(1)
    return down[:, :, None] * across[:, None]


def prompt_maps(
    bboxes: Tensor | None, mask_input: Tensor | None, count: int, size: int, stride: float
) -> Tensor | None:
    """What a decoder of high resolution sees of the prompts, `(count, 2, size, size)`.

    It is the coverage of the box, and the mask from -1 to 1; None without both.

    Args:
        bboxes: `(N, 4)` as for `box_coverage`; None if no prompt has a box.
        mask_input: `(N, 1, size, size)` logits; None if no prompt has a mask.
        count: N.
        size: Side of the maps.
        stride: Pixels to a position.
    """
    if bboxes is None and mask_input is None:
        return None
    some = bboxes if mask_input is None else mask_input
    zeros = some.new_zeros(1, size, size).expand(count, -1, -1)
    boxes = zeros if bboxes is None else box_coverage(bboxes, size, stride).to(some)
    masks = zeros
    if mask_input is not None:
        masks = mask_input[:, 0]
        if masks.shape[-1] != size:
            masks = torch.nn.functional.interpolate(
                mask_input, (size, size), mode='bilinear', align_corners=False
            )[:, 0]
        masks = (masks / 2).tanh()
    return torch.stack((boxes, masks), dim=1)
