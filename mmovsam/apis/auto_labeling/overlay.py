"""Pictures of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from mmdet.visualization import get_palette
from mmengine.visualization import Visualizer
from pycocotools import mask as coco_mask

READABLE = 800  # smaller pictures are enlarged for the sake of the names
OPACITY = 0.4


def draw_objects(image: np.ndarray, objects: Sequence[Mapping], names: Sequence[str]) -> np.ndarray:
    """A picture of the objects of an image, each in the color of its class.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        objects: Of a record, see `formats`.
        names: Of the classes.

    Returns:
        `(F * H, F * W, 3)` uint8 BGR; the factor F is 1 but for small images.
    """
    height, width = image.shape[:2]
    factor = max(1, READABLE // max(height, width))
    picture = image.repeat(factor, 0).repeat(factor, 1)
    colors = dict(zip(names, get_palette('random', len(names))))
    for thing in sorted(objects, key=lambda thing: -thing['area']):
        mask = coco_mask.decode(dict(size=[height, width], counts=thing['counts']))
        x, y, w, h = map(int, thing['bbox'])
        mask = mask[y : y + h, x : x + w].repeat(factor, 0).repeat(factor, 1)
        part = picture[factor * y : factor * (y + h), factor * x : factor * (x + w)]
        inside, color = mask.astype(bool), colors[thing['name']][::-1]
        part[inside] = part[inside] * (1 - OPACITY) + np.array(color) * OPACITY
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            columns, rows = contour[:, 0].T
            part[rows, columns] = color
    return _with_names(picture, objects, factor) if objects else picture


def _with_names(picture: np.ndarray, objects: Sequence[Mapping], factor: int) -> np.ndarray:
    """Each name above its object, and as far as it goes within the picture."""
    height, width = picture.shape[:2]
    bboxes = np.array([thing['bbox'] for thing in objects]) * factor
    at_right = bboxes[:, 0] + bboxes[:, 2] / 2 > width / 2
    visualizer = Visualizer(image=picture[..., ::-1])
    visualizer.draw_texts(
        [f'{thing["name"]} {thing["score"]:.2f}' for thing in objects],
        np.stack((bboxes[:, 0] + bboxes[:, 2] * at_right, bboxes[:, 1]), axis=1),
        font_sizes=max(9, max(height, width) // 100),
        colors='white',
        horizontal_alignments=['right' if right else 'left' for right in at_right],
        bboxes=dict(facecolor='black', alpha=0.6, pad=0.5, edgecolor='none'),
    )
    return visualizer.get_image()[..., ::-1]
