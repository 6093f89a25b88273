import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample

from mmovsam.prompts import GridPrompter
from mmovsam.prompts.grid_prompter import grid_points


def points(height, width, **arguments):
    sample = DetDataSample(metainfo=dict(ori_shape=(height, width)))
    (prompts,) = GridPrompter(**arguments)([sample])
    assert (prompts.point_labels == 1).all()
    assert prompts.point_coords.shape[1:] == (1, 2)
    return prompts.point_coords[:, 0]


def test_points_are_the_centers_of_cells_row_by_row():
    found = points(4, 8, points_per_side=2)
    assert found.tolist() == [[1.5, 0.5], [5.5, 0.5], [1.5, 2.5], [5.5, 2.5]]


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 9), st.integers(1, 9))
def test_flipped_image_has_the_flipped_grid(height, width, rows, columns):
    grid = grid_points(height, width, rows, columns).reshape(rows, columns, 2)
    last = torch.tensor([width - 1, height - 1])
    torch.testing.assert_close(grid.flip(0, 1), last - grid, atol=1e-4, rtol=0)
    assert (grid >= -0.5).all() and (grid <= last + 0.5).all()


@pytest.mark.parametrize(
    ('height', 'width', 'rows', 'columns'), [(25, 100, 2, 8), (100, 25, 8, 2), (1, 1000, 1, 8)]
)
def test_even_grid_has_as_many_rows_as_make_cells_square(height, width, rows, columns):
    found = points(height, width, points_per_side=8, even=True)
    assert len(found[:, 0].unique()) == columns and len(found[:, 1].unique()) == rows
    assert len(points(height, width, points_per_side=8)) == 64


def test_image_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match='needs ori_shape'):
        GridPrompter()([DetDataSample()])


def test_grid_without_points_is_refused():
    with pytest.raises(ValueError, match='points_per_side must be at least 1, got 0'):
        GridPrompter(0)
