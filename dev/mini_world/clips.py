"""Clips of moving objects, and large mosaics."""

from dataclasses import dataclass

import numpy as np

from .backgrounds import add_noise, draw_background
from .categories import CATEGORIES
from .drawing import draw_object
from .scenes import add_objects, draw_pose, overlap, paste

_WIDTH, _HEIGHT = 320, 256
_SIDE = 320


@dataclass
class Clip:
    """A drawn clip.

    Args:
        images: T of (H, W, 3) uint8 RGB.
        category_ids: Category id of each of the N objects, from 1.
        masks: (T, N, H, W) bool, the visible pixels of each object; no two overlap.
    """

    images: list
    category_ids: list
    masks: np.ndarray


def draw_clip(rng, num_frames=20, num_objects=4):
    """A clip, 320 by 256 pixels, of objects of different categories before a fixed background.

    The first of the objects, at least 3, leaves the picture to the left and comes back. The second
    and the third cross each other, one before the other. The others drift.
    """
    background = draw_background(rng, _WIDTH, _HEIGHT, 'test', clutter=2)
    categories = [CATEGORIES[i] for i in rng.choice(len(CATEGORIES), num_objects, replace=False)]
    objects = []
    for index, category in enumerate(categories):
        size, angle = draw_pose(rng, category)
        colors, alpha = draw_object(rng, category, min(size, 90.0), angle, held_out=True)
        objects.append((colors, alpha, _path(rng, index, alpha.shape, num_frames)))
    images, masks = [], np.zeros((num_frames, num_objects, _HEIGHT, _WIDTH), bool)
    for frame in range(num_frames):
        image = background.copy()
        for index, (colors, alpha, path) in enumerate(objects):
            left, top = (int(round(value)) for value in path[frame])
            (rows, columns), inside = overlap(image.shape, alpha.shape, left, top)
            paste(image, colors, alpha, left, top)
            solid = alpha[inside] > 0.5
            masks[frame, :, rows, columns] &= ~solid
            masks[frame, index, rows, columns] = solid
        images.append(add_noise(rng, image))
    return Clip(images, [category.id for category in categories], masks)


def _path(rng, index, shape, num_frames):
    """Left and top of an object in each frame."""
    height, width = shape
    time = np.linspace(0, 1, num_frames)
    x1, x2 = rng.uniform(0, _WIDTH - width, 2)
    y1, y2 = rng.uniform(0, _HEIGHT - height, 2)
    if index == 0:
        x = -1.6 * width + np.abs(2 * time - 1) * (x1 + 1.6 * width)
        return np.stack((x, np.full(num_frames, y1)), axis=1)
    if index in (1, 2):
        middle = _HEIGHT / 2 - height / 2
        ends = (0.05 * _WIDTH, 0.95 * _WIDTH - width)
        x1, x2 = ends if index == 1 else ends[::-1]
        y1, y2 = middle + rng.uniform(-20, 20, 2)
    return np.stack((x1 + time * (x2 - x1), y1 + time * (y2 - y1)), axis=1)


def draw_mosaic(rng, split, rows, columns, num_objects=6):
    """A scene of `rows` by `columns` backgrounds, 320 pixels wide and high each.

    Objects cross the borders of backgrounds; there are attempts for `num_objects` on each.
    """

    def background():
        return draw_background(rng, _SIDE, _SIDE, split)

    image = np.vstack([np.hstack([background() for _ in range(columns)]) for _ in range(rows)])
    return add_objects(rng, image, split, num_objects * rows * columns)
