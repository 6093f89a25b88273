"""Metrics of semantic segmentation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from mmdet.evaluation import SemSegMetric

IGNORED = -1


def semantic_scores(
    maps: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int
) -> dict[str, float | np.ndarray]:
    """The scores of MMDetection's `SemSegMetric`.

    Args:
        maps: Predicted and annotated class indices `(H, W)` of each image. Pixels annotated as -1
            are ignored; a prediction of -1 is wrong.
        num_classes: K.

    Returns:
        In percent: `IoU` and `Acc`, `(K,)`, over all images, NaN for classes that do not occur;
        their means `mIoU` and `mAcc`; and `aAcc`, the accuracy over all pixels.
    """
    metric = SemSegMetric()
    metric.dataset_meta = dict(classes=range(num_classes))
    for predicted, annotated in maps:
        sample = dict(
            pred_sem_seg=dict(sem_seg=torch.from_numpy(predicted), ignore_index=IGNORED),
            gt_sem_seg=dict(sem_seg=torch.from_numpy(annotated)),
        )
        metric.process({}, [sample])
    per_class = metric.get_return_metrics(metric.results)
    scores = {key: 100 * per_class[key].astype(float) for key in ('IoU', 'Acc')}
    scores.update({f'm{key}': float(np.nanmean(values)) for key, values in scores.items()})
    # MMDetection's aAcc repeats the accuracy of each class
    correct, pixels = (
        sum(float(areas[key].sum()) for areas in metric.results)
        for key in ('area_intersect', 'area_label')
    )
    return dict(scores, aAcc=100 * correct / max(pixels, 1))
