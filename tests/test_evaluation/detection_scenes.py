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
    return dict(
        images=[dict(image, height=SIDE, width=SIDE) for image in images],
        categories=categories,
        annotations=[
            dict(
                id=i,
                image_id=o['image'],
                category_id=o['category'],
                bbox=o['bbox'],
                area=o['area'],
                iscrowd=int(o['crowd']),
                segmentation=to_rle(o['mask']),
            )
            for i, o in enumerate(objects)
        ],
    )


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
    """Images, categories, objects and predictions, of all sizes and with equal scores."""
    random = np.random.default_rng(seed)
    categories = [
        dict(id=int(i), name=f'class {i}', frequency='rcf'[i % 3])
        for i in random.permutation([2, 3, 7, 8, 12])
    ]
    ids = [category['id'] for category in categories]
    images = [
        dict(
            id=int(i),
            neg_category_ids=random.choice(ids, 2, replace=False).tolist(),
            not_exhaustive_category_ids=random.choice(ids, 2, replace=False).tolist(),
        )
        for i in random.permutation([1, 4, 5])
    ]
    objects, predictions = [], []
    for image in images:
        for _ in range(random.integers(7)):
            bbox, mask = _random_mask(random, random.integers(0, 100, 2), random.integers(6, 60, 2))
            crowd = bool(crowds and random.random() < 0.2)
            objects.append(
                thing(image['id'], int(random.choice(ids)), bbox, crowd=crowd, mask=mask)
            )
        for _ in range(random.integers(12)):
            category, corner, size = random.choice(ids), random.integers(0, 100, 2), None
            if objects and random.random() < 0.8:
                near = objects[random.integers(len(objects))]
                category = near['category'] if random.random() < 0.8 else category
                corner, size = np.array(near['bbox'][:2]), np.array(near['bbox'][2:])
                corner = (corner + random.integers(-3, 4, 2)).clip(0)
            size = random.integers(6, 60, 2) if size is None else size + random.integers(-3, 4, 2)
            bbox, mask = _random_mask(random, corner, size)
            score = float(random.integers(1, 6)) / 5
            predictions.append(thing(image['id'], int(category), bbox, score, mask=mask))
    return images, categories, objects, predictions


def _random_mask(random, corner, size):
    """A box scaled up at random, so that all ranges of areas occur, with a hole in its mask."""
    scale = int(random.choice([1, 1, 2]))
    left, top = np.minimum(corner, SIDE - 8).tolist()
    width, height = (int(side) for side in np.minimum(size * scale, SIDE - corner.max()).clip(3))
    mask = rectangle((left, top, width, height))
    mask[top + 1 : top + 1 + int(random.integers(3)), left + 1 : left + width - 1] = False
    return [left, top, width, height], mask
