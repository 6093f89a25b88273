"""Masks as outlines that a browser draws sharply at any size."""

from __future__ import annotations

import cv2
import numpy as np

TOLERANCE = 0.7


def outline(mask: np.ndarray) -> str:
    """The edge of a mask, for the attribute `d` of an SVG path with `fill-rule="evenodd"`.

    Args:
        mask: `(H, W)` bool or uint8.

    Returns:
        Rings around pieces and holes through the centers of the outermost pixels, in pixels of the
        mask. Corners that are off by no more than `TOLERANCE` are left out. Empty for no mask.
    """
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for ring in rings:
        corners = cv2.approxPolyDP(ring, TOLERANCE, closed=True)[:, 0] + 0.5
        parts.append('M' + 'L'.join(f'{x:g} {y:g}' for x, y in corners) + 'Z')
    return ''.join(parts)
