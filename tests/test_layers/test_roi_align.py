"""RoIAlign by matrix products."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import roi_align

from mmovsam.layers import roi_align_products

PLACE = st.integers(-40, 400).map(lambda place: place / 2)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    size=st.integers(1, 5),
    bboxes=st.lists(st.tuples(PLACE, PLACE, PLACE, PLACE), max_size=4),
)
def test_regions_equal_those_of_samples_also_at_edges_outside_and_empty(
    height, width, size, bboxes
):
    features = torch.randn(1, 3, height, width, dtype=torch.float64)
    bboxes = torch.tensor(bboxes, dtype=torch.float64).reshape(-1, 4)
    bboxes = torch.cat((bboxes[:, :2], bboxes[:, 2:].maximum(bboxes[:, :2])), dim=1) + 1 / 7
    found = roi_align_products(features, bboxes, size, 1 / 32)
    rois = torch.cat((bboxes.new_zeros(len(bboxes), 1), bboxes), dim=1)
    wanted = roi_align(features, rois, (size, size), 1 / 32, 0, 'avg', True)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-9)


def test_regions_train_the_map():
    features = torch.randn(1, 3, 6, 8, requires_grad=True)
    bboxes = torch.tensor([[3.0, 5, 200, 180], [-10, 0, 40, 300]])
    rois = torch.cat((torch.zeros(2, 1), bboxes), dim=1)
    gradients = [
        torch.autograd.grad((regions * regions.detach().cos()).sum(), features)[0]
        for regions in (
            roi_align_products(features, bboxes, 3, 1 / 32),
            roi_align(features, rois, (3, 3), 1 / 32, 0, 'avg', True),
        )
    ]
    assert torch.allclose(*gradients, atol=1e-5)
