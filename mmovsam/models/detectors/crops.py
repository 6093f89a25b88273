"""Crops of an image for CLIP, one for each mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...layers.bboxes import masks_to_bboxes

# RGB; open_clip's OPENAI_DATASET_MEAN and OPENAI_DATASET_STD
CLIP_MEAN = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
CLIP_STD = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))


def crop_windows(bboxes: Tensor, margin: float, square: bool) -> Tensor:
    """Crop windows around boxes, `(N, 4)` int64 xyxy in pixels, at least one pixel each way.

    `margin`, a share of the box's longer side, is added on each side; a `square` window has the
    longer side both ways. It may extend beyond the image.
    """
    bboxes = bboxes.double()
    sides = bboxes[:, 2:] - bboxes[:, :2]
    longer = sides.amax(1, keepdim=True)
    sides = ((longer.expand_as(sides) if square else sides) + 2 * margin * longer).round()
    top_left = ((bboxes[:, :2] + bboxes[:, 2:] - sides) / 2).floor()
    return torch.cat((top_left, top_left + sides.clamp(min=1)), dim=1).long()


class MaskCropper:
    """Crop masked objects out of an image, as CLIP's input.

    Crops are resized by open_clip's transform. By default a crop is the mask's box, and resizing
    changes its aspect ratio.

    Args:
        size: `(H, W)` of CLIP's input in pixels.
        margin: Image added on each side, as a share of the box's longer side.
        square: Extend the shorter side to the longer one, so that the aspect ratio stays. Beyond
            the image's edge there is the mean color.
        mean: RGB from 0 to 255 of CLIP's training images; by default OpenAI's.
        std: Likewise.

    Raises:
        ValueError: The margin is negative.
    """

    def __init__(
        self,
        size: tuple[int, int],
        margin: float = 0.0,
        square: bool = False,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        if margin < 0:
            raise ValueError(
                f'The margin of a crop must be at least 0, not {margin}: it is a share of the '
                "box's longer side that is added around the box."
            )
        from open_clip import image_transform

        self.margin = margin
        self.square = square
        self.mean_color = tuple(map(round, mean))
        self.transform = image_transform(
            tuple(size),
            is_train=False,
            mean=[value / 255 for value in mean],
            std=[value / 255 for value in std],
            resize_mode='squash',
        )

    def __call__(self, image: np.ndarray, masks: Tensor) -> Tensor:
        """Crops `(N, 3, *size)` float32, normalized, one of each mask.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            masks: `(N, H, W)` bool, N at least 1; an empty one gives the whole image.

        Raises:
            ValueError: Image and masks differ in size.
        """
        if image.shape[:2] != tuple(masks.shape[1:]):
            raise ValueError(
                f'The image has {image.shape[1]}x{image.shape[0]} pixels and its masks '
                f'{masks.shape[2]}x{masks.shape[1]}: give the original image.'
            )
        masks = masks | ~masks.flatten(1).any(1)[:, None, None]
        bboxes = masks_to_bboxes(masks).cpu()  # not every device has double precision
        image, crops = Image.fromarray(image), []
        for left, top, right, bottom in crop_windows(bboxes, self.margin, self.square).tolist():
            crop = Image.new('RGB', (right - left, bottom - top), self.mean_color)
            crop.paste(image, (-left, -top))
            crops.append(self.transform(crop))
        return torch.stack(crops)
