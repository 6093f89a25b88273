"""LVIS's average precision, for rare, common and frequent classes apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS

from .average_precision import IOU_TYPES, AveragePrecision, mean

FREQUENCIES = ('r', 'c', 'f')


@METRICS.register_module()
class OpenVocabLVISMetric(AveragePrecision):
    """LVIS's average precision of boxes and masks over all, rare, common and frequent classes.

    LVIS is annotated image by image for some classes only (Gupta et al., 2019). A prediction counts
    where its class is annotated in the image or listed in the image's `neg_category_ids`; elsewhere
    nobody looked. One that matches nothing does not count either where the class is in
    `not_exhaustive_category_ids`: it may be an object that nobody annotated.

    Besides the values of `AveragePrecision` there are `{bbox,segm}_APr`, `_APc` and `_APf`.

    Args:
        ann_file: LVIS v1's annotation file.
        metric: `'bbox'`, `'segm'` or both.
        max_per_img: So many predictions an image count at most, over all classes.
        collect_device: As for every MMEngine metric.
        prefix: As for every MMEngine metric.

    Raises:
        ImportError: If `faster-coco-eval` is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If `metric` is unknown, or the file lacks one of LVIS's fields.
    """

    default_prefix = 'lvis'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = IOU_TYPES,
        max_per_img: int = 300,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        try:
            import faster_coco_eval  # here: it takes a third of a second
        except ImportError as error:
            raise ImportError(
                'OpenVocabLVISMetric needs the package faster-coco-eval: '
                "pip install 'mmovsam[lvis]', or pip install 'faster-coco-eval>=1.8'"
            ) from error
        self._package = faster_coco_eval
        self.max_per_img = max_per_img
        super().__init__(ann_file, metric, collect_device, prefix)

    def _check(self, content: dict) -> None:
        super()._check(content)
        for category in content['categories']:
            if category['frequency'] not in FREQUENCIES:
                raise ValueError(
                    f'category {category["name"]!r} has frequency {category["frequency"]!r}, '
                    f'expected one of {", ".join(FREQUENCIES)}'
                )
        for image in content['images']:
            for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
                if not isinstance(image[key], list):
                    raise TypeError(f'image {image["id"]} has {key} {image[key]!r}, not a list')

    def _counting(self, image: dict) -> set:
        # faster-coco-eval drops the others too, but 1.8 fails on an image of which it drops all
        annotated = (each['category_id'] for each in self._ground_truth.imgToAnns[image['id']])
        return {*annotated, *image['neg_category_ids']}

    def _index(self, dataset: dict):
        return self._package.COCO(dataset)

    def _evaluator(self, ground_truth, detections, iou_type: str):
        evaluator = self._package.COCOeval_faster(
            ground_truth, detections, iou_type, lvis_style=True
        )
        evaluator.params.maxDets = [self.max_per_img]
        return evaluator

    def _summarize(self, precision: np.ndarray, category_ids: list) -> dict[str, float]:
        values = super()._summarize(precision, category_ids)
        for letter in FREQUENCIES:
            chosen = [
                i
                for i, number in enumerate(category_ids)
                if self._ground_truth.cats[number]['frequency'] == letter
            ]
            values[f'AP{letter}'] = mean(precision[:, :, chosen, 0])
        return values
