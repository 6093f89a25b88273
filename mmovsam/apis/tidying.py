"""Masks made tidy: each kept once, without islands and holes, without overlaps, as a label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .inference_results import run_lengths


def quality_of(thing: Mapping) -> float:
    """The predicted IoU of a mask or, without, its stability; times the score of a proposed box."""
    quality = thing['predicted_iou'] if 'predicted_iou' in thing else thing['stability_score']
    return quality * thing.get('proposal_score', 1.0)


def distinct(things: Sequence[dict], nms_iou: float) -> list[dict]:
    """Those that overlap none of the earlier ones that are kept, by their run lengths."""
    kept, rest = [], list(things)
    while rest:
        best, *rest = rest
        kept.append(best)
        masks = [thing['segmentation'] for thing in rest]
        ious = coco_mask.iou(masks, [best['segmentation']], [0]) if masks else []
        rest = [thing for thing, iou in zip(rest, ious) if iou <= nms_iou]
    return kept


def with_mask(thing: Mapping, mask: np.ndarray) -> dict:
    """The same thing with another mask.

    Args:
        thing: A dict of `segment_everything`.
        mask: `(H, W)` bool.
    """
    (segmentation,) = run_lengths([coco_mask.encode(np.asfortranarray(mask, np.uint8))])
    return dict(
        thing,
        segmentation=segmentation,
        area=int(mask.sum()),
        bbox=coco_mask.toBbox(segmentation).tolist(),
    )


def remove_small_regions(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    """Fill holes of fewer pixels, and then remove islands of fewer.

    As in SAM, pixels are connected by their corners too, a hole may lie at the image's edge, and of
    a mask with small islands only the largest stays.

    Args:
        mask: `(H, W)` bool.
        min_area: In pixels.

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
    """Things whose masks have neither islands nor holes of fewer pixels.

    Of two that overlap by more than `nms_iou` then, one that was tidy already stays, or the earlier
    one.

    Args:
        things: Dicts of `segment_everything`, with run lengths.
        min_area: In pixels.
        nms_iou: Intersection over union.

    Returns:
        In their order.
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
    """Things whose masks have no pixel in common.

    A pixel of several masks goes to the smallest of them, and of equally large ones to the earlier:
    so a part lies on top of its whole, and nothing disappears behind a larger mask.

    Args:
        things: Dicts of `segment_everything`, with run lengths.
        min_area: Things of which fewer pixels are left are left out; at least 1.

    Returns:
        In their order, with new `segmentation`, `area` and `bbox`.
    """
    if not things:
        return []
    order = sorted(range(len(things)), key=lambda index: (-things[index]['area'], -index))
    owner = np.zeros(things[0]['segmentation']['size'], np.int32)
    for index in order:
        owner[coco_mask.decode(things[index]['segmentation']).astype(bool)] = index + 1
    left = [with_mask(thing, owner == index) for index, thing in enumerate(things, 1)]
    return [thing for thing in left if thing['area'] >= max(min_area, 1)]


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
        ValueError: Two masks overlap.
    """
    if names is None:
        names = list(dict.fromkeys(thing['name'] for thing in things))
    categories = {name: number for number, name in enumerate(names, 1)}
    ids = np.zeros(shape[:2], np.int32)
    segments = []
    for number, thing in enumerate(things, 1):
        mask = thing['segmentation']
        mask = (coco_mask.decode(mask) if isinstance(mask, Mapping) else mask).astype(bool)
        if ids[mask].any():
            raise ValueError(
                f'Mask {number} overlaps another one, and a pixel has one id: use '
                'segment_everything(non_overlapping=True), or mmovsam.apis.non_overlapping.'
            )
        ids[mask] = number
        segments.append(
            dict(
                id=number,
                category_id=categories[thing['name']],
                **{key: thing[key] for key in ('name', 'score', 'area', 'bbox')},
                iscrowd=0,
            )
        )
    return ids, segments
