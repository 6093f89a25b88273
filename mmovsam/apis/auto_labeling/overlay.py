"""Pictures of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

import cv2
import numpy as np
from mmdet.visualization import get_palette
from mmengine.visualization import Visualizer
from pycocotools import mask as coco_mask

from ...fonts import font_families

READABLE = 800  # smaller pictures are enlarged for the sake of the names
OPACITY = 0.4


def draw_objects(
    image: np.ndarray,
    objects: Sequence[Mapping],
    names: Sequence[str],
    font_size: float | None = None,
    palette: str | Sequence[Sequence[int]] = 'random',
    font: str | PathLike | None = None,
) -> np.ndarray:
    """A picture of the objects of an image `(H, W, 3)` uint8 BGR, each in the color of its class.

    Objects are those of a record, see `formats`; names those of the classes, whose `palette` is as
    MMDetection's `get_palette` takes it. Fonts are in points for a picture that is 1,000 pixels
    high, by default as suits the picture; see `mmovsam.fonts.font_families`. Small images are
    enlarged: the picture is `(F * H, F * W, 3)` uint8 BGR.
    """
    height, width = image.shape[:2]
    factor = max(1, READABLE // max(height, width))
    picture = image.repeat(factor, 0).repeat(factor, 1)
    colors = dict(zip(names, get_palette(palette, len(names))))
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
    if not objects:
        return picture
    # each name above its object, and as far as it goes within the picture
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
    """A name for Matplotlib, which reads what is between two dollars as mathematics."""
    return name.replace('$', r'\$')


def contact_sheet(pictures: Sequence[np.ndarray], columns: int, width: int) -> np.ndarray:
    """Pictures `(H, W, 3)` uint8 side by side on white; those of a row are equally high.

    The last row may have fewer than `columns`; it is no higher than the others. The sheet is about
    as many pixels wide as `width`, with a gap around each picture.
    """
    gap, lines, full = 6, [], width
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        ratios = [picture.shape[1] / picture.shape[0] for picture in row]
        height = round((width - gap * (len(row) + 1)) / sum(ratios))
        full = height = height if len(row) == columns else min(height, full)
        margin = np.full((height, gap, 3), 255, np.uint8)
        line = [margin]
        for picture, ratio in zip(row, ratios):
            size = round(height * ratio), height
            line += cv2.resize(picture, size, interpolation=cv2.INTER_AREA), margin
        lines.append(np.hstack(line))
    right = max(line.shape[1] for line in lines)
    white = dict(constant_values=255)
    lines = [
        np.pad(line, ((0, gap), (0, right - line.shape[1]), (0, 0)), **white) for line in lines
    ]
    return np.pad(np.vstack(lines), ((gap, 0), (0, 0), (0, 0)), **white)
