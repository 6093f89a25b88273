"""Boxes that come from elsewhere, at the edges of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def clip_boxes(bboxes: Tensor, ori_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) xyxy cut off at the edges of their image, whose size is (H, W) in pixels.

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


def check_units(bboxes, scores=()) -> None:
    """Make sure that boxes are not in fractions of the image, nor scores in percent or as logits.

    Raises:
        ValueError: All boxes (N, 4) of a file lie between 0 and 1, or a score (N,) does not.
    """
    bboxes, scores = np.asarray(bboxes), np.asarray(scores)
    if bboxes.any() and ((bboxes >= 0) & (bboxes <= 1)).all():
        first = bboxes[0].astype(float).round(6).tolist()
        raise ValueError(
            f'all boxes lie between 0 and 1, the first is {first}: they look like '
            "fractions of the image; write pixels, the image's width and height times as much"
        )
    finite = scores[np.isfinite(scores)]
    low, high = finite.min(initial=0), finite.max(initial=0)
    if low < 0 or high > 1.001:  # more than rounding
        form = 'percent: divide by 100' if low >= 0 and high <= 100 else 'logits: take the sigmoid'
        raise ValueError(
            f'scores lie between {low:.6g} and {high:.6g}, expected 0 to 1; they look like {form}'
        )


def look_like_corners(bboxes, sizes) -> bool:
    """Whether boxes that are read as x, y, width, height look like x1, y1, x2, y2.

    Args:
        bboxes: (N, 4), as they are read.
        sizes: (N, 2), width and height of the image of each.

    Returns:
        Half of them or more reach out of their images, and as corners none does.
    """
    starts, ends = np.asarray(bboxes, float).reshape(-1, 2, 2).swapaxes(0, 1)
    edges = np.reshape(sizes, (-1, 2)) + 1  # a pixel more is rounding
    outside = (starts + ends > edges).any(1)
    return bool(2 * outside.sum() >= len(starts) > 0) and bool(
        ((ends <= edges) & (ends > starts)).all()
    )


CORNERS = (
    'reach out of their images, which as corners [left, top, right, bottom] they would not: COCO '
    'has [left, top, width, height]'
)
