"""Made-up scenes: annotated objects and predictions."""

import numpy as np
import torch
from pycocotools import mask as coco_mask

SIDE = 160


def rectangle(bbox):
    left, top, width, height = bbox
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def thing(image, category, bbox, score=None, crowd=False, mask=None):
    """An object (without score) or a prediction; its mask is the whole box by default."""
    mask = rectangle(bbox) if mask is None else mask
    found = dict(image=image, category=category, bbox=list(bbox), mask=mask)
    if score is None:
        return dict(found, crowd=crowd, area=int(mask.sum()))
    return dict(found, score=score)


def to_rle(mask, text=True):
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(rle, counts=rle['counts'].decode()) if text else rle


def annotation_file(images, categories, objects):
    """The content of a file in COCO's layout; its ids begin with 0."""
    annotations = [
        dict(id=i, image_id=o['image'], category_id=o['category'], bbox=o['bbox'], area=o['area'],
             iscrowd=int(o['crowd']), segmentation=to_rle(o['mask']))
        for i, o in enumerate(objects)
    ]  # fmt: skip
    images = [dict(image, height=SIDE, width=SIDE) for image in images]
    return dict(images=images, categories=categories, annotations=annotations)


def data_sample(image, predictions, labels):
    """What a detector gives for one image; `labels` maps category ids to labels."""
    here = [p for p in predictions if p['image'] == image]
    bboxes = torch.tensor([p['bbox'] for p in here], dtype=torch.float32).reshape(-1, 4)
    bboxes[:, 2:] += bboxes[:, :2]
    masks = np.array([p['mask'] for p in here], bool).reshape(-1, SIDE, SIDE)
    pred = dict(
        bboxes=bboxes,
        scores=torch.tensor([p['score'] for p in here], dtype=torch.float64),
        labels=torch.tensor([labels[p['category']] for p in here], dtype=torch.int64),
        masks=torch.from_numpy(masks),
    )
    return dict(img_id=image, pred_instances=pred)


def random_scene(seed, crowds):
    """Images, categories, objects and predictions near them, of all sizes and with equal scores."""
    print('seed', seed)
    random = np.random.default_rng(seed)
    ids = [7, 2, 12, 3, 8]
    categories = [dict(id=i, name=f'class {i}', frequency='rcf'[i % 3]) for i in ids]
    lists = dict(neg_category_ids=[2, 12], not_exhaustive_category_ids=[3, 7])
    images = [dict(id=i, **lists) for i in (4, 1, 5)]
    objects, predictions = [], []
    for image in images:
        for _ in range(6):
            category = int(random.choice(ids))
            bbox = [*random.integers(0, 40, 2).tolist(), *random.choice([9, 40, 99], 2).tolist()]
            crowd = bool(crowds and random.random() < 0.2)
            mask = rectangle([*bbox[:3], bbox[3] * 2 // 3])
            objects.append(thing(image['id'], category, bbox, crowd=crowd, mask=mask))
            for _ in range(2):
                near = (np.array(bbox) + random.integers(0, 4, 4)).tolist()
                named = category if random.random() < 0.8 else 7
                score = float(random.integers(1, 6)) / 5
                predictions.append(thing(image['id'], named, near, score))
    return images, categories, objects, predictions
