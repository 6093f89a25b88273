"""Scenes: several objects on a background, partly hidden by each other."""

from dataclasses import dataclass

import cv2
import numpy as np

from .backgrounds import add_noise, draw_background
from .categories import CATEGORIES
from .drawing import draw_object

SPLITS = ('train', 'val', 'test')
_LONG_SIDE = 320
_SHORT_SIDES = (224, 320)
_NUM_OBJECTS = (3, 10)
_SIZES = (48.0, 144.0)
_MIN_DIGIT_SIZE = 64.0
_TILT = (15.0, 30.0)  # degrees at most, of digits and of drawn shapes
_MIN_VISIBLE = 0.8  # share of an object's area
_MIN_AREA = 200  # pixels
_NOVEL_SHARE = 1 / 3  # of the objects in val and test
_TRIES = 12
_POOLS = {letter: [c for c in CATEGORIES if c.frequency == letter] for letter in 'rcf'}


@dataclass
class Scene:
    """A drawn scene.

    Args:
        image: (H, W, 3) uint8 RGB.
        category_ids: Category id of each of the N objects, from 1.
        masks: (N, H, W) bool, the visible pixels of each object; no two overlap.
    """

    image: np.ndarray
    category_ids: list
    masks: np.ndarray

    @property
    def bboxes(self):
        """Boxes `[x1, y1, x2, y2]` of the visible pixels of the objects."""
        bboxes = []
        for mask in self.masks:
            rows, columns = np.nonzero(mask)
            bboxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return np.array(bboxes).tolist()


def draw_scene(rng, split):
    """A scene of 3 to 10 objects, its long side 320 pixels, its short side 224 to 320.

    Training scenes hold base categories only. In validation and test scenes a third of the objects
    are novel.
    """
    if split not in SPLITS:
        raise ValueError(f'split is {split!r}, expected one of {", ".join(map(repr, SPLITS))}')
    short = int(rng.integers(_SHORT_SIDES[0], _SHORT_SIDES[1] + 1))
    width, height = (_LONG_SIDE, short) if rng.random() < 0.6 else (short, _LONG_SIDE)
    image = draw_background(rng, width, height, split)
    num_objects = int(rng.integers(_NUM_OBJECTS[0], _NUM_OBJECTS[1] + 1))
    return add_objects(rng, image, split, num_objects, at_least=_NUM_OBJECTS[0])


def add_objects(rng, image, split, num_attempts, at_least=0):
    """A scene of objects on a background `(H, W, 3)`; objects without room are left out."""
    owner = np.zeros(image.shape[:2], np.uint16)  # number of the visible object, 0 for none
    areas, category_ids = [], []
    attempts = 0
    while attempts < num_attempts or len(areas) < at_least:
        attempts += 1
        category = _draw_category(rng, split)
        pose = draw_pose(rng, category)
        colors, alpha = draw_object(rng, category, *pose, held_out=split == 'test')
        if _place(rng, image, owner, areas, colors, alpha):
            category_ids.append(category.id)
    image = add_noise(rng, _shade(rng, image))
    masks = np.stack([owner == number for number in range(1, len(areas) + 1)])
    return Scene(image, category_ids, masks)


def draw_pose(rng, category):
    """An object's size in pixels and rotation in degrees; digits are larger and more upright."""
    low = _MIN_DIGIT_SIZE if category.is_digit else _SIZES[0]
    size = float(np.exp(rng.uniform(np.log(low), np.log(_SIZES[1]))))
    tilt = _TILT[0 if category.is_digit else 1]
    return size, float(rng.uniform(-tilt, tilt))


def paste(image, colors, alpha, left, top):
    """Blend an object into an image `(H, W, 3)` uint8 in place, clipped to it.

    `colors` are (h, w, 3) uint8, `alpha` is (h, w) in [0, 1], `left` and `top` may be negative.
    """
    window, inside = overlap(image.shape, alpha.shape, left, top)
    weight = alpha[inside][..., None]
    below = image[window].astype(np.float32)
    image[window] = np.rint(below + weight * (colors[inside] - below)).astype(np.uint8)


def overlap(canvas, patch, left, top):
    """Slices of a canvas `(H, W)` and a patch `(h, w)` where they overlap, perhaps empty."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = max(min(left + patch[1], canvas[1]), x0), max(min(top + patch[0], canvas[0]), y0)
    inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    return (slice(y0, y1), slice(x0, x1)), inside


def _place(rng, image, owner, areas, colors, alpha):
    """Paste an object where enough of all objects stays visible; returns whether there is room."""
    solid = alpha > 0.5
    area = int(solid.sum())
    height, width = owner.shape
    min_visible = [max(_MIN_VISIBLE * other_area, _MIN_AREA) for other_area in areas]
    for _ in range(_TRIES):
        left = int(rng.integers(width)) - alpha.shape[1] // 2
        top = int(rng.integers(height)) - alpha.shape[0] // 2
        window, inside = overlap(owner.shape, alpha.shape, left, top)
        covered = solid[inside]
        if covered.sum() < max(_MIN_VISIBLE * area, _MIN_AREA):
            continue
        hidden = np.bincount(owner[window][covered], minlength=len(areas) + 1)[1:]
        if hidden.any():
            visible = np.bincount(owner.ravel(), minlength=len(areas) + 1)[1:] - hidden
            if np.any(visible < min_visible):
                continue
        paste(image, colors, alpha, left, top)
        areas.append(area)
        owner[window][covered] = len(areas)
        return True
    return False


def _shade(rng, image):
    """Shade the image by a smooth gradient."""
    height, width = image.shape[:2]
    corners = rng.uniform(0.82, 1.06, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_8U)


def _draw_category(rng, split):
    if split != 'train' and rng.random() < _NOVEL_SHARE:
        pool = _POOLS['r']
    else:  # frequent categories three times as often as common ones
        pool = _POOLS['f' if rng.random() < 0.75 else 'c']
    return pool[rng.integers(len(pool))]
