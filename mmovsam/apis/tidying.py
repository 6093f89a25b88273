"""Post-processing of masks: duplicates, small regions, overlaps, label maps.

A thing is a dict as in the results of `segment_everything`, with run lengths unless stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .inference_results import measured, moved, run_lengths


def mask_quality(thing: Mapping) -> float:
    """The predicted IoU of a mask or, without, its stability."""
    return thing['predicted_iou'] if 'predicted_iou' in thing else thing['stability_score']


def quality_of(thing: Mapping) -> float:
    """The quality of a mask, times the score of its proposed box if it has one."""
    return mask_quality(thing) * thing.get('proposal_score', 1.0)


def distinct(things: Sequence[dict], nms_iou: float) -> list[dict]:
    """Non-maximum suppression of masks by an IoU above `nms_iou`; earlier things are kept."""
    masks = [thing['segmentation'] for thing in things]
    boxes = coco_mask.toBbox(masks) if masks else np.zeros((0, 4))
    keep = np.ones(len(masks), bool)
    for index in range(len(masks)):
        if not keep[index]:
            continue
        later = slice(index + 1, None)
        near = np.flatnonzero(keep[later] & touching(boxes[index], boxes[later])) + index + 1
        if len(near):
            ious = coco_mask.iou([masks[i] for i in near], [masks[index]], [0])[:, 0]
            keep[near[ious > nms_iou]] = False
    return [things[index] for index in np.flatnonzero(keep)]


def touching(bbox: Sequence[float], bboxes: np.ndarray) -> np.ndarray:
    """Which boxes `(N, 4)` intersect a box, all of x, y, width, height: `(N,)` bool."""
    x, y, width, height = bbox
    left, top, widths, heights = bboxes.T
    across = (left < x + width) & (x < left + widths)
    return across & (top < y + height) & (y < top + heights)


def with_mask(
    thing: Mapping, mask: np.ndarray, corner: Sequence[int] = (0, 0), size: Sequence[int] = ()
) -> dict:
    """A thing with another mask `(h, w)` bool, a window at `corner` (x, y) of an image.

    `size` is the image's `(H, W)`, by default the mask's.
    """
    (segmentation,) = run_lengths([coco_mask.encode(np.asfortranarray(mask, np.uint8))])
    if size:
        segmentation = moved(segmentation, *corner, size)
    return dict(thing, **measured(segmentation))


def cut_out(thing: Mapping) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The mask of a thing inside of its box, `(h, w)` bool, and the box as slices of the image.

    The mask, run lengths or `(H, W)` bool, is not decoded at full size.
    """
    mask, (x, y, width, height) = thing['segmentation'], map(int, thing['bbox'])
    window = slice(y, y + height), slice(x, x + width)
    if not isinstance(mask, Mapping):
        return mask[window], window
    return coco_mask.decode(moved(mask, -x, -y, (height, width))).astype(bool), window


def remove_small_regions(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    """Fill holes of fewer pixels than `min_area` in a mask `(H, W)`, then remove such islands.

    As in SAM, regions are 8-connected, a hole may lie at the image's edge, and if all islands are
    small the largest is kept.

    Returns:
        The mask, and whether it has changed.
    """
    filled = mask | _small_regions(~mask, min_area)
    islands = _small_regions(filled, min_area)
    if islands.any() and islands[filled].all():
        _, regions, stats, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8), None, 8)
        islands &= regions != 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    tidy = filled & ~islands
    return tidy, not np.array_equal(tidy, mask)


def _small_regions(mask: np.ndarray, min_area: int) -> np.ndarray:
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), None, 8)
    small = stats[:, cv2.CC_STAT_AREA] < min_area
    small[0] = False  # the background
    return small[regions]


def tidy_regions(things: Sequence[dict], min_area: int, nms_iou: float) -> list[dict]:
    """Remove islands and holes of fewer pixels than `min_area` from the masks of things.

    Of two that then overlap by more than `nms_iou`, the unchanged one is kept, or else the earlier.
    """
    unchanged, changed, order = [], [], {}
    for index, thing in enumerate(things):
        mask = coco_mask.decode(thing['segmentation']).astype(bool)
        mask, is_changed = remove_small_regions(mask, min_area)
        thing = with_mask(thing, mask) if is_changed else thing
        order[id(thing)] = index
        (changed if is_changed else unchanged).append(thing)
    return sorted(distinct(unchanged + changed, nms_iou), key=lambda thing: order[id(thing)])


def non_overlapping(things: Sequence[dict], min_area: int = 1) -> list[dict]:
    """Make masks disjoint.

    A pixel of several masks is kept in the smallest of them only, so that parts lie on top of their
    wholes.

    Args:
        things: Dicts of `segment_everything`, with run lengths.
        min_area: Things with fewer remaining pixels are dropped; at least 1.

    Returns:
        Things in their order, with new `segmentation`, `area` and `bbox`.
    """
    if not things:
        return []
    size = things[0]['segmentation']['size']
    owner = np.zeros(size, np.int32)
    for index in sorted(range(len(things)), key=lambda index: (-things[index]['area'], -index)):
        mask, window = cut_out(things[index])
        owner[window][mask] = index + 1
    disjoint = []
    for index, thing in enumerate(things, 1):
        x, y, width, height = map(int, thing['bbox'])
        mask = owner[y : y + height, x : x + width] == index
        disjoint.append(with_mask(thing, mask, (x, y), size))
    return [thing for thing in disjoint if thing['area'] >= max(min_area, 1)]


def _check_shape(things: Sequence[Mapping], shape: Sequence[int]) -> None:
    for mask in (thing['segmentation'] for thing in things[:1]):
        actual = tuple(mask['size'] if isinstance(mask, Mapping) else mask.shape)
        if actual != tuple(shape[:2]):
            raise ValueError(f'The masks are {actual}, (H, W), but shape is {tuple(shape)}.')


def label_map(
    things: Sequence[Mapping], shape: Sequence[int], names: Sequence[str] | None = None
) -> tuple[np.ndarray, list[dict]]:
    """Convert masks to an image of segment ids with `segments_info`, as in COCO's panoptic format.

    Args:
        things: Dicts of `segment_everything` that do not overlap, see `non_overlapping`.
        shape: `(H, W)` of the image.
        names: Names of categories 1, 2 and so on; by default those of the things.

    Returns:
        `(H, W)` int32, the ids of things from 1, and 0 elsewhere; and `segments_info`, for each
        thing a dict of `id`, `category_id`, `name`, `score`, `area`, `bbox` (x, y, width, height)
        and `iscrowd`.

    Raises:
        ValueError: Two masks overlap, or have another shape.
    """
    if names is None:
        names = list(dict.fromkeys(thing['name'] for thing in things))
    _check_shape(things, shape)
    categories = {name: number for number, name in enumerate(names, 1)}
    ids = np.zeros(shape[:2], np.int32)
    segments = []
    for number, thing in enumerate(things, 1):
        mask, window = cut_out(thing)
        if ids[window][mask].any():
            raise ValueError(
                f'Mask {number} overlaps another one, and a pixel has one id: use '
                'segment_everything(non_overlapping=True), or mmovsam.apis.non_overlapping.'
            )
        ids[window][mask] = number
        fields = {key: thing[key] for key in ('name', 'score', 'area', 'bbox')}
        category_id = categories[thing['name']]
        segments.append(dict(id=number, category_id=category_id, **fields, iscrowd=0))
    return ids, segments


def semantic_map(
    things: Sequence[Mapping], shape: Sequence[int], names: Sequence[str]
) -> np.ndarray:
    """Convert masks to an image of class indices; where masks overlap the best `score` wins.

    Args:
        things: Dicts of `segment_everything` or `find`, which may overlap.
        shape: `(H, W)` of the image.
        names: Class names; things with other names are ignored.

    Returns:
        `(H, W)` int32, indices of `names`, and -1 elsewhere.

    Raises:
        ValueError: The masks have another shape.
    """
    _check_shape(things, shape)
    labels = {name: label for label, name in enumerate(names)}
    classes = np.full(shape[:2], -1, np.int32)
    for thing in sorted(things, key=lambda thing: thing['score']):
        if thing['name'] in labels:
            mask, window = cut_out(thing)
            classes[window][mask] = labels[thing['name']]
    return classes
