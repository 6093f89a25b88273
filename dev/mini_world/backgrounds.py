"""Backgrounds: photographs with textures, lines and noise."""

from functools import cache

import cv2
import numpy as np
from skimage import data

_PHOTOGRAPHS = {
    'train': (
        'astronaut', 'coffee', 'stereo_motorcycle',
        'coins', 'hubble_deep_field', 'immunohistochemistry',
    ),
    'test': ('chelsea', 'rocket', 'camera', 'moon'),
    'textures': ('brick', 'grass', 'gravel'),
}  # fmt: skip


def draw_background(rng, width, height, split, clutter=4):
    """A crop `(height, width, 3)` uint8 RGB of a photograph, with up to `clutter` distractors.

    The split `'test'` has other photographs than `'train'` and `'val'`.
    """
    photographs = _photographs('test' if split == 'test' else 'train')
    image = _crop(rng, photographs[rng.integers(len(photographs))], width, height)
    # lower contrast, so that white and black objects stand out
    contrast, brightness = rng.uniform(0.45, 0.8), rng.uniform(95, 160)
    image = cv2.convertScaleAbs(image, alpha=contrast, beta=brightness - 128 * contrast)
    for _ in range(rng.integers(clutter + 1)):
        draw = (_blend_texture, _blend_texture, _draw_line, _blend_noise)[rng.integers(4)]
        draw(rng, image)
    return image


def add_noise(rng, image):
    """An image (H, W, 3) uint8 with slight sensor noise."""
    noise = _noise()
    height, width = image.shape[:2]
    if height >= noise.shape[0] or width >= noise.shape[1]:
        noise = np.tile(noise, (height // noise.shape[0] + 2, width // noise.shape[1] + 2, 1))
    top = rng.integers(noise.shape[0] - height)
    left = rng.integers(noise.shape[1] - width)
    noise = noise[top : top + height, left : left + width]
    return cv2.addWeighted(image, 1.0, noise, 0.12, -0.12 * 128)


def _crop(rng, photograph, width, height):
    """A random crop, with a random scale and flip."""
    rows, columns = photograph.shape[:2]
    scale = max(width / columns, height / rows, rng.uniform(0.5, 1.2))
    crop_width, crop_height = min(int(width / scale), columns), min(int(height / scale), rows)
    top = rng.integers(rows - crop_height + 1)
    left = rng.integers(columns - crop_width + 1)
    crop = photograph[top : top + crop_height, left : left + crop_width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.25:
        crop = crop[::-1]
    return cv2.resize(np.ascontiguousarray(crop), (width, height))


def _blob(rng, image):
    """A random soft-edged ellipse: its window in the image and weights `(h, w)` float32."""
    height, width = image.shape[:2]
    size = int(rng.uniform(0.2, 0.5) * min(width, height)) + 8
    center_x, center_y = rng.integers(width), rng.integers(height)
    left, top = max(center_x - size // 2, 0), max(center_y - size // 2, 0)
    right, bottom = min(center_x + size // 2, width), min(center_y + size // 2, height)
    y = (np.arange(top, bottom, dtype=np.float32) - center_y)[:, None] * np.float32(2 / size)
    x = (np.arange(left, right, dtype=np.float32) - center_x)[None] * np.float32(2 / size)
    skew = np.float32(rng.uniform(-0.8, 0.8))
    weight = np.clip((1 - (x * x + y * y + skew * x * y)) * 2.5, 0, 1)
    return slice(top, bottom), slice(left, right), weight


def _mix(image, rows, columns, weight, other):
    """Blend `other` `(h, w, 3)` into the image's window by `weight` `(h, w)`, in place."""
    window = image[rows, columns].astype(np.float32)
    image[rows, columns] = np.rint(window + weight[..., None] * (other - window)).astype(np.uint8)


def _blend_texture(rng, image):
    rows, columns, weight = _blob(rng, image)
    if weight.size:
        textures = _photographs('textures')
        texture = _crop(rng, textures[rng.integers(len(textures))], *weight.shape[::-1])
        tint = rng.uniform(0.7, 1.15, 3).astype(np.float32)
        _mix(image, rows, columns, weight * 0.85, np.minimum(texture * tint, 255))


def _blend_noise(rng, image):
    rows, columns, weight = _blob(rng, image)
    noise = _noise()[: weight.shape[0], : weight.shape[1], :1].astype(np.float32)
    level = np.float32(rng.uniform(80, 180))
    _mix(image, rows, columns, weight * 0.8, noise + (level - 128))


def _draw_line(rng, image):
    height, width = image.shape[:2]
    ends = rng.integers(0, (width, height), (2, 2))
    color = [int(c) for c in rng.integers(40, 215, 3)]
    cv2.line(image, ends[0].tolist(), ends[1].tolist(), color, int(rng.integers(1, 4)), cv2.LINE_AA)


@cache
def _photographs(kind):
    """RGB photographs of a kind, with a long side of 500 pixels."""
    return [_load(name) for name in _PHOTOGRAPHS[kind]]


@cache
def _noise():
    return np.clip(np.random.default_rng(0).normal(128, 30, (400, 400, 3)), 0, 255).astype(np.uint8)


def _load(name):
    image = getattr(data, name)()
    image = image[0] if isinstance(image, tuple) else image
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
    scale = 500 / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
