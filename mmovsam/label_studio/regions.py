"""Label Studio's regions as prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np

POINT_TYPES = ('keypointlabels', 'keypoint')
BOX_TYPES = ('rectanglelabels', 'rectangle')
BACKGROUND = 'background'  # case-insensitive label of background points


def target_image(regions: Sequence[Mapping]) -> tuple[str, int] | None:
    """The name of the `<Image>` in which regions were drawn, and the index of its image.

    Regions are `params.context.result` of a request, of which points and rectangles are read; None
    if there are no regions. Only other regions, or several images, raise a `ValueError`.
    """
    for region in regions:
        if not isinstance(region, Mapping) or not isinstance(region.get('value'), Mapping):
            raise ValueError(f'context.result has regions, each with a value, not {region!r:.200}.')
    prompts = [region for region in regions if region.get('type') in POINT_TYPES + BOX_TYPES]
    if regions and not prompts:
        raise ValueError(
            f'Regions of type {regions[0].get("type")!r} are no prompts. Draw with <KeyPointLabels '
            'smart="true"> or <RectangleLabels smart="true">.'
        )
    for region in prompts:
        if not isinstance(region.get('item_index', 0), int):
            raise ValueError(f'item_index is a number, not {region["item_index"]!r:.100}.')
    images = {(str(region.get('to_name')), region.get('item_index', 0)) for region in prompts}
    if len(images) > 1:
        raise ValueError(f'The regions are in several images: {sorted(images)}. Draw in one.')
    return images.pop() if images else None


def read_prompts(regions: Sequence[Mapping], width: int, height: int) -> list[dict]:
    """The prompts that points and rectangles make, as arguments of `OVSAMPredictor.predict`.

    Each rectangle is one prompt. A single rectangle takes all points, several take the points
    inside them, and without rectangles all points are one prompt. Background points alone are none.

    Regions are `params.context.result`, with coordinates in percent of the image, whose width and
    height are in pixels. A point is background if `is_positive` is false or its label is
    `Background`. A rotated rectangle becomes its bounding box; one without area is ignored beside
    others or points.

    Raises:
        ValueError: A coordinate is missing or no number, the regions belong to an image of another
            size or rotation, or a point is in none of several rectangles.
    """
    boxes, points = [], []
    for region in regions:
        if region.get('type') in POINT_TYPES + BOX_TYPES:
            _check_image(region, width, height)
        if region.get('type') in POINT_TYPES:
            x, y = _numbers(region, 'x', 'y')
            points.append((x / 100 * width, y / 100 * height, _is_foreground(region)))
        elif region.get('type') in BOX_TYPES:
            boxes.append(_box(region, width, height))
    with_area = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    if with_area or points:  # ignore a rectangle that was only clicked
        boxes = with_area
    if len(boxes) < 2:
        groups = [(boxes[0] if boxes else None, points)]
    else:
        groups = [(box, [point for point in points if _inside(point, box)]) for box in boxes]
        for x, y, foreground in points:
            if not any((x, y, foreground) in inside for _, inside in groups):
                raise ValueError(
                    f'The point at {x:.0f}, {y:.0f} is in none of the {len(boxes)} rectangles, so '
                    'it cannot be told which one it means. Remove it.'
                )
    return [
        _prompt(box, inside)
        for box, inside in groups
        if box is not None or any(foreground for *_, foreground in inside)
    ]


def _check_image(region: Mapping, width: int, height: int) -> None:
    size = region.get('original_width', width), region.get('original_height', height)
    if size != (width, height):
        raise ValueError(
            f'The region was drawn on an image of {size[0]}x{size[1]} pixels, but the image has '
            f'{width}x{height}. Load the task again.'
        )
    if region.get('image_rotation', 0):
        raise ValueError(
            f'The image is turned by {region["image_rotation"]} degrees in Label Studio, where '
            'brush masks do not turn with it. Turn it back.'
        )


def _numbers(region: Mapping, *names: str) -> list[float]:
    values = [region['value'].get(name) for name in names]
    for name, value in zip(names, values):
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(
                f'{name} of a region of type {region["type"]!r} is a number, not {value!r:.100}.'
            )
    return [float(value) for value in values]


def _is_foreground(region: Mapping) -> bool:
    labels = region['value'].get('keypointlabels') or []
    background = any(str(label).lower() == BACKGROUND for label in labels)
    return bool(region.get('is_positive', True)) and not background


def _box(region: Mapping, width: int, height: int) -> list[float]:
    """The bounding box `[x1, y1, x2, y2]` in pixels of a rotated rectangle."""
    x, y, box_width, box_height = _numbers(region, 'x', 'y', 'width', 'height')
    angle = math.radians(_numbers(region, 'rotation')[0] if 'rotation' in region['value'] else 0)
    # rotated about its upper left corner
    along = np.array([math.cos(angle), math.sin(angle)]) * box_width / 100 * width
    down = np.array([-math.sin(angle), math.cos(angle)]) * box_height / 100 * height
    corners = np.array([[0, 0], along, down, along + down])
    corners += [x / 100 * width, y / 100 * height]
    return [*corners.min(0).tolist(), *corners.max(0).tolist()]


def _inside(point: Sequence[float], box: Sequence[float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _prompt(box: list[float] | None, points: Sequence[tuple]) -> dict:
    prompt = {} if box is None else dict(box=box)
    if points:
        prompt['point_coords'] = [point[:2] for point in points]
        prompt['point_labels'] = [int(foreground) for *_, foreground in points]
    return prompt
