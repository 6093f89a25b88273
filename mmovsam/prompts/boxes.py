"""Clipping and checks of boxes that were not computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def clip_boxes(bboxes: Tensor, ori_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Clip boxes (N, 4) xyxy to an image of (H, W) pixels.

    Returns:
        `(clipped, has_area)`: (N, 4), and (N,) bool, which boxes are finite and have area inside
        the image.
    """
    height, width = ori_shape[:2]
    clipped = bboxes.clone()
    clipped[:, 0::2] = clipped[:, 0::2].clamp(0, width)
    clipped[:, 1::2] = clipped[:, 1::2].clamp(0, height)
    has_area = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    return clipped, has_area & bboxes.isfinite().all(dim=1)


def check_units(bboxes, scores=()) -> None:
    """Raise a `ValueError` for boxes in fractions of the image, or scores in percent or logits.

    That is, if all boxes (N, 4) of a file lie between 0 and 1, or a score (N,) does not.
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
    """Whether boxes (N, 4) that are read as x, y, width, height look like x1, y1, x2, y2.

    So they do if at least half of them exceed their images, of width and height (N, 2), and as
    corners none does.
    """
    starts, ends = np.asarray(bboxes, float).reshape(-1, 2, 2).swapaxes(0, 1)
    edges = np.reshape(sizes, (-1, 2)) + 1  # a pixel more is rounding
    outside = (starts + ends > edges).any(1)
    are_corners = ((ends <= edges) & (ends > starts)).all()
    return bool(are_corners and 2 * outside.sum() >= len(starts) > 0)


CORNERS = (
    'reach out of their images, which as corners [left, top, right, bottom] they would not: COCO '
    'has [left, top, width, height]'
)
