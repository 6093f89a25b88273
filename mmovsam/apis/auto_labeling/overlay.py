"""Draws labels on images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

import cv2
import numpy as np
from mmdet.visualization import get_palette
from mmengine.visualization import Visualizer
from pycocotools import mask as coco_mask

from ...fonts import font_families

MIN_SIZE = 800  # smaller pictures are enlarged so that names are readable
OPACITY = 0.4


def draw_objects(
    image: np.ndarray,
    objects: Sequence[Mapping],
    names: Sequence[str],
    font_size: float | None = None,
    palette: str | Sequence[Sequence[int]] = 'random',
    font: str | PathLike | None = None,
) -> np.ndarray:
    """Draw the objects of a record, see `formats`, on an image `(H, W, 3)` uint8 BGR.

    Colors are those of the classes, whose `names` are given, by MMDetection's `get_palette`. The
    font size is in points for a picture 1,000 pixels high; see `mmovsam.fonts.font_families` for
    `font`. Small images are enlarged.
    """
    height, width = image.shape[:2]
    factor = max(1, MIN_SIZE // max(height, width))
    picture = image.repeat(factor, 0).repeat(factor, 1)
    colors = dict(zip(names, get_palette(palette, len(names))))
    for thing in sorted(objects, key=lambda thing: -thing['area']):
        mask = coco_mask.decode(dict(size=[height, width], counts=thing['counts']))
        x, y, w, h = map(int, thing['bbox'])
        mask = mask[y : y + h, x : x + w].repeat(factor, 0).repeat(factor, 1)
        window = picture[factor * y : factor * (y + h), factor * x : factor * (x + w)]
        inside, color = mask.astype(bool), colors[thing['name']][::-1]
        window[inside] = window[inside] * (1 - OPACITY) + np.array(color) * OPACITY
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            columns, rows = contour[:, 0].T
            window[rows, columns] = color
    if not objects:
        return picture
    # names above their objects, aligned so that they stay inside the picture
    height, width = picture.shape[:2]
    bboxes = np.array([thing['bbox'] for thing in objects]) * factor
    at_right = bboxes[:, 0] + bboxes[:, 2] / 2 > width / 2
    size = max(9, max(height, width) // 100) if font_size is None else font_size * height / 1000
    visualizer = Visualizer(image=picture[..., ::-1])
    families = font_families([thing['name'] for thing in objects], font)
    visualizer.draw_texts(
        [f'{as_text(thing["name"])} {thing["score"]:.2f}' for thing in objects],
        np.stack((bboxes[:, 0] + bboxes[:, 2] * at_right, bboxes[:, 1]), axis=1),
        font_sizes=size,
        font_families=[families] * len(objects),
        colors='white',
        horizontal_alignments=['right' if right else 'left' for right in at_right],
        bboxes=dict(facecolor='black', alpha=0.6, pad=0.5, edgecolor='none'),
    )
    return visualizer.get_image()[..., ::-1]


def as_text(name: str) -> str:
    """Escape a name for Matplotlib, which parses text between dollar signs as mathematics."""
    return name.replace('$', r'\$')


def contact_sheet(pictures: Sequence[np.ndarray], columns: int, width: int) -> np.ndarray:
    """Arrange pictures `(H, W, 3)` uint8 in rows of equal height on white.

    An incomplete last row is no higher than the others. The sheet is about `width` pixels wide,
    with a gap around each picture.
    """
    gap, rows, max_height = 6, [], width
    for start in range(0, len(pictures), columns):
        chunk = pictures[start : start + columns]
        ratios = [picture.shape[1] / picture.shape[0] for picture in chunk]
        height = round((width - gap * (len(chunk) + 1)) / sum(ratios))
        max_height = height = height if len(chunk) == columns else min(height, max_height)
        margin = np.full((height, gap, 3), 255, np.uint8)
        row = [margin]
        for picture, ratio in zip(chunk, ratios):
            size = round(height * ratio), height
            row += cv2.resize(picture, size, interpolation=cv2.INTER_AREA), margin
        rows.append(np.hstack(row))
    right = max(row.shape[1] for row in rows)
    white = dict(constant_values=255)
    rows = [np.pad(row, ((0, gap), (0, right - row.shape[1]), (0, 0)), **white) for row in rows]
    return np.pad(np.vstack(rows), ((gap, 0), (0, 0), (0, 0)), **white)
