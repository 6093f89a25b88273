"""Prompts that cover an image evenly."""

import pytest
from mmdet.structures import DetDataSample

from mmovsam.prompts import GridPrompter


def points(height, width, **arguments):
    sample = DetDataSample(metainfo=dict(ori_shape=(height, width)))
    (prompts,) = GridPrompter(**arguments)([sample])
    assert (prompts.point_labels == 1).all() and prompts.point_coords.shape[1:] == (1, 2)
    return prompts.point_coords[:, 0]


@pytest.mark.parametrize(
    ('height', 'width', 'rows', 'columns'), [(25, 100, 2, 8), (100, 25, 8, 2), (1, 1000, 1, 8)]
)
def test_even_grid_has_as_many_rows_as_make_cells_square(height, width, rows, columns):
    found = points(height, width, points_per_side=8, even=True)
    assert len(found[:, 0].unique()) == columns and len(found[:, 1].unique()) == rows
    assert len(points(height, width, points_per_side=8)) == 64
    found = points(4, 8, points_per_side=2)  # the centers of cells, row by row
    assert found.tolist() == [[1.5, 0.5], [5.5, 0.5], [1.5, 2.5], [5.5, 2.5]]


def test_what_is_missing_or_out_of_range_is_named():
    with pytest.raises(ValueError, match='needs ori_shape'):
        GridPrompter()([DetDataSample()])
    with pytest.raises(ValueError, match='points_per_side must be at least 1, not 0'):
        GridPrompter(points_per_side=0)
