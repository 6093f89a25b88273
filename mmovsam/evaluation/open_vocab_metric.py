"""Mask IoU and accuracy over annotated objects, for base and novel classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation import bbox_overlaps
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from pycocotools import mask as coco_mask
from torch import Tensor

from ..logs import log_table
from ..prompts.sampling import masks_to_numpy
from ..validation import require_choice


def to_numpy(value) -> np.ndarray:
    """A tensor, MMDetection's boxes or a sequence as an array."""
    value = getattr(value, 'tensor', value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _mask(masks, i: int) -> np.ndarray:
    """Mask `i` `(H, W)` bool of a tensor, an array, COCO RLEs, or MMDetection's mask classes."""
    if not isinstance(masks, list | tuple):
        return masks_to_numpy(masks[i : i + 1])[0].astype(bool)
    mask = dict(masks[i])
    if isinstance(mask['counts'], list):
        mask = coco_mask.frPyObjects(mask, *mask['size'])
    return coco_mask.decode(mask).astype(bool)


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks `(H, W)` bool, 0 to 1; 0 if both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


@METRICS.register_module()
class OpenVocabMetric(BaseMetric):
    """Mask IoU and accuracy, as means over annotated objects: overall, base and novel.

    The values are `IoU` (0 to 1) and the top-1 and top-5 accuracies `acc` and `acc5` (percent),
    each also as `_base` and `_novel` where the dataset's metainfo has `novel` (True, False, or None
    for a class that is neither). A mean over no object is NaN. There is no `acc5` where predictions
    have no `topk_labels`.

    Args:
        match: How predictions are matched to annotated objects. `'order'`: prediction i to object
            i, for prompts from annotations. `'iou'`: to each object the prediction with the best
            box IoU of at least `iou_thr`, for prompts from a detector; an object without one
            counts as IoU 0 and as misclassified.
        iou_thr: Least box IoU of a match.
        with_labels: Whether to report accuracies; False for a model without names.
        **kwargs: See `BaseMetric`.

    Raises:
        ValueError: If `match` is unknown.
    """

    default_prefix = 'open_vocab'

    def __init__(
        self, match: str = 'order', iou_thr: float = 0.5, with_labels: bool = True, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        require_choice(('order', 'iou'), match=match)
        self.match = match
        self.iou_thr = iou_thr
        self.with_labels = with_labels

    def process(self, data_batch: dict | None, data_samples: Sequence[dict]) -> None:
        """Score the objects of some images.

        Args:
            data_batch: Not used.
            data_samples: With `gt_instances` (`bboxes`, `labels`, `masks`) and `pred_instances`
                (`bboxes`, `labels`, `masks`, and `topk_labels` (N, k) if there are any), in
                original pixels. Masks are (N, H, W) bool, COCO RLEs, or MMDetection's.

        Raises:
            ValueError: If an image has no annotations loaded, or, matching by order, another
                number of predictions than of annotated objects.
        """
        # one entry per image, also without objects: MMEngine sorts and truncates the results of
        # several processes by the number of images
        self.results.extend(self._score_image(data_sample) for data_sample in data_samples)

    def _score_image(self, data_sample: dict) -> list[tuple[int, float, bool, bool | None]]:
        gt, pred = data_sample.get('gt_instances', {}), data_sample['pred_instances']
        name = data_sample.get('img_path', data_sample.get('img_id'))
        if 'labels' not in gt or 'masks' not in gt:
            raise ValueError(
                f'OpenVocabMetric needs labels and masks of image {name}: add '
                "dict(type='LoadAnnotations', with_bbox=True, with_mask=True) to the test pipeline "
                'after Resize. Results of `tools/test.py --out` hold no annotations: test anew.'
            )
        scores = []
        for i, j in enumerate(self._matches(gt, pred, name)):
            label, iou, top1, top5 = int(gt['labels'][i]), 0.0, False, False
            if j is not None:
                iou = self._iou(gt['masks'], i, pred['masks'], j, name)
                top1 = self.with_labels and label == int(pred['labels'][j])
                top5 = None
                if self.with_labels and 'topk_labels' in pred:
                    top5 = label in to_numpy(pred['topk_labels'][j])[:5].tolist()
            scores.append((label, iou, top1, top5))
        return scores

    def _matches(self, gt: dict, pred: dict, name) -> list[int | None]:
        """For each annotated object the index of its prediction, or None."""
        n, m = len(gt['labels']), len(pred['masks'])
        if self.match == 'order':
            if n != m:
                raise ValueError(
                    f'image {name} has {n} annotated objects and {m} predictions; they correspond '
                    "only with GTPrompter, for other prompts set OpenVocabMetric(match='iou')"
                )
            return list(range(n))
        if not n or not m:
            return [None] * n
        ious = bbox_overlaps(to_numpy(gt['bboxes']), to_numpy(pred['bboxes']))
        return [int(row.argmax()) if row.max() >= self.iou_thr else None for row in ious]

    @staticmethod
    def _iou(gt_masks, i: int, pred_masks, j: int, name) -> float:
        first, second = _mask(gt_masks, i), _mask(pred_masks, j)
        if first.shape != second.shape:
            raise ValueError(
                f'image {name}: a predicted mask has shape {second.shape}, the annotated one '
                f'{first.shape}; load annotations after Resize, so that they stay at original size'
            )
        return mask_iou(first, second)

    def compute_metrics(self, results: list[list[tuple]]) -> dict[str, float]:
        """Means over objects by name, without prefix; they are also logged as a table.

        Args:
            results: For each image its objects' `(label, iou, top1, top5)`.
        """
        objects = [scores for image in results for scores in image]
        labels = np.array([label for label, *_ in objects], dtype=int)
        values = {'IoU': np.array([iou for _, iou, _, _ in objects], dtype=float)}
        if self.with_labels:
            values['acc'] = np.array([100.0 * top1 for _, _, top1, _ in objects])
            if all(top5 is not None for *_, top5 in objects):
                values['acc5'] = np.array([100.0 * top5 for *_, top5 in objects])
        groups = self._groups(labels)
        metrics = {
            key + suffix: float(scores[mask].mean()) if mask.any() else float('nan')
            for key, scores in values.items()
            for suffix, mask in groups.items()
        }
        rows = {
            suffix[1:] or 'all': [
                str(mask.sum()),
                *(f'{metrics[key + suffix]:.{3 if key == "IoU" else 1}f}' for key in values),
            ]
            for suffix, mask in groups.items()
        }
        log_table(['objects', *values], rows)
        return metrics

    def _groups(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        groups = {'': np.ones(len(labels), dtype=bool)}
        novel = (self.dataset_meta or {}).get('novel')
        if novel is not None:
            if len(labels) and labels.max() >= len(novel):
                raise ValueError(
                    f"the dataset's metainfo has {len(novel)} entries in 'novel' but an object has "
                    f'label {labels.max()}; give one for each class'
                )
            is_base = np.array([flag is not None and not flag for flag in novel])
            groups.update(_base=is_base[labels], _novel=np.array(novel, bool)[labels])
        return groups
