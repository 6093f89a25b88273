"""Drawing of single objects: colors and alpha."""

import colorsys
from functools import cache

import cv2
import numpy as np
from sklearn.datasets import load_digits

from .categories import COLORS, DRAWN_SHAPES, PATTERNS

# hue in degrees, saturation and value of a color, and of the second shade of its patterns
_SHADES = {
    'red': ((357, 0.88, 0.86), (357, 0.36, 1.0)),
    'orange': ((28, 0.95, 0.98), (24, 1.0, 0.60)),
    'yellow': ((54, 0.86, 0.97), (50, 1.0, 0.56)),
    'green': ((132, 0.80, 0.60), (128, 0.34, 0.93)),
    'blue': ((224, 0.85, 0.84), (216, 0.38, 1.0)),
    'purple': ((284, 0.74, 0.66), (284, 0.30, 0.96)),
    'white': ((0, 0.0, 0.97), (0, 0.0, 0.60)),
    'black': ((0, 0.0, 0.08), (0, 0.0, 0.40)),
}
_HUE_JITTER = 4.0  # degrees, a fifth of what separates the closest two colors
_FIELD = 64  # side of an enlarged digit scan
_HOLES = (1, 0, 0, 0, 0, 0, 1, 0, 2, 1)  # of the digits zero to nine as most people write them
_MIN_HOLE = 16  # field pixels
_OVERSAMPLE = 3


def draw_object(rng, category, size, angle, held_out=False):
    """Draw an object of a category, its longest side `size` pixels before it is rotated.

    The angle is in degrees, counter-clockwise. A `held_out` digit is of the scans of
    the test split.

    Returns:
        tuple: colors (h, w, 3) uint8 RGB and alpha (h, w) float32 in [0, 1], cut to what is
            visible.
    """
    side = int(np.ceil(size * 1.45)) + 2
    if category.is_digit:
        digit = category.shape - len(DRAWN_SHAPES)
        scans = _digit_scans()[bool(held_out)][digit]
        alpha = _digit_alpha(scans[rng.integers(len(scans))], size, angle, side)
    else:
        alpha = _shape_alpha(DRAWN_SHAPES[category.shape], size, angle, side)
    rows = np.flatnonzero(alpha.max(axis=1) > 0.02)
    columns = np.flatnonzero(alpha.max(axis=0) > 0.02)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    alpha = alpha[top:bottom, left:right]

    first, second = _jittered_shades(rng, COLORS[category.color])
    pattern = PATTERNS[category.pattern]
    phase = rng.uniform(0, 1, 2)
    if pattern == 'plain':
        colors = np.broadcast_to(np.rint(first).astype(np.uint8), (*alpha.shape, 3))
        return colors, alpha
    periods = 5.5 if category.is_digit else 4.0
    y = (np.arange(top, bottom, dtype=np.float32) - side / 2)[:, None] * np.float32(periods / size)
    x = (np.arange(left, right, dtype=np.float32) - side / 2)[None] * np.float32(periods / size)
    cos, sin = np.float32(np.cos(np.deg2rad(angle))), np.float32(np.sin(np.deg2rad(angle)))
    u = x * cos - y * sin + np.float32(phase[0])
    v = x * sin + y * cos + np.float32(phase[1])
    weight = _pattern(pattern, u, v, size / periods)[..., None]
    colors = first + weight * (second - first)
    return np.rint(colors).astype(np.uint8), alpha


def _pattern(name, u, v, period):
    """Weight `(h, w)` in [0, 1] of the second shade; u and v in periods, the period in pixels."""
    if name == 'striped':
        distance = 0.25 - np.abs(u - np.floor(u) - 0.5)
    elif name == 'dotted':
        u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
        distance = 0.31 - np.sqrt(u * u + v * v)
    else:
        u, v = 0.25 - np.abs(u - np.floor(u) - 0.5), 0.25 - np.abs(v - np.floor(v) - 0.5)
        distance = np.where(u * v > 0, 1, -1) * np.minimum(np.abs(u), np.abs(v))
    return np.clip(distance * np.float32(period) + 0.5, 0, 1).astype(np.float32)


def _jittered_shades(rng, color):
    hue_shift = rng.uniform(-_HUE_JITTER, _HUE_JITTER)
    gain = rng.uniform(0.93, 1.04)
    shades = []
    for hue, saturation, value in _SHADES[color]:
        value = min(value * gain, 1.0)
        red_green_blue = colorsys.hsv_to_rgb((hue + hue_shift) % 360 / 360, saturation, value)
        shades.append(255 * np.array(red_green_blue, np.float32))
    return shades


def _shape_alpha(name, size, angle, side):
    theta = np.deg2rad(angle)
    rotation = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    canvas = np.zeros((side * _OVERSAMPLE, side * _OVERSAMPLE), np.uint8)
    contours = [
        np.rint((contour @ rotation * size / 2 + side / 2) * _OVERSAMPLE - 0.5).astype(np.int32)
        for contour in _CONTOURS[name]
    ]
    cv2.fillPoly(canvas, contours, 255)
    alpha = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return alpha.astype(np.float32) / 255


def _arc(center, radius, start, stop, count=48):
    angles = np.deg2rad(np.linspace(start, stop, count))
    return np.stack(
        [center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], axis=1
    )


def _regular(count, radius=1.0):
    return _arc((0, 0), radius, -90, 270, count + 1)[:-1]


def _heart():
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2], axis=1) / 16


def _star():
    star = np.empty((10, 2))
    star[0::2], star[1::2] = _regular(5, 1.08), -_regular(5, 0.47)[[3, 4, 0, 1, 2]]
    return star


_ARM = 0.34  # half the width of the cross's arms
_CROSS = [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)]
_CRESCENT = np.concatenate([_arc((0, 0), 1, 50, 310), _arc((0.46, 0), 0.79, 284, 76)]) + [0.1, 0]
_ARROW = [(-1, -0.3), (0.05, -0.3), (0.05, -0.8), (1, 0), (0.05, 0.8), (0.05, 0.3), (-1, 0.3)]
# outlines with x to the right and y down, roughly within the unit circle
_CONTOURS = {
    'circle': [_regular(64)],
    'square': [np.array([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]])],
    'triangle': [_regular(3) * 1.08 + [0, 0.15]],
    'star': [_star()],
    'cross': [np.array(_CROSS + [(-x, -y) for x, y in _CROSS])],
    'ring': [_regular(64), _regular(64, 0.52)],
    'heart': [_heart()],
    'crescent': [_CRESCENT],
    'hexagon': [_regular(6)],
    'arrow': [np.array(_ARROW)],
}


def _digit_alpha(field, size, angle, side):
    """Rotate and enlarge a digit's smooth field, and threshold it at one half."""
    ink, extent = field
    scale = size / extent
    matrix = cv2.getRotationMatrix2D((_FIELD / 2 - 0.5, _FIELD / 2 - 0.5), angle, scale)
    matrix[:, 2] += side / 2 - _FIELD / 2
    ink = cv2.warpAffine(ink, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.clip((ink - 0.5) * np.float32(scale * 10) + 0.5, 0, 1)


@cache
def _digit_scans():
    """Real handwritten digits of scikit-learn as smooth fields, centered, ink above one half.

    Returns:
        tuple: of training and held-out scans, each a list over the ten digits of lists of
        (field (64, 64) float32, longest side of the ink in field pixels).
    """
    digits = load_digits()
    groups = ([[] for _ in range(10)], [[] for _ in range(10)])
    counts = [0] * 10
    for image, digit in zip(digits.images, digits.target):
        field = _smooth_field(image, _HOLES[digit])
        if field is not None:
            groups[counts[digit] % 4 == 3][digit].append(field)
            counts[digit] += 1
    return groups


def _smooth_field(image, holes):
    """Enlarge an 8x8 scan with the thickest stroke that has one piece and a number of holes."""
    scan = cv2.copyMakeBorder(image.astype(np.float32) / 16, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    scan = cv2.resize(scan, (_FIELD, _FIELD), interpolation=cv2.INTER_CUBIC)
    scan = cv2.GaussianBlur(scan, (0, 0), 1.6)
    for level in (0.44, 0.50, 0.56, 0.62):
        field = scan + np.float32(0.5 - level)
        ink = (field > 0.5).astype(np.uint8)
        pieces = cv2.connectedComponents(ink)[0] - 1
        gaps = cv2.connectedComponentsWithStats(1 - ink, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
        if pieces == 1 and len(gaps) == holes + 1 and gaps.min() >= _MIN_HOLE:
            left, top, width, height = cv2.boundingRect(ink)
            center = (_FIELD - 1) / 2
            shift = [
                [1, 0, center - left - (width - 1) / 2],
                [0, 1, center - top - (height - 1) / 2],
            ]
            return cv2.warpAffine(field, np.float32(shift), (_FIELD, _FIELD)), max(width, height)
    return None
