"""Sampling of training prompts from annotations."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..validation import require_at_least, require_fraction
from .prompts import Prompts


def masks_to_numpy(masks) -> np.ndarray:
    """MMDetection's masks, a tensor or an array as an array (N, H, W), nonzero inside."""
    if isinstance(masks, Tensor):
        return masks.cpu().numpy()
    if isinstance(masks, np.ndarray):
        return masks
    return masks.to_ndarray()


def random_point(
    mask: np.ndarray, bbox: np.ndarray, generator: torch.Generator | None = None
) -> tuple[int, int] | None:
    """A pixel `(x, y)` drawn uniformly from a mask (H, W); None if the mask is empty.

    It lies within the box (4,) xyxy, unless the mask has no pixel there.
    """
    height, width = mask.shape
    x1, y1 = np.floor(np.maximum(bbox[:2], 0)).astype(int)
    x2, y2 = np.ceil(np.minimum(bbox[2:], (width, height))).astype(int)
    crop = mask[y1:y2, x1:x2]
    if not crop.any():
        crop, x1, y1 = mask, 0, 0
    inside = np.flatnonzero(crop)
    if len(inside) == 0:
        return None
    choice = int(torch.randint(len(inside), (1,), generator=generator))
    row, column = divmod(int(inside[choice]), crop.shape[1])
    return int(x1 + column), int(y1 + row)


def sample_training_prompts(
    gt_instances: InstanceData,
    max_instances: int = 40,
    box_ratio: float = 0.5,
    generator: torch.Generator | None = None,
) -> tuple[Prompts, Tensor]:
    """Prompt up to `max_instances` random objects by their boxes or random points of their masks.

    An object is prompted by its box with probability `box_ratio`, or if its mask is empty or
    missing. `gt_instances` has `bboxes` (M, 4) xyxy and `masks` of one image.

    Returns:
        `(prompts, indices)`: N prompts in the frame of `gt_instances`, on the device of its boxes,
        with NaN boxes or padding points where the other kind was drawn; and the object of each,
        (N,) int64, ascending.
    """
    require_at_least(1, max_instances=max_instances)
    require_fraction(box_ratio=box_ratio)
    bboxes = gt_instances.bboxes
    bboxes = getattr(bboxes, 'tensor', bboxes).float()
    device, bboxes = bboxes.device, bboxes.cpu()
    indices = torch.randperm(len(bboxes), generator=generator)[:max_instances].sort().values
    bboxes = bboxes[indices]
    point_coords = torch.zeros(len(indices), 1, 2)
    point_labels = torch.full((len(indices), 1), -1)
    with_bbox = torch.rand(len(indices), generator=generator) < box_ratio
    if 'masks' in gt_instances:
        for i in (~with_bbox).nonzero()[:, 0].tolist():
            mask = masks_to_numpy(gt_instances.masks[int(indices[i]) : int(indices[i]) + 1])[0]
            point = random_point(mask, bboxes[i].numpy(), generator)
            if point is not None:
                point_coords[i, 0] = torch.tensor(point)
                point_labels[i, 0] = 1
    by_point = point_labels[:, 0] == 1
    bboxes = bboxes.masked_fill(by_point[:, None], float('nan'))
    prompts = Prompts(bboxes=bboxes, point_coords=point_coords, point_labels=point_labels)
    return prompts.to(device), indices.to(device)
