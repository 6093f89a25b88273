"""Pictures of single objects like crops of scenes, for the training of CLIP."""

import cv2
import numpy as np

from .backgrounds import add_noise, draw_background
from .categories import CATEGORIES
from .drawing import draw_object
from .scenes import draw_pose, overlap, paste

_FILL = (0.36, 1.0)  # share of the frame that the object's longest side takes
_INTRUDERS = 3


def draw_picture(rng, size=128, category=None):
    """One object, by default of any category, that fills most of a square frame.

    It is drawn at the size of scenes and then resized with its surroundings.

    Returns:
        tuple: image (size, size, 3) uint8 RGB and the category id, from 1.
    """
    category = category or CATEGORIES[rng.integers(len(CATEGORIES))]
    pose = draw_pose(rng, category)
    colors, alpha = draw_object(rng, category, *pose)
    side = int(np.ceil(max(alpha.shape) / rng.uniform(*_FILL)))
    image = draw_background(rng, side, side, 'train', clutter=2)
    slack = side - max(alpha.shape)
    shift = rng.uniform(-0.35, 0.35, 2) * slack + rng.uniform(-0.04, 0.04, 2) * side
    left = round((side - alpha.shape[1]) / 2 + shift[0])
    top = round((side - alpha.shape[0]) / 2 + shift[1])
    count = rng.integers(_INTRUDERS + 1)
    over = rng.integers(count + 1)  # intruders in front of the main object
    for number in range(count + 1):
        if number == count - over:
            paste(image, colors, alpha, left, top)
        if number < count:
            _intrude(rng, image, alpha, left, top, pose[0])
    image = add_noise(rng, cv2.convertScaleAbs(image, alpha=rng.uniform(0.84, 1.05)))
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=interpolation), category.id


def _intrude(rng, image, alpha, left, top, main_size):
    """Paste another object at the border of the frame if it hides little of the main one."""
    side = image.shape[0]
    category = CATEGORIES[rng.integers(len(CATEGORIES))]
    size, angle = draw_pose(rng, category)
    size = min(size, 1.2 * main_size)
    colors, other = draw_object(rng, category, size, angle)
    border, along = rng.integers(4), rng.uniform(0, side)
    depth = rng.uniform(-0.25, 0.2) * size  # how far its center lies inside the frame
    x, y = ((along, depth), (along, side - depth), (depth, along), (side - depth, along))[border]
    other_left, other_top = int(x - other.shape[1] / 2), int(y - other.shape[0] / 2)
    main, hiding = overlap(alpha.shape, other.shape, other_left - left, other_top - top)
    hidden = (alpha[main] > 0.5) & (other[hiding] > 0.5)
    if hidden.sum() <= 0.15 * (alpha > 0.5).sum():
        paste(image, colors, other, other_left, other_top)
