"""Bounding boxes of masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def masks_to_bboxes(masks: Tensor) -> Tensor:
    """Bounding boxes `(N, 4)` xyxy in pixels of masks `(N, H, W)` bool.

    Right and lower edges are exclusive; an empty mask has zeros.
    """
    masks = masks.to(torch.uint8)  # whose maximum is far faster than `any` of bool
    size = max(masks.shape[1:])
    inside = [F.pad(axis, (0, size - axis.shape[1])) for axis in (masks.amax(1), masks.amax(2))]
    inside = torch.stack(inside).int()  # whether there is anything in a column, in a row
    first, last = inside.argmax(2), size - inside.flip(2).argmax(2)
    return torch.cat((first, last)).T * inside[0].amax(1)[:, None]


def bboxes_of_logits(low_res_logits: Tensor, input_size: int) -> Tensor:
    """Bounding boxes of masks that are still logits `(N, 1, h, w)` over the padded square.

    They are `(N, 4)` xyxy in pixels of the network's input, in steps of a logit's size.
    """
    stride = input_size // low_res_logits.shape[-1]
    return masks_to_bboxes(low_res_logits[:, 0] > 0).float() * stride
