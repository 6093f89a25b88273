"""Masks as paths."""

import re

import cv2
import numpy as np

from mmovsam.web.outlines import outline


def rings(path):
    """The corners `(P, 2)` of each ring."""
    return [
        np.array([list(map(float, corner.split())) for corner in ring.split('L')])
        for ring in re.findall('M([^Z]*)Z', path)
    ]


def test_pieces_and_holes_are_rings_whose_parity_is_the_mask():
    mask = np.zeros((90, 120), bool)
    cv2.ellipse(disk := mask.astype(np.uint8), (50, 45), (40, 30), 20, 0, 360, 1, -1)
    mask = disk.astype(bool)
    mask[40:55, 35:60] = False
    mask[80:88, 100:118] = True
    found = rings(outline(mask))
    assert len(found) == 3
    filled = np.zeros(mask.shape, np.uint8)
    corners = [np.rint(ring - 0.5).astype(np.int32) for ring in found]
    cv2.fillPoly(filled, corners, 1)  # by parity
    assert (filled.astype(bool) ^ mask).sum() < 0.03 * mask.sum()


def test_corners_lie_at_the_centers_of_pixels():
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:7] = True
    (ring,) = rings(outline(mask))
    assert sorted(map(tuple, ring)) == [(3.5, 2.5), (3.5, 4.5), (6.5, 2.5), (6.5, 4.5)]


def test_no_mask_has_no_outline():
    assert outline(np.zeros((4, 5), bool)) == ''
