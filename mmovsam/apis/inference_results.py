"""Masks as COCO's JSON has them."""

from __future__ import annotations

from mmdet.structures.mask import encode_mask_results
from torch import Tensor


def run_lengths(masks: Tensor | list[dict]) -> list[dict]:
    """N run-length encodings, `counts` as text, of masks.

    Args:
        masks: `(N, H, W)` bool, or N run-length encodings as pycocotools has them.
    """
    if isinstance(masks, Tensor):
        masks = encode_mask_results(masks.cpu().numpy())
    return [dict(mask, counts=mask['counts'].decode()) for mask in masks]
