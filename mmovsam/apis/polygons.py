"""Masks as polygons, for formats that have nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from .tidying import cut_out

TOLERANCE = 0.75  # pixels
SMALL = 30  # pixels, the side of a square; masks of less area have less tolerance


def mask_to_polygons(mask: np.ndarray, tolerance: float | None = None) -> list[np.ndarray]:
    """The pieces of a mask as polygons along the edges of its pixels.

    Pixels that touch at a corner belong to one piece. A polygon cannot have a hole: each is cut
    into its piece along a line of no width, which the ring walks there and back, so that filling
    leaves the hole out.

    Args:
        mask: `(H, W)` bool.
        tolerance: How far, in pixels, the polygon may leave the edge for the sake of fewer corners
            (Douglas and Peucker). With 0 pycocotools makes the very same mask of it; by default it
            is `TOLERANCE`, and less for masks that are smaller than `SMALL`.

    Returns:
        For each piece `(P, 2)` float64 xy, P at least 3, closed from the last to the first point.
        Pixel x covers x to x + 1, as in COCO. None for an empty mask.
    """
    return [joined(rings) for rings in _pieces(mask, tolerance)]


def polygons_of(thing: Mapping) -> list[np.ndarray]:
    """The pieces of an object with a mask and its box, in pixels of the image.

    Only the part in the box is decoded: it may be a thousandth of the image.
    """
    mask, (rows, columns) = cut_out(thing)
    return [piece + (columns.start, rows.start) for piece in mask_to_polygons(mask)]


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Rings, `(P, 2)` xy each, as one: it walks to the next and back along lines of no width."""
    whole, *rest = rings
    for ring in rest:
        distances = ((whole[:, None] - ring[None]) ** 2).sum(-1)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        tour = np.concatenate((ring[there:], ring[: there + 1]))
        whole = np.concatenate((whole[: here + 1], tour, whole[here:]))
    return whole


def _pieces(mask: np.ndarray, tolerance: float | None) -> list[list[np.ndarray]]:
    """For each piece its outer ring and those of its holes, `(P, 2)` xy each."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return []
    if tolerance is None:
        tolerance = TOLERANCE * min(1, np.sqrt(mask.sum()) / SMALL)
    top, left = rows[0], columns[0]
    inside = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    # OpenCV's contours run through pixels. So here corners of pixels become pixels: those with
    # even indices, and those with odd ones are the pixels' centers.
    corners = np.zeros((2 * inside.shape[0] + 1, 2 * inside.shape[1] + 1), np.uint8)
    corners[1::2, 1::2] = inside
    corners = cv2.dilate(corners, np.ones((3, 3), np.uint8))
    contours, (hierarchy,) = cv2.findContours(corners, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    pieces = []
    for i, (_, _, hole, parent) in enumerate(hierarchy):
        if parent < 0:
            rings = [i]
            while hole >= 0:
                rings.append(hole)
                hole = hierarchy[hole][0]
            pieces.append([_simplified(contours[r], tolerance) / 2 + (left, top) for r in rings])
    return pieces


def _simplified(contour: np.ndarray, tolerance: float) -> np.ndarray:
    """A ring with fewer corners, unless too few would be left of a small one."""
    simple = cv2.approxPolyDP(contour, 2 * tolerance, closed=True)
    return (simple if len(simple) > 2 else contour)[:, 0].astype(np.float64)
