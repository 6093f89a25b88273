"""RoIAlign as matrix products."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import roi_align

from mmovsam.layers import roi_align_weights

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
    down, across = roi_align_weights(bboxes, size, 1 / 32, height, width)
    found = down[:, None] @ features @ across[:, None].mT
    rois = torch.cat((bboxes.new_zeros(len(bboxes), 1), bboxes), dim=1)
    wanted = roi_align(features, rois, (size, size), 1 / 32, 0, 'avg', True)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-9)
