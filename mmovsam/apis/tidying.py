"""Masks made tidy: each kept once, without islands and holes, without overlaps, as a label map.

Things are dicts as `segment_everything` gives them, with run lengths where nothing else is said.
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
    """The quality of a mask, times the score of its box if that was proposed."""
    return mask_quality(thing) * thing.get('proposal_score', 1.0)


def distinct(things: Sequence[dict], nms_iou: float) -> list[dict]:
    """Things that overlap none of the earlier ones that are kept by an IoU above `nms_iou`."""
    masks = [thing['segmentation'] for thing in things]
    boxes = coco_mask.toBbox(masks) if masks else np.zeros((0, 4))
    kept, left = [], np.ones(len(masks), bool)
    for index, thing in enumerate(things):
        if not left[index]:
            continue
        kept.append(thing)
        later = slice(index + 1, None)
        near = np.flatnonzero(left[later] & touching(boxes[index], boxes[later])) + index + 1
        if len(near):
            ious = coco_mask.iou([masks[i] for i in near], [masks[index]], [0])[:, 0]
            left[near[ious > nms_iou]] = False
    return kept


def touching(bbox: Sequence[float], bboxes: np.ndarray) -> np.ndarray:
    """Which boxes `(N, 4)` have pixels in common with one, all of x, y, width, height: `(N,)`."""
    x, y, width, height = bbox
    left, top, widths, heights = bboxes.T
    across = (left < x + width) & (x < left + widths)
    return across & (top < y + height) & (y < top + heights)


def with_mask(
    thing: Mapping, mask: np.ndarray, corner: Sequence[int] = (0, 0), size: Sequence[int] = ()
) -> dict:
    """A thing with another mask `(h, w)` bool, which begins at pixel `corner` (x, y) of an image.

    The image has the `size` `(H, W)`, by default the mask's.
    """
    (segmentation,) = run_lengths([coco_mask.encode(np.asfortranarray(mask, np.uint8))])
    if size:
        segmentation = moved(segmentation, *corner, size)
    return dict(thing, **measured(segmentation))


def cut_out(thing: Mapping) -> tuple[np.ndarray, tuple[slice, slice]]:
    """A mask within its box, `(h, w)` bool, and the rows and columns of the image where that is.

    The rest of the image takes no memory. Masks may also be `(H, W)` bool.
    """
    mask, (x, y, width, height) = thing['segmentation'], map(int, thing['bbox'])
    window = slice(y, y + height), slice(x, x + width)
    if not isinstance(mask, Mapping):
        return mask[window], window
    return coco_mask.decode(moved(mask, -x, -y, (height, width))).astype(bool), window


def remove_small_regions(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    """Fill holes of fewer pixels than `min_area` in a mask `(H, W)`, then remove such islands.

    As in SAM, pixels are connected by their corners too, a hole may lie at the image's edge, and of
    a mask with small islands only the largest stays.

    Returns:
        The mask, and whether it is another one now.
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
    small[0] = False  # what is not in the mask
    return small[regions]


def tidy_regions(things: Sequence[dict], min_area: int, nms_iou: float) -> list[dict]:
    """Things, in their order, whose masks have neither islands nor holes of fewer pixels.

    Of two that overlap by more than `nms_iou` then, one that was tidy already stays, or the earlier
    one.
    """
    unchanged, changed, order = [], [], {}
    for place, thing in enumerate(things):
        mask = coco_mask.decode(thing['segmentation']).astype(bool)
        mask, is_other = remove_small_regions(mask, min_area)
        thing = with_mask(thing, mask) if is_other else thing
        order[id(thing)] = place
        (changed if is_other else unchanged).append(thing)
    kept = distinct(unchanged + changed, nms_iou)
    return sorted(kept, key=lambda thing: order[id(thing)])


def non_overlapping(things: Sequence[dict], min_area: int = 1) -> list[dict]:
    """Things, in their order, whose masks have no pixel in common.

    A pixel of several masks goes to the smallest of them, and of equally large ones to the earlier:
    so a part lies on top of its whole, and nothing disappears behind a larger mask.

    Args:
        things: Dicts of `segment_everything`, with run lengths.
        min_area: Things of which fewer pixels are left are left out; at least 1.

    Returns:
        With new `segmentation`, `area` and `bbox`.
    """
    if not things:
        return []
    size = things[0]['segmentation']['size']
    owner = np.zeros(size, np.int32)
    for index in sorted(range(len(things)), key=lambda index: (-things[index]['area'], -index)):
        mask, window = cut_out(things[index])
        owner[window][mask] = index + 1
    left = []
    for index, thing in enumerate(things, 1):
        x, y, width, height = map(int, thing['bbox'])
        mask = owner[y : y + height, x : x + width] == index
        left.append(with_mask(thing, mask, (x, y), size))
    return [thing for thing in left if thing['area'] >= max(min_area, 1)]


def _check_shape(things: Sequence[Mapping], shape: Sequence[int]) -> None:
    for mask in (thing['segmentation'] for thing in things[:1]):
        actual = tuple(mask['size'] if isinstance(mask, Mapping) else mask.shape)
        if actual != tuple(shape[:2]):
            raise ValueError(f'The masks are {actual}, (H, W), but shape is {tuple(shape)}.')


def label_map(
    things: Sequence[Mapping], shape: Sequence[int], names: Sequence[str] | None = None
) -> tuple[np.ndarray, list[dict]]:
    """One image of ids, and what each id is, as COCO's panoptic files have it.

    Args:
        things: Dicts of `segment_everything` that do not overlap, see `non_overlapping`.
        shape: `(H, W)` of the image.
        names: Of the categories, counted from 1; None for those of the things in their order.

    Returns:
        `(H, W)` int32, the things' ids, counted from 1, and 0 elsewhere; and `segments_info`, for
        each thing a dict of `id`, `category_id`, `name`, `score`, `area`, `bbox` (x, y, width,
        height) and `iscrowd`.

    Raises:
        ValueError: Two masks overlap, or are of another shape.
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
        about = {key: thing[key] for key in ('name', 'score', 'area', 'bbox')}
        category_id = categories[thing['name']]
        segments.append(dict(id=number, category_id=category_id, **about, iscrowd=0))
    return ids, segments


def semantic_map(
    things: Sequence[Mapping], shape: Sequence[int], names: Sequence[str]
) -> np.ndarray:
    """One image of classes; a pixel of several masks gets the name of that with the best `score`.

    Args:
        things: Dicts of `segment_everything` or `find`, which may overlap.
        shape: `(H, W)` of the image.
        names: Of the classes; things of other names are left out.

    Returns:
        `(H, W)` int32, indices of names, and -1 where there is none.

    Raises:
        ValueError: The masks are of another shape.
    """
    _check_shape(things, shape)
    labels = {name: label for label, name in enumerate(names)}
    classes = np.full(shape[:2], -1, np.int32)
    for thing in sorted(things, key=lambda thing: thing['score']):
        if thing['name'] in labels:
            mask, window = cut_out(thing)
            classes[window][mask] = labels[thing['name']]
    return classes
