"""Converts masks to polygons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from .tidying import cut_out

TOLERANCE = 0.75  # pixels
SMALL = 30  # pixels; masks smaller than a square of this side have less tolerance


def mask_to_polygons(mask: np.ndarray, tolerance: float | None = None) -> list[np.ndarray]:
    """Convert a mask to polygons, one for each 8-connected component.

    Holes are connected to the outline by lines of zero width, so that filling leaves them out.

    Args:
        mask: `(H, W)` bool.
        tolerance: Maximum distance in pixels from the mask's outline (Douglas-Peucker), with 0
            none; by default `TOLERANCE`, and less for masks smaller than `SMALL`.

    Returns:
        Polygons `(P, 2)` float64 xy, P at least 3, without a repeated last point. Pixel x covers x
        to x + 1, as in COCO.
    """
    return [joined(rings) for rings in _components(mask, tolerance)]


def polygons_of(thing: Mapping) -> list[np.ndarray]:
    """The polygons of an object's mask in pixels of the image; only its box is decoded."""
    mask, (rows, columns) = cut_out(thing)
    return [polygon + (columns.start, rows.start) for polygon in mask_to_polygons(mask)]


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Connect rings, `(P, 2)` xy each, to one by lines of zero width, there and back."""
    outline, *others = rings
    for ring in others:
        distances = ((outline[:, None] - ring[None]) ** 2).sum(-1)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        outline = np.concatenate((outline[: i + 1], ring[j:], ring[: j + 1], outline[i:]))
    return outline


def _components(mask: np.ndarray, tolerance: float | None) -> list[list[np.ndarray]]:
    """For each component its outline and those of its holes, `(P, 2)` xy each."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return []
    if tolerance is None:
        tolerance = TOLERANCE * min(1, np.sqrt(mask.sum()) / SMALL)
    top, left = rows[0], columns[0]
    mask = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    # OpenCV's contours run through pixel centers. To get contours along pixel edges, double the
    # resolution: odd indices are the centers of pixels, even ones their corners.
    corners = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    corners[1::2, 1::2] = mask
    corners = cv2.dilate(corners, np.ones((3, 3), np.uint8))
    contours, (hierarchy,) = cv2.findContours(corners, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    components = []
    for i, (_, _, hole, parent) in enumerate(hierarchy):
        if parent < 0:
            rings = [i]
            while hole >= 0:
                rings.append(hole)
                hole = hierarchy[hole][0]
            components.append([_simplify(contours[r], tolerance) / 2 + (left, top) for r in rings])
    return components


def _simplify(contour: np.ndarray, tolerance: float) -> np.ndarray:
    """Remove vertices, unless fewer than three would be left."""
    simple = cv2.approxPolyDP(contour, 2 * tolerance, closed=True)
    return (simple if len(simple) > 2 else contour)[:, 0].astype(np.float64)
