"""Masks as run lengths, as in COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.structures.mask import encode_mask_results
from pycocotools import mask as coco_mask
from torch import Tensor

from ..datasets.annotations import run_lengths as read_counts
from ..models.detectors.run_lengths import encode_borders


def run_lengths(masks: Tensor | list[dict]) -> list[dict]:
    """Encodings, `counts` as text, of `(N, H, W)` bool or of encodings of pycocotools."""
    if isinstance(masks, Tensor):
        masks = encode_mask_results(masks.cpu().numpy())
    return [dict(mask, counts=mask['counts'].decode()) for mask in masks]


def measured(mask: dict) -> dict:
    """A run-length mask as `segmentation`, its `area` in pixels and `bbox`, x, y, width, height."""
    bbox = coco_mask.toBbox(mask).tolist()
    return dict(segmentation=mask, area=int(coco_mask.area(mask)), bbox=bbox)


def moved(mask: Mapping, left: int, top: int, size: Sequence[int]) -> dict:
    """Translate a mask to a frame of another `size` `(H, W)`, without decoding it.

    `left` and `top` are the position of the old frame in the new one, and may be negative; all of
    the mask must lie in the new one. `counts` are text.
    """
    height = mask['size'][0]
    borders = read_counts(mask['counts']).cumsum()
    borders = borders[: len(borders) // 2 * 2].reshape(-1, 2)
    starts, ends = borders[borders[:, 0] < borders[:, 1]].T
    first = starts // height
    columns = (ends - 1) // height - first + 1  # number of columns of each run
    column = np.arange(columns.sum()) + (first - columns.cumsum() + columns).repeat(columns)
    starts = np.maximum(starts.repeat(columns), column * height)
    ends = np.minimum(ends.repeat(columns), (column + 1) * height)
    shift = (column + left) * size[0] + top - column * height
    borders = np.stack((starts + shift, ends + shift), axis=1).ravel()
    return run_lengths([encode_borders(borders, list(map(int, size[:2])))])[0]
