"""Bounding boxes of masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def masks_to_bboxes(masks: Tensor) -> Tensor:
    """Bounding boxes `(N, 4)` xyxy in pixels of masks `(N, H, W)`, bool or above 0 inside.

    Right and lower edges are exclusive; an empty mask has zeros.
    """
    if masks.dtype == torch.bool:
        masks = masks.view(torch.uint8)  # whose maximum is far faster than `any` of bool
    axes, size = (masks.amax(1), masks.amax(2)), max(masks.shape[1:])
    if masks.shape[1] != masks.shape[2]:
        axes = [F.pad(axis, (0, size - axis.shape[1])) for axis in axes]
    inside = (torch.stack(axes) > 0).int()  # whether there is anything in a column, in a row
    first, last = inside.argmax(2), size - inside.flip(2).argmax(2)
    return torch.cat((first, last)).T * inside[0].amax(1)[:, None]


def bboxes_of_logits(low_res_logits: Tensor, input_size: int) -> Tensor:
    """Bounding boxes of masks that are still logits `(N, 1, h, w)` over the padded square.

    They are `(N, 4)` xyxy in pixels of the network's input, in steps of a logit's size.
    """
    stride = input_size // low_res_logits.shape[-1]
    return masks_to_bboxes(low_res_logits[:, 0]) * float(stride)
