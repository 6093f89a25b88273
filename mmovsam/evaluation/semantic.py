"""Semantic segmentation: maps of classes against annotated ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from mmdet.evaluation import SemSegMetric

IGNORED = -1


def semantic_scores(
    maps: Iterable[tuple[np.ndarray, np.ndarray]], names: Sequence[str]
) -> dict[str, float]:
    """MMDetection's `SemSegMetric` of some images, which also logs a table of the classes.

    Args:
        maps: For each image predicted and annotated classes, `(H, W)` whole numbers from 0. Where
            the annotation is -1 nothing counts; a prediction of -1 is wrong.
        names: Of the classes.

    Returns:
        In percent: `mIoU`, the mean over classes of the intersection over union of all images;
        `mAcc`, that of the accuracy; `aAcc`, the accuracy over all pixels. Classes that are
        neither predicted nor annotated do not count.
    """
    metric = SemSegMetric()
    metric.dataset_meta = dict(classes=tuple(names))
    for predicted, annotated in maps:
        sample = dict(
            pred_sem_seg=dict(sem_seg=torch.from_numpy(predicted), ignore_index=IGNORED),
            gt_sem_seg=dict(sem_seg=torch.from_numpy(annotated)),
        )
        metric.process({}, [sample])
    scores = metric.compute_metrics(metric.results)
    # MMDetection's own aAcc is the mean over classes once more
    right, pixels = (
        sum(float(each[key].sum()) for each in metric.results)
        for key in ('area_intersect', 'area_label')
    )
    return {key: float(scores[key]) for key in ('mIoU', 'mAcc')} | {
        'aAcc': round(100 * right / max(pixels, 1), 2)
    }
