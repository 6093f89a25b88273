"""Semantic segmentation: maps of classes against annotated ones."""

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
        maps: For each image predicted and annotated classes, `(H, W)` whole numbers from 0. Where
            the annotation is -1 nothing counts; a prediction of -1 is wrong.
        num_classes: K.

    Returns:
        In percent: `IoU` and `Acc`, `(K,)`, intersection over union and accuracy of each class in
        all images, NaN for one that is not there; `mIoU` and `mAcc`, their means; `aAcc`, the
        accuracy over all pixels.
    """
    metric = SemSegMetric()
    metric.dataset_meta = dict(classes=range(num_classes))
    for predicted, annotated in maps:
        sample = dict(
            pred_sem_seg=dict(sem_seg=torch.from_numpy(predicted), ignore_index=IGNORED),
            gt_sem_seg=dict(sem_seg=torch.from_numpy(annotated)),
        )
        metric.process({}, [sample])
    of_classes = metric.get_return_metrics(metric.results)
    scores = {key: 100 * of_classes[key].astype(float) for key in ('IoU', 'Acc')}
    scores.update({f'm{key}': float(np.nanmean(values)) for key, values in scores.items()})
    # MMDetection's own aAcc is that of each class once more
    right, pixels = (
        sum(float(each[key].sum()) for each in metric.results)
        for key in ('area_intersect', 'area_label')
    )
    return dict(scores, aAcc=100 * right / max(pixels, 1))
