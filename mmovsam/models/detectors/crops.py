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
    """What to cut out around boxes, `(N, 4)` int64 xyxy in pixels, at least one each way.

    Added on each side is `margin`, a share of the box's longer side; a `square` window has the
    longer side both ways. It may reach out of the image.
    """
    bboxes = bboxes.double()
    sides = bboxes[:, 2:] - bboxes[:, :2]
    longer = sides.amax(1, keepdim=True)
    sides = ((longer.expand_as(sides) if square else sides) + 2 * margin * longer).round()
    top_left = ((bboxes[:, :2] + bboxes[:, 2:] - sides) / 2).floor()
    return torch.cat((top_left, top_left + sides.clamp(min=1)), dim=1).long()


class MaskCropper:
    """Cut what masks cover out of an image, in the form of CLIP's input.

    The crop is resized to that form by open_clip's own transform. By default it is exactly the
    mask's box, which changes the proportions of what is not square.

    Args:
        size: `(H, W)` of CLIP's input in pixels.
        margin: How much of the surrounding image is added on each side, as a share of the box's
            longer side.
        square: Extend the shorter side to the longer one by surrounding image, so that proportions
            stay. Beyond the image's edge there is the mean color.
        mean: Of the images that CLIP was trained on, RGB from 0 to 255; by default OpenAI's.
        std: Of the same.

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
        self.mean_color = np.array(mean).round().astype(np.uint8)
        self.transform = image_transform(
            tuple(size),
            is_train=False,
            mean=[value / 255 for value in mean],
            std=[value / 255 for value in std],
            resize_mode='squash',
        )

    def __call__(self, image: np.ndarray, masks: Tensor) -> Tensor:
        """Crops `(N, 3, *size)` float32, normalized, of what each mask covers.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            masks: `(N, H, W)` bool, N at least 1; an empty one stands for the whole image.

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
        windows = crop_windows(bboxes, self.margin, self.square).tolist()
        crops = [self._cut(image, window) for window in windows]
        return torch.stack([self.transform(Image.fromarray(crop)) for crop in crops])

    def _cut(self, image: np.ndarray, window: list[int]) -> np.ndarray:
        left, top, right, bottom = window
        crop = np.empty((bottom - top, right - left, 3), np.uint8)
        crop[:] = self.mean_color
        rows = slice(max(top, 0), min(bottom, image.shape[0]))
        columns = slice(max(left, 0), min(right, image.shape[1]))
        inside = slice(rows.start - top, rows.stop - top)
        crop[inside, columns.start - left : columns.stop - left] = image[rows, columns]
        return crop
