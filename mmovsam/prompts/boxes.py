"""Boxes that come from elsewhere, at the edges of an image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def clip_boxes(bboxes: Tensor, ori_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Boxes cut off at the edges of their image.

    Args:
        bboxes: (N, 4) xyxy in pixels of the original image.
        ori_shape: (H, W) of that image.

    Returns:
        `(clipped, has_area)`: (N, 4), and (N,) bool, which of them are finite and have area inside
        of the image.
    """
    height, width = ori_shape[:2]
    clipped = bboxes.clone()
    clipped[:, 0::2] = clipped[:, 0::2].clamp(0, width)
    clipped[:, 1::2] = clipped[:, 1::2].clamp(0, height)
    has_area = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    return clipped, has_area & bboxes.isfinite().all(dim=1)
