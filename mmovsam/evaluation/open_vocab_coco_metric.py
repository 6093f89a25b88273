"""COCO's average precision, for base and novel classes apart."""

from __future__ import annotations

import numpy as np
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .average_precision import AveragePrecision, mean


@METRICS.register_module()
class OpenVocabCocoMetric(AveragePrecision):
    """COCO's average precision of boxes and masks over all, base and novel classes.

    Besides the values of `AveragePrecision` there are `{bbox,segm}_AP_base`, `_AP50_base`,
    `_AP_novel` and `_AP50_novel` where the dataset's metainfo has `novel` (True, False, or None for
    a class that is neither). At most 100 predictions a class and image count. Arguments are those
    of `AveragePrecision`.
    """

    default_prefix = 'coco'

    def _index(self, dataset: dict) -> COCO:
        index = COCO()
        index.dataset = dataset
        index.createIndex()
        return index

    def _evaluator(self, ground_truth: COCO, detections: COCO, iou_type: str) -> COCOeval:
        return COCOeval(ground_truth, detections, iou_type)

    def _summarize(self, precision: np.ndarray, category_ids: list) -> dict[str, float]:
        values = super()._summarize(precision, category_ids)
        novel = (self.dataset_meta or {}).get('novel')
        if novel is None:
            return values
        flags = dict(zip(self._category_ids(), novel))
        for name, wanted in (('base', False), ('novel', True)):
            chosen = [i for i, number in enumerate(category_ids) if flags[number] == wanted]
            values[f'AP_{name}'] = mean(precision[:, :, chosen, 0])
            values[f'AP50_{name}'] = mean(precision[0, :, chosen, 0])
        return values
