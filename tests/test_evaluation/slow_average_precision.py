"""Average precision by its definition, slowly: no code and no data structure of COCO's."""

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {
    '': (0, 1e10),
    's': (0, 32**2),
    'm': (32**2, 96**2),
    'l': (96**2, 1e10),
}


def box_iou(first, second):
    """IoU of two boxes xywh."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    overlap = max(width, 0) * max(height, 0)
    union = first[2] * first[3] + second[2] * second[3] - overlap
    return overlap / union, overlap / (first[2] * first[3])


def mask_iou(first, second):
    """IoU of two masks (H, W), and the share of the first that lies in the second."""
    overlap = np.count_nonzero(first & second)
    return overlap / np.count_nonzero(first | second), overlap / np.count_nonzero(first)


def average_precisions(images, category_ids, objects, predictions, kind, federated, max_per_img):
    """AP of each category, IoU threshold and range of areas.

    Args:
        images: dicts with `id` and, if federated, the two lists of category ids.
        category_ids: All of them.
        objects: dicts with `image`, `category`, `bbox` xywh, `mask`, `crowd`.
        predictions: The same, with `score` for `crowd`.
        kind: `'bbox'` or `'segm'`.
        federated: Whether LVIS's rule applies.
        max_per_img: So many predictions an image count.

    Returns:
        dict: (category, area's letter) to an array of a value for each threshold, or None.
    """
    kept = []
    for image in images:
        here = [p for p in predictions if p['image'] == image['id']]
        kept += sorted(here, key=lambda p: -p['score'])[:max_per_img]
    return {
        (category, letter): _of_category(
            sorted(images, key=lambda image: image['id']),
            category, [o for o in objects if o['category'] == category],
            [p for p in kept if p['category'] == category], AREAS[letter], kind, federated,
        )
        for category in category_ids
        for letter in AREAS
    }  # fmt: skip


def _of_category(images, category, objects, predictions, area_range, kind, federated):
    values = []
    for threshold in IOU_THRESHOLDS:
        rows, number = [], 0
        for image in images:
            here = [o for o in objects if o['image'] == image['id']]
            found = [p for p in predictions if p['image'] == image['id']]
            if federated and not here and category not in image['neg_category_ids']:
                continue
            incomplete = federated and category in image['not_exhaustive_category_ids']
            number += sum(not _ignored(o, area_range, kind) for o in here)
            rows += _match(here, found, threshold, area_range, kind, incomplete)
        if number == 0:
            return None
        rows = [row for row in sorted(rows, key=lambda row: -row[0]) if row[1] is not None]
        right = np.cumsum([hit for _, hit in rows])
        precision = right / np.arange(1, len(rows) + 1)
        recall = right / number
        values.append(
            np.mean([precision[recall >= r].max() if (recall >= r).any() else 0 for r in RECALLS])
        )
    return np.array(values)


def _area(thing, kind, annotated):
    if annotated or kind == 'bbox':
        return thing['area'] if annotated else thing['bbox'][2] * thing['bbox'][3]
    return np.count_nonzero(thing['mask'])


def _ignored(thing, area_range, kind):
    area = _area(thing, kind, annotated=True)
    return thing['crowd'] or area < area_range[0] or area > area_range[1]


def _match(objects, predictions, threshold, area_range, kind, incomplete):
    """(score, True, False or, if it does not count, None) of each prediction of an image."""
    taken = set()
    for prediction in sorted(predictions, key=lambda p: -p['score']):
        candidates = []
        for i, thing in enumerate(objects):
            if kind == 'bbox':
                ious = box_iou(prediction['bbox'], thing['bbox'])
            else:
                ious = mask_iou(prediction['mask'], thing['mask'])
            iou = ious[1] if thing['crowd'] else ious[0]
            if iou >= threshold and (thing['crowd'] or i not in taken):
                counts = not _ignored(thing, area_range, kind)
                candidates.append((counts, iou, i))
        if candidates:
            counts, _, i = max(candidates)
            taken.add(i)
            yield prediction['score'], True if counts else None
        else:
            area = _area(prediction, kind, annotated=False)
            outside = area < area_range[0] or area > area_range[1]
            yield prediction['score'], None if outside or incomplete else False
