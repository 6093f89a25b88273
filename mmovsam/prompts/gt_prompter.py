"""Prompts from annotations, for evaluation with ground truth."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor

from ..validation import require_choice
from .prompter import Prompter
from .prompts import Prompts
from .sampling import masks_to_numpy, random_point

MASK_STRIDE = 4  # of `mask_input` in the network's input (Kirillov et al., 2023, appendix A)
MAX_LOGIT = 10.0  # of a pixel inside the mask: its sigmoid is 0.99995


def deepest_point(mask: np.ndarray) -> tuple[int, int] | None:
    """The pixel `(x, y)` of a mask (H, W) with the largest distance to the outside; None if empty.

    Distances are Euclidean, and the image's border counts as outside. Ties go to the first pixel in
    reading order.
    """
    inside = mask.astype(bool)
    rows, columns = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
    if len(rows) == 0:
        return None
    top, left = rows[0], columns[0]
    crop = np.pad(inside[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.uint8)
    depth = cv2.distanceTransform(crop, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = divmod(int(depth.argmax()), depth.shape[1])
    return int(left) + x - 1, int(top) + y - 1


def mask_logits(mask: np.ndarray, img_shape: Sequence[int], input_shape: Sequence[int]) -> Tensor:
    """A mask (H, W) of the original image as `mask_input`.

    Returns (S / 4, S / 4) float32 logits over the network's input (S, S), in which the image has
    the size `img_shape`: from -10 outside to 10 inside, by the covered share of a pixel.
    """
    height, width = img_shape[:2]
    resized = torch.zeros(1, 1, height, mask.shape[1])
    columns = mask.any(axis=0).nonzero()[0]
    if len(columns):  # columns without the object need no work, however large the image is
        columns = slice(columns[0], columns[-1] + 1)
        crop = torch.from_numpy(mask[:, columns].astype(bool))[None, None].float()
        size = height, crop.shape[3]
        resized[..., columns] = F.interpolate(crop, size, mode='bilinear', antialias=True)
    resized = F.interpolate(resized, (height, width), mode='bilinear', antialias=True)
    padding = (0, input_shape[1] - width, 0, input_shape[0] - height)
    coverage = F.avg_pool2d(F.pad(resized, padding), MASK_STRIDE)
    return (2 * coverage[0, 0] - 1) * MAX_LOGIT


@MODELS.register_module()
class GTPrompter(Prompter):
    """One prompt for each annotated object, in the order of `gt_instances`.

    Data samples need `gt_instances` in pixels of the original image: `bboxes`, and `masks` for all
    modes but `'box'`; for `'mask'` also `img_shape` and the data preprocessor's
    `batch_input_shape`. `ignored_instances` are not prompted. Prompts have no labels, but
    `annotated_bboxes`.

    Args:
        mode: `'box'`, the annotated box; `'center'`, the pixel deepest inside the mask;
            `'random'`, a random pixel of the mask; `'mask'`, the mask as `mask_input` in the
            network's frame. If the mask is empty, the center of the box, or all of it as a mask.
        seed: Random pixels depend on it and on the image's `img_id` alone.
        filter: Arguments of `PromptFilter`; annotations have no scores, and only the mode `'box'`
            has boxes.

    Raises:
        ValueError: If the mode or an argument of the filter is unknown, or a data sample lacks
            annotations, masks or shapes.
    """

    MODES = ('box', 'center', 'random', 'mask')

    def __init__(self, mode: str = 'box', seed: int = 0, filter: Mapping | None = None) -> None:
        super().__init__(filter)
        require_choice(self.MODES, mode=mode)
        self.mode = mode
        self.seed = seed

    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """Prompts of one image's annotated objects, before the filter."""
        name = data_sample.get('img_path') or data_sample.get('img_id')
        if 'gt_instances' not in data_sample:
            raise ValueError(
                f'GTPrompter needs annotations of image {name}: add LoadAnnotations to the pipeline'
            )
        gt_instances = data_sample.gt_instances
        if 'bboxes' not in gt_instances or len(gt_instances) == 0:
            return Prompts.empty()
        bboxes = getattr(gt_instances.bboxes, 'tensor', gt_instances.bboxes).float()
        if self.mode == 'box':
            return Prompts(bboxes=bboxes, annotated_bboxes=bboxes)
        if 'masks' not in gt_instances:
            raise ValueError(
                f'GTPrompter needs the masks of image {name}: set with_mask=True in LoadAnnotations'
            )
        # one mask at a time: polygons are rasterized at the size of the image
        masks = (masks_to_numpy(gt_instances.masks[i : i + 1])[0] for i in range(len(bboxes)))
        pairs = zip(masks, bboxes.cpu().numpy())
        if self.mode == 'mask':
            shapes = [data_sample.get(key) for key in ('img_shape', 'batch_input_shape')]
            if None in shapes:
                raise ValueError(
                    f'GTPrompter needs img_shape and batch_input_shape of {name}: name the one in '
                    'meta_keys of PackDetInputs; a DetDataPreprocessor adds the other'
                )
            logits = [mask_logits(_mask_or_box(mask, bbox), *shapes) for mask, bbox in pairs]
            logits = torch.stack(logits)[:, None].to(bboxes.device)
            return Prompts(mask_input=logits, annotated_bboxes=bboxes)
        generator = torch.Generator()
        generator.manual_seed(zlib.crc32(f'{self.seed}/{data_sample.get("img_id")}'.encode()))
        points = []
        for mask, bbox in pairs:
            centered = self.mode == 'center'
            point = deepest_point(mask) if centered else random_point(mask, bbox, generator)
            points.append(tuple((bbox[:2] + bbox[2:]) / 2) if point is None else point)
        return Prompts(
            point_coords=torch.tensor(points, dtype=torch.float32, device=bboxes.device)[:, None],
            point_labels=torch.ones(len(points), 1, dtype=torch.int64, device=bboxes.device),
            annotated_bboxes=bboxes,
        )


def _mask_or_box(mask: np.ndarray, bbox: np.ndarray) -> np.ndarray:
    """The mask, or one of its box if it is empty."""
    if mask.any():
        return mask
    x1, y1 = np.floor(bbox[:2]).astype(int).clip(0)
    x2, y2 = np.ceil(bbox[2:]).astype(int).clip(0)
    box_mask = np.zeros_like(mask)
    box_mask[y1:y2, x1:x2] = 1
    return box_mask
