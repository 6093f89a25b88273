"""Prompts from annotations, for evaluation."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule

from .prompts import Prompts
from .sampling import masks_to_numpy, random_point


def deepest_point(mask: np.ndarray) -> tuple[int, int] | None:
    """The pixel of a mask that is farthest from everything outside of it.

    Distances are Euclidean; what lies beyond the image's edge counts as outside.

    Args:
        mask: (H, W), nonzero inside the object.

    Returns:
        `(x, y)` of the pixel's index, the first in reading order among equals; None if the mask is
        empty.
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


@MODELS.register_module()
class GTPrompter(BaseModule):
    """One prompt for each annotated object, in the order of `gt_instances`.

    `ignored_instances` are not prompted. No label is handed on: recognition has to find it.

    Args:
        mode: `'box'`, the annotated box; `'center'`, the pixel deepest inside the mask;
            `'random'`, a pixel drawn from the mask. An object with an empty mask is prompted by
            the center of its box.
        seed: Of the drawn pixels, which depend on it and on the image's `img_id` alone.

    Raises:
        ValueError: If the mode is unknown.
    """

    MODES = ('box', 'center', 'random')

    def __init__(self, mode: str = 'box', seed: int = 0) -> None:
        super().__init__()
        if mode not in self.MODES:
            raise ValueError(f'GTPrompter has modes {", ".join(self.MODES)}, got {mode!r}')
        self.mode = mode
        self.seed = seed

    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """The prompts of each image.

        Args:
            data_samples: With `gt_instances` in pixels of the original image: `bboxes`, and
                `masks` for the modes that ask for points.

        Returns:
            One `Prompts` an image, in pixels of the original image; empty without annotations.

        Raises:
            ValueError: If there are no `gt_instances`, or points are asked for without masks.
        """
        return [self._prompts(data_sample) for data_sample in data_samples]

    def _prompts(self, data_sample: DetDataSample) -> Prompts:
        name = data_sample.get('img_path') or data_sample.get('img_id')
        if 'gt_instances' not in data_sample:
            raise ValueError(
                f'GTPrompter needs the annotations of image {name}: '
                'add LoadAnnotations to the test pipeline, or use another prompter'
            )
        gt_instances = data_sample.gt_instances
        if 'bboxes' not in gt_instances or len(gt_instances) == 0:
            return Prompts.empty()
        bboxes = getattr(gt_instances.bboxes, 'tensor', gt_instances.bboxes).float()
        if self.mode == 'box':
            return Prompts(bboxes=bboxes)
        if 'masks' not in gt_instances:
            raise ValueError(
                f'GTPrompter(mode={self.mode!r}) needs the masks of image {name}: '
                'set with_mask=True in LoadAnnotations'
            )
        generator = torch.Generator()
        generator.manual_seed(zlib.crc32(f'{self.seed}/{data_sample.get("img_id")}'.encode()))
        points = []
        for i, bbox in enumerate(bboxes.cpu().numpy()):
            mask = masks_to_numpy(gt_instances.masks[i : i + 1])[0]
            if self.mode == 'center':
                point = deepest_point(mask)
            else:
                point = random_point(mask, bbox, generator)
            if point is None:
                point = ((bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2)
            points.append(point)
        return Prompts(
            point_coords=torch.tensor(points, dtype=torch.float32, device=bboxes.device)[:, None],
            point_labels=torch.ones(len(points), 1, dtype=torch.int64, device=bboxes.device),
        )
