"""Predictions of all tested images, in memory as columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask


@dataclass(frozen=True)
class Detections:
    """Predictions of all images as columns, sorted by class.

    Attributes:
        classes: `(N,)`, places among the classes in order of id.
        images: `(N,)`, places in `image_ids`.
        scores: `(N,)`.
        bboxes: `(N, 4)` xywh.
        counts: Of the masks' run lengths; empty without masks.
        image_ids: Of the tested images.
        sizes: `[height, width]` by image id.
    """

    classes: np.ndarray
    images: np.ndarray
    scores: np.ndarray
    bboxes: np.ndarray
    counts: list
    image_ids: list
    sizes: dict

    def entries(self, start: int, category_ids: Sequence, iou_type: str) -> list[dict]:
        """Those of the classes from place `start` on, as pycocotools has them."""
        first, last = np.searchsorted(self.classes, [start, start + len(category_ids)])
        chosen = slice(first, last)
        ids = [self.image_ids[i] for i in self.images[chosen].tolist()]
        areas, masks = self.bboxes[chosen, 2] * self.bboxes[chosen, 3], ()
        if iou_type == 'segm':
            masks = [
                dict(size=self.sizes[i], counts=counts)
                for i, counts in zip(ids, self.counts[chosen])
            ]
            # one by one: of more than 255 pycocotools 2.0.11 fails with numpy 2
            areas = np.array([coco_mask.area(mask) for mask in masks], float)
        columns = self.classes - start, self.scores, self.bboxes
        classes, scores, bboxes = (column[chosen].tolist() for column in columns)
        entries = [
            dict(
                id=i,
                image_id=img_id,
                category_id=category_ids[k],
                score=score,
                bbox=box,
                area=area,
                iscrowd=0,
            )
            for i, (img_id, k, score, box, area) in enumerate(
                zip(ids, classes, scores, bboxes, areas.tolist()), 1
            )
        ]
        for entry, mask in zip(entries, masks):
            entry['segmentation'] = mask
        return entries
