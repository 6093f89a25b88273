"""Regions that were drawn in Label Studio, as prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np

POINT_TYPES = ('keypointlabels', 'keypoint')
BOX_TYPES = ('rectanglelabels', 'rectangle')
BACKGROUND = 'background'  # a label of points that are background, in any case of letters


def target_image(regions: Sequence[Mapping]) -> tuple[str, int] | None:
    """The image in which regions were drawn: the name of the `<Image>`, and which of its images.

    Regions are `params.context.result` of a request, of which points and rectangles are read; None
    if there is nothing. Others alone, and regions in several images, are a `ValueError`.
    """
    for region in regions:
        if not isinstance(region, Mapping) or not isinstance(region.get('value'), Mapping):
            raise ValueError(f'context.result has regions, each with a value, not {region!r:.200}.')
    drawn = [region for region in regions if region.get('type') in POINT_TYPES + BOX_TYPES]
    if regions and not drawn:
        raise ValueError(
            f'Regions of type {regions[0].get("type")!r} are no prompts. Draw with <KeyPointLabels '
            'smart="true"> or <RectangleLabels smart="true">.'
        )
    for region in drawn:
        if not isinstance(region.get('item_index', 0), int):
            raise ValueError(f'item_index is a number, not {region["item_index"]!r:.100}.')
    images = {(str(region.get('to_name')), region.get('item_index', 0)) for region in drawn}
    if len(images) > 1:
        raise ValueError(f'The regions are in several images: {sorted(images)}. Draw in one.')
    return images.pop() if images else None


def read_prompts(regions: Sequence[Mapping], width: int, height: int) -> list[dict]:
    """The objects that points and rectangles mean, each as the arguments of
    `OVSAMPredictor.predict`.

    Each rectangle is one object, and points are the object that they lie on, one for all of them.
    One rectangle and points together are one object. Of several rectangles each has the points
    inside it. Background points alone mean nothing.

    Regions are `params.context.result`, coordinates in percent of the image of a width and height
    in pixels. A point is background if `is_positive` is false or its label is `Background`. A
    turned rectangle counts as the upright one around it; one without area is left out beside others
    or points.

    Raises:
        ValueError: A coordinate is missing or no number, the regions belong to an image of another
            size or to one that is turned, or it cannot be told which rectangle a point means.
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
    if with_area or points:  # a rectangle that was only clicked costs nothing else
        boxes = with_area
    if len(boxes) < 2:
        groups = [(boxes[0] if boxes else None, points)]
    else:
        groups = [(box, [point for point in points if _inside(point, box)]) for box in boxes]
        for x, y, foreground in points:
            if not any((x, y, foreground) in members for _, members in groups):
                raise ValueError(
                    f'The point at {x:.0f}, {y:.0f} is in none of the {len(boxes)} rectangles, so '
                    'it cannot be told which one it means. Remove it.'
                )
    return [
        _prompt(box, members)
        for box, members in groups
        if box is not None or any(foreground for *_, foreground in members)
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
    """The upright box `[x1, y1, x2, y2]` in pixels around a rectangle."""
    x, y, box_width, box_height = _numbers(region, 'x', 'y', 'width', 'height')
    angle = math.radians(_numbers(region, 'rotation')[0] if 'rotation' in region['value'] else 0)
    # turned about its upper left corner
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
