"""Scenes of the small world, and masks as results have them."""

from types import SimpleNamespace

import numpy as np
from mini_world import CATEGORIES, draw_scene
from pycocotools import mask as coco_mask


def scene(seed, index=0):
    """A scene that training never saw: image, masks `(N, H, W)` bool, their names and boxes."""
    print(f'seed {seed}')
    drawn = draw_scene(np.random.default_rng([seed, index]), 'test')
    masks = drawn.masks.astype(bool)
    names = [CATEGORIES[category - 1].name for category in drawn.category_ids]
    return SimpleNamespace(image=drawn.image, masks=masks, names=names, boxes=boxes_of(masks))


def boxes_of(masks):
    """`(N, 4)` xyxy."""
    places = [np.nonzero(mask) for mask in masks]
    return np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in places])


def rle(mask):
    """A mask in COCO's compressed form, as JSON has it."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(encoded['size']), counts=encoded['counts'].decode())


def mask_of(thing):
    """The mask of an object with run lengths, `(H, W)` bool."""
    return coco_mask.decode(thing['segmentation']).astype(bool)
