"""Average precision of boxes and masks by COCO's and LVIS's rules, also for groups of classes."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import chain

import numpy as np
from mmdet.registry import METRICS
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..datasets.annotations import (
    box,
    box_area,
    entries,
    flag,
    group_by_image,
    id_list,
    image_size,
    is_inside,
    left_out,
    name_of,
    segmentation,
    sort_categories,
    text,
)
from ..datasets.files import check_files
from ..fileio import read_json
from ..logs import log_table, warn
from ..prompts.boxes import check_units
from .open_vocab_metric import to_numpy

IOU_TYPES = ('bbox', 'segm')
CLASSES_AT_ONCE = 64  # classes are independent, and memory grows with images times classes
AREAS = ('', 's', 'm', 'l')  # in the order of COCO's evaluation
FREQUENCIES = ('r', 'c', 'f')


@METRICS.register_module()
class OpenVocabCocoMetric(BaseMetric):
    """COCO's average precision of boxes and masks over all, base and novel classes.

    Ground truth is all of the annotation file, but for masks without area, which are left out with
    a warning. An `area` that is missing, null or 0 becomes that of the box; annotations with
    `ignore` are treated as crowds. Images that were not tested do not count. Masks of predictions
    are stored run-length encoded.

    The values, 0 to 1, are `{bbox,segm}_AP` (mean over IoU 0.5 to 0.95), `_AP50`, `_AP75`, and
    `_APs`, `_APm`, `_APl` of small, medium and large objects. Each is a mean over the
    classes with objects in the tested images, -1 if there are none. Where the dataset's metainfo
    has `novel` (True, False, or None for a class that is neither) there are also
    `{bbox,segm}_AP_base`, `_AP50_base`, `_AP_novel` and `_AP50_novel`. At most 100 predictions per
    class and image count.

    Args:
        ann_file: Annotation file of the tested dataset, in COCO's JSON layout.
        metric: `'bbox'`, `'segm'` or both.
        **kwargs: See `BaseMetric`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If `metric` is unknown, or the file is malformed.
    """

    default_prefix = 'coco'
    max_per_img: int | None = None  # predictions over all classes

    def __init__(self, ann_file: str, metric: str | Sequence[str] = IOU_TYPES, **kwargs) -> None:
        super().__init__(**kwargs)
        self.metrics = (metric,) if isinstance(metric, str) else tuple(metric)
        if not self.metrics or set(self.metrics) - set(IOU_TYPES):
            raise ValueError(f"metric is {metric!r}, expected 'bbox', 'segm' or both")
        self.ann_file = ann_file
        self._remedy = f"Set ann_file of {type(self).__name__} to the tested dataset's own."
        check_files([(ann_file, self._remedy)], type(self).__name__)
        # only the main process computes
        self._ground_truth = self._read() if is_main_process() else None

    def process(self, data_batch: dict | None, data_samples: Sequence[dict]) -> None:
        """Store the predictions of some images.

        Args:
            data_batch: Not used.
            data_samples: With `img_id` and `pred_instances` (`bboxes` (N, 4) xyxy, `scores`,
                `labels` and, for `'segm'`, `masks`: (N, H, W) bool or COCO RLEs), in original
                pixels.
        """
        for data_sample in data_samples:
            pred = data_sample['pred_instances']
            scores = to_numpy(pred['scores'])
            order = np.argsort(-scores, kind='stable')[: self.max_per_img]
            bboxes = to_numpy(pred['bboxes'])[order].astype(float)
            bboxes[:, 2:] -= bboxes[:, :2]
            sizes, counts = set(), []
            if 'segm' in self.metrics:
                if 'masks' not in pred:
                    raise ValueError(
                        f'image {data_sample["img_id"]}: predictions have no masks; set '
                        f"{type(self).__name__}(metric='bbox')"
                    )
                masks = [_to_rle(pred['masks'][i]) for i in order.tolist()]
                sizes = {tuple(mask['size']) for mask in masks}
                counts = [mask['counts'] for mask in masks]
            labels = to_numpy(pred['labels'])[order]
            self.results.append(
                (data_sample['img_id'], labels, scores[order], bboxes, sizes, counts)
            )

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Values by name, without prefix; they are also logged as a table.

        Args:
            results: For each image its id and its predictions' labels, scores, boxes (xywh), and
                sizes and counts of the masks' RLEs.

        Raises:
            ValueError: If an image or class is not in the annotation file, a label is out of
                range, or a mask does not have its image's size.
        """
        category_ids = self._category_ids()
        sorted_ids = sorted(category_ids)
        images = {image['id']: image for image in self._ground_truth.dataset['images']}
        unknown = {img_id for img_id, *_ in results} - set(images)
        if unknown:
            raise ValueError(
                f'image {unknown.pop()!r} was tested but is not in {self.ann_file}. {self._remedy}'
            )
        if len(results) < len(images):
            warn(
                f'Average precision over {len(results)} of the {len(images)} images of '
                f'{self.ann_file}: the others were not tested'
            )
        columns = {category_id: column for column, category_id in enumerate(sorted_ids)}
        results = [self._select(images[r[0]], category_ids, columns, *r) for r in results]
        metrics, rows = {}, defaultdict(list)
        for iou_type in self.metrics:
            precision = self._precision(results, sorted_ids, iou_type)
            for key, value in self._summarize(precision, sorted_ids).items():
                metrics[f'{iou_type}_{key}'] = value
                rows[key].append(f'{value:.3f}')
        log_table(self.metrics, rows)
        return metrics

    def _index(self, dataset: dict):
        """A `COCO` object of the evaluation's package, of a dict in COCO's JSON layout."""
        index = COCO()
        index.dataset = dataset
        index.createIndex()
        return index

    def _evaluator(self, ground_truth, detections, iou_type: str):
        return COCOeval(ground_truth, detections, iou_type)

    def _groups(self, category_ids: list) -> dict[str, list[bool]]:
        """Masks over the classes, in order of id, of the groups that have their own values."""
        novel = self.dataset_meta.get('novel')
        if novel is None:
            return {}
        flags = dict(zip(self._category_ids(), novel))
        kinds = dict(_base=False, _novel=True)
        return {key: [flags[i] == kind for i in category_ids] for key, kind in kinds.items()}

    def _summarize(self, precision: np.ndarray, category_ids: list) -> dict[str, float]:
        """Means over precision `(IoU thresholds, recalls, classes in order of id, areas)`."""
        values = {f'AP{area}': _mean(precision[..., i]) for i, area in enumerate(AREAS)}
        strict = {'AP50': _mean(precision[0, ..., 0]), 'AP75': _mean(precision[5, ..., 0])}
        values = {'AP': values.pop('AP'), **strict, **values}
        for suffix, mask in self._groups(category_ids).items():
            values[f'AP{suffix}'] = _mean(precision[:, :, mask, 0])
            if suffix.startswith('_'):
                values[f'AP50{suffix}'] = _mean(precision[0, :, mask, 0])
        return values

    def _check(self, images: list[dict], categories: list[dict]) -> None:
        """Raise a ValueError if the file lacks what a subclass needs."""

    def _read(self):
        content = read_json(self.ann_file, self._remedy)
        try:
            images, annotations, categories = entries(
                content, 'images', 'annotations', 'categories'
            )
            sort_categories(categories)
            group_by_image(images, annotations, categories)
            self._check(images, categories)
            sizes = {image['id']: image_size(image, f'image {image["id"]}') for image in images}
            annotations = [self._annotation(annotation, sizes) for annotation in annotations]
            count = len(annotations)
            check_units([annotation['bbox'] for annotation in annotations])
            empty = [a for a in annotations if a.get('segmentation') == []]
            annotations = [a for a in annotations if a.get('segmentation') != []]
            if empty:
                message = left_out(empty, count, 'their masks have no area')
                if not annotations:
                    raise ValueError(
                        f"{message}; correct them, or set {type(self).__name__}(metric='bbox')"
                    )
                warn(f'{self.ann_file}: {message}')
            outside = [a for a in annotations if not is_inside(a['bbox'], *sizes[a['image_id']])]
            if outside:
                warn(
                    f'{self.ann_file}: {len(outside)} of {count} annotations '
                    f'({name_of(outside[0])} ...) have no box inside their image, '
                    'and no prediction can match them'
                )
        except ValueError as error:
            raise ValueError(f'{self.ann_file}: {error}') from None
        # ids may be missing, and COCOeval takes 0 for unmatched
        annotations = [{**annotation, 'id': i} for i, annotation in enumerate(annotations, 1)]
        return self._index({**content, 'annotations': annotations})

    def _annotation(self, annotation: dict, sizes: dict) -> dict:
        where = name_of(annotation)
        result = dict(
            id=annotation.get('id', 'without id'),
            image_id=annotation['image_id'],
            category_id=annotation['category_id'],
            bbox=box(annotation, where),
            area=box_area(annotation, where),
            iscrowd=int(flag(annotation, 'iscrowd', where) or flag(annotation, 'ignore', where)),
        )
        if 'segm' in self.metrics:
            result['segmentation'] = segmentation(annotation, where, *sizes[result['image_id']])
            if result['segmentation'] is None:
                raise ValueError(
                    f'{where} has no segmentation; correct it, or set '
                    f"{type(self).__name__}(metric='bbox')"
                )
        return result

    def _category_ids(self) -> list:
        """The category id of each label."""
        by_name = {c['name']: c['id'] for c in self._ground_truth.dataset['categories']}
        classes = (self.dataset_meta or {}).get('classes', ())
        unknown = [name for name in classes if name not in by_name]
        if unknown or not classes:
            raise ValueError(
                f'the tested dataset has {len(classes)} classes, of which {self.ann_file} does not '
                f'have {", ".join(map(repr, unknown[:5])) or "any"}. {self._remedy}'
            )
        return [by_name[name] for name in classes]

    def _evaluated_categories(self, image: dict) -> Container:
        """Ids of the categories whose predictions count in an image."""
        return self._ground_truth.cats

    def _select(
        self,
        image: dict,
        category_ids: list,
        columns: dict,
        img_id,
        labels: np.ndarray,
        scores: np.ndarray,
        bboxes: np.ndarray,
        sizes: set,
        counts: list,
    ) -> tuple:
        """The predictions of an image that count, with columns of precision for labels."""
        size = image['height'], image['width']
        unknown = labels[(labels < 0) | (labels >= len(category_ids))]
        if len(unknown):
            raise ValueError(
                f'image {img_id}: a prediction has label {unknown[0]}, but the tested dataset has '
                f'{len(category_ids)} classes; give model and dataset the same classes'
            )
        for mask_size in sizes - {size}:
            raise ValueError(
                f'image {img_id}: a predicted mask has size {list(mask_size)}, the annotated image '
                f'{list(size)}; predict at the original size'
            )
        evaluated = self._evaluated_categories(image)
        rows = [i for i, label in enumerate(labels.tolist()) if category_ids[label] in evaluated]
        classes = np.array([columns[category_ids[label]] for label in labels[rows].tolist()], int)
        counts = counts and [counts[i] for i in rows]
        return img_id, list(size), classes, scores[rows], bboxes[rows], counts

    def _precision(self, results: list, category_ids: list, iou_type: str) -> np.ndarray:
        precisions, tested = [], {img_id for img_id, *_ in results}
        for start in range(0, len(category_ids), CLASSES_AT_ONCE):
            chunk = category_ids[start : start + CLASSES_AT_ONCE]
            detections = []
            for img_id, size, classes, scores, bboxes, counts in results:
                in_chunk = (classes >= start) & (classes < start + len(chunk))
                for i in np.flatnonzero(in_chunk).tolist():
                    detection = dict(
                        id=len(detections) + 1,
                        image_id=img_id,
                        category_id=category_ids[classes[i]],
                        score=float(scores[i]),
                        bbox=bboxes[i].tolist(),
                        area=float(bboxes[i, 2] * bboxes[i, 3]),
                        iscrowd=0,
                    )
                    if iou_type == 'segm':
                        mask = dict(size=size, counts=counts[i])
                        detection.update(segmentation=mask, area=float(coco_mask.area(mask)))
                    detections.append(detection)
            # images without objects or predictions of these classes make no difference
            annotated = (self._ground_truth.catToImgs.get(i, ()) for i in chunk)
            used = {*chain(*annotated), *(d['image_id'] for d in detections)} & tested
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
                index = self._index({**self._ground_truth.dataset, 'annotations': detections})
                evaluator = self._evaluator(self._ground_truth, index, iou_type)
                evaluator.params.imgIds = sorted(used or tested)
                evaluator.params.catIds = chunk
                evaluator.evaluate()
                evaluator.accumulate()
            precisions.append(evaluator.eval['precision'][..., -1])
            del detections, index, evaluator  # frees memory before the next chunk
        return np.concatenate(precisions, axis=2)


def _mean(precision: np.ndarray) -> float:
    """Mean precision of the classes with objects, -1 if there are none."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0


def _to_rle(mask) -> dict:
    if isinstance(mask, dict):
        return mask
    return coco_mask.encode(np.asfortranarray(to_numpy(mask), np.uint8))


@METRICS.register_module()
class OpenVocabLVISMetric(OpenVocabCocoMetric):
    """LVIS's average precision of boxes and masks over all, rare, common and frequent classes.

    Each image of LVIS is annotated for some classes only (Gupta et al., 2019). A prediction counts
    where its class is annotated in the image or in its `neg_category_ids`. An unmatched one does
    not count where its class is in `not_exhaustive_category_ids`, as it may be an object without
    annotation.

    Values of frequencies, `{bbox,segm}_APr`, `_APc` and `_APf`, replace those of base and novel.

    Args:
        max_per_img: Largest number of predictions of an image, over all classes.
        *args: See `OpenVocabCocoMetric`; `ann_file` is LVIS v1's.
        **kwargs: See `OpenVocabCocoMetric`.

    Raises:
        ImportError: If `faster-coco-eval` is not installed.
    """

    default_prefix = 'lvis'

    def __init__(self, *args, max_per_img: int = 300, **kwargs) -> None:
        try:
            import faster_coco_eval  # slow to import
        except ImportError as error:
            raise ImportError(
                'OpenVocabLVISMetric needs the package faster-coco-eval: '
                "pip install 'mmovsam[lvis]', or pip install 'faster-coco-eval>=1.8'"
            ) from error
        self._package = faster_coco_eval
        self.max_per_img = max_per_img
        super().__init__(*args, **kwargs)

    def _check(self, images: list[dict], categories: list[dict]) -> None:
        for category in categories:
            if text(category, 'frequency', f'category {category["name"]!r}') not in FREQUENCIES:
                raise ValueError(
                    f'category {category["name"]!r} has frequency {category["frequency"]!r}, '
                    f'expected one of {", ".join(FREQUENCIES)}'
                )
        for image in images:
            for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
                id_list(image, key)

    def _evaluated_categories(self, image: dict) -> set:
        # faster-coco-eval drops the others too, but 1.8 fails where it drops all of an image
        annotated = (a['category_id'] for a in self._ground_truth.imgToAnns[image['id']])
        return {*annotated, *image['neg_category_ids']}

    def _index(self, dataset: dict):
        return self._package.COCO(dataset)

    def _evaluator(self, ground_truth, detections, iou_type: str):
        evaluator = self._package.COCOeval_faster(
            ground_truth, detections, iou_type, lvis_style=True
        )
        evaluator.params.maxDets = [self.max_per_img]
        return evaluator

    def _groups(self, category_ids: list) -> dict[str, list[bool]]:
        frequencies = [self._ground_truth.cats[i]['frequency'] for i in category_ids]
        return {
            letter: [frequency == letter for frequency in frequencies] for letter in FREQUENCIES
        }
