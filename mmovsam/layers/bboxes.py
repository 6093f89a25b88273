"""Bounding boxes of masks."""

from __future__ import annotations

import torch
from torch import Tensor


def masks_to_bboxes(masks: Tensor) -> Tensor:
    """Bounding boxes `(N, 4)` xyxy in pixels of masks `(N, H, W)` bool.

    Right and lower edges are exclusive; an empty mask has zeros.
    """
    bboxes = []
    masks = masks.to(torch.uint8)  # whose maximum is far faster than `any` of bool
    for inside in (masks.amax(1), masks.amax(2)):
        size = inside.shape[1]
        first = inside.int().argmax(1)
        last = size - inside.flip(1).int().argmax(1)
        bboxes.append(torch.stack((first, last), dim=1))
    bboxes = torch.stack(bboxes, dim=2).flatten(1)
    return bboxes * inside.amax(1)[:, None]


def bboxes_of_logits(low_res_logits: Tensor, input_size: int) -> Tensor:
    """Bounding boxes of masks that are still logits `(N, 1, h, w)` over the padded square.

    They are `(N, 4)` xyxy in pixels of the network's input, in steps of a logit's size.
    """
    stride = input_size // low_res_logits.shape[-1]
    return masks_to_bboxes(low_res_logits[:, 0] > 0).float() * stride
