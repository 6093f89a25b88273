"""Polygons make the masks that they are made of, by pycocotools' filling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from mmovsam.apis.polygons import joined, mask_to_polygons
from mmovsam.evaluation.open_vocab_metric import mask_iou

masks = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(lambda s: arrays(bool, s))


def filled(polygons, shape):
    """The mask that pycocotools makes of polygons."""
    if not polygons:
        return np.zeros(shape, bool)
    rings = [polygon.flatten().tolist() for polygon in polygons]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, *shape))).astype(bool)


def disk(shape, center, radius):
    rows, columns = np.indices(shape)
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


@given(masks)
def test_polygons_without_tolerance_and_joined_ones_make_the_same_mask(mask):
    polygons = mask_to_polygons(mask, tolerance=0)
    assert np.array_equal(filled(polygons, mask.shape), mask)
    whole = [joined(polygons)] if polygons else []
    assert np.array_equal(filled(whole, mask.shape), mask)
    simple = mask_to_polygons(mask)  # no piece is lost to simplification
    assert len(simple) == len(polygons)
    assert all(len(polygon) >= 3 for polygon in (*polygons, *simple))


def test_pixels_are_squares_and_touching_corners_connect():
    mask = np.zeros((6, 8), bool)
    assert mask_to_polygons(mask) == []
    mask[1:3, 2:5] = True
    (polygon,) = mask_to_polygons(mask)
    corners = [(2, 1), (2, 3), (5, 1), (5, 3)]
    assert sorted(map(tuple, polygon)) == corners
    mask[3, 5] = True
    assert len(mask_to_polygons(mask)) == 1
    mask[5, 0] = True
    assert len(mask_to_polygons(mask)) == 2


@pytest.mark.parametrize('radius', [3, 6, 20, 90])
def test_simplified_polygon_stays_close_with_fewer_corners(radius):
    mask = disk((200, 200), (100, 100), radius)
    (polygon,), (exact,) = mask_to_polygons(mask), mask_to_polygons(mask, tolerance=0)
    assert mask_iou(filled([polygon], mask.shape), mask) > 0.95
    assert len(polygon) <= len(exact) / (4 if radius == 90 else 1)
